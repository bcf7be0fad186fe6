import { IpProto, SaExtraFlag, SaFlag, XfrmMode } from '../../../xfrm/index.ts';
import { Errno } from '../errno.ts';
import type { Request } from '../request.ts';
import { InfoByte } from '../row.ts';

/** What NEWSA and UPDSA are checked for before anything is made of them, in the kernel's order (xfrm_user.c:verify_newsa_info). */

export const A = {
  ALG_AUTH: 1,
  ALG_CRYPT: 2,
  ALG_COMP: 3,
  ENCAP: 4,
  SEC_CTX: 8,
  LTIME_VAL: 9,
  REPLAY_VAL: 10,
  REPLAY_THRESH: 11,
  ETIMER_THRESH: 12,
  SRCADDR: 13,
  COADDR: 14,
  ALG_AEAD: 18,
  ALG_AUTH_TRUNC: 20,
  MARK: 21,
  TFCPAD: 22,
  REPLAY_ESN_VAL: 23,
  SA_EXTRA_FLAGS: 24,
  PROTO: 25,
  ADDRESS_FILTER: 26,
  OFFLOAD_DEV: 28,
  SET_MARK: 29,
  SET_MARK_MASK: 30,
  IF_ID: 31,
  MTIMER_THRESH: 32,
  SA_DIR: 33,
  NAT_KEEPALIVE_INTERVAL: 34,
  SA_PCPU: 35,
} as const;

const INET = 2;
const INET6 = 10;
const BMP_LEN_MAX = 128;
const ESN_HEAD = 24;
const IPCOMP_SPI_MAX = 0xffff;

export function checkNewSa(r: Request): number {
  return checkFamily(r) || checkProto(r) || checkLengths(r) || checkReplay(r) || checkMode(r) || checkDirection(r);
}

function checkFamily(r: Request): number {
  const family = r.u16(InfoByte.FAMILY);
  if (family !== INET && family !== INET6) return r.fail(Errno.EINVAL, 'Invalid address family');
  const prefixMax = Math.max(r.u8(InfoByte.SEL_PREFIX_D), r.u8(InfoByte.SEL_PREFIX_S));
  // Where the selector does not say, it is of the SA's family, unless the SA takes in both.
  const unspecified = (r.u8(InfoByte.FLAGS) & SaFlag.AF_UNSPEC) !== 0;
  switch (r.u16(InfoByte.SEL_FAMILY) || (unspecified ? 0 : family)) {
    case 0:
      return 0;
    case INET:
      if (prefixMax <= 32) return 0;
      return r.fail(Errno.EINVAL, 'Invalid prefix length in selector (must be <= 32 for IPv4)');
    case INET6:
      if (prefixMax <= 128) return 0;
      return r.fail(Errno.EINVAL, 'Invalid prefix length in selector (must be <= 128 for IPv6)');
    default:
      return r.fail(Errno.EINVAL, 'Invalid address family in selector');
  }
}

function checkProto(r: Request): number {
  const { attributes } = r;
  const any = (...types: number[]): boolean => types.some((type) => attributes.has(type));
  switch (r.u8(InfoByte.PROTO)) {
    case IpProto.AH:
      if (!any(A.ALG_AUTH, A.ALG_AUTH_TRUNC)) {
        return r.fail(Errno.EINVAL, 'Missing required attribute for AH: AUTH_TRUNC or AUTH');
      }
      if (any(A.ALG_AEAD, A.ALG_CRYPT, A.ALG_COMP, A.TFCPAD)) {
        return r.fail(Errno.EINVAL, 'Invalid attributes for AH: AEAD, CRYPT, COMP, TFCPAD');
      }
      return 0;
    case IpProto.ESP:
      if (any(A.ALG_COMP)) return r.fail(Errno.EINVAL, 'Invalid attribute for ESP: COMP');
      if (!any(A.ALG_AUTH, A.ALG_AUTH_TRUNC, A.ALG_CRYPT, A.ALG_AEAD)) {
        return r.fail(
          Errno.EINVAL,
          'Missing required attribute for ESP: at least one of AUTH, AUTH_TRUNC, CRYPT, AEAD',
        );
      }
      if (any(A.ALG_AUTH, A.ALG_AUTH_TRUNC, A.ALG_CRYPT) && any(A.ALG_AEAD)) {
        return r.fail(
          Errno.EINVAL,
          "Invalid attribute combination for ESP: AEAD can't be used with AUTH, AUTH_TRUNC, CRYPT",
        );
      }
      if (any(A.TFCPAD) && r.u8(InfoByte.MODE) !== XfrmMode.TUNNEL) {
        return r.fail(Errno.EINVAL, 'TFC padding can only be used in tunnel mode');
      }
      return 0;
    case IpProto.COMP:
      if (!any(A.ALG_COMP)) return r.fail(Errno.EINVAL, 'Missing required attribute for COMP: COMP');
      if (any(A.ALG_AEAD, A.ALG_AUTH, A.ALG_AUTH_TRUNC, A.ALG_CRYPT, A.TFCPAD)) {
        return r.fail(Errno.EINVAL, 'Invalid attributes for COMP: AEAD, AUTH, AUTH_TRUNC, CRYPT, TFCPAD');
      }
      if (r.view.getUint32(r.body + InfoByte.SPI) > IPCOMP_SPI_MAX) {
        return r.fail(Errno.EINVAL, 'SPI is too large for COMP (must be < 0x10000)');
      }
      return 0;
    case IpProto.DSTOPTS:
    case IpProto.ROUTING:
      if (any(A.ALG_COMP, A.ALG_AUTH, A.ALG_AUTH_TRUNC, A.ALG_AEAD, A.ALG_CRYPT, A.ENCAP, A.SEC_CTX, A.TFCPAD)) {
        return r.fail(Errno.EINVAL, 'Invalid attributes for DSTOPTS/ROUTING');
      }
      if (!any(A.COADDR)) return r.fail(Errno.EINVAL, 'Missing required COADDR attribute for DSTOPTS/ROUTING');
      return 0;
    default:
      return r.fail(Errno.EINVAL, 'Unsupported protocol');
  }
}

/** Algorithms: fixed part, and what the key's length in bits asks for. */
const algorithmLengths = [
  { type: A.ALG_AEAD, fixed: 72, text: 'AEAD' },
  { type: A.ALG_AUTH_TRUNC, fixed: 72, text: 'AUTH_TRUNC' },
  { type: A.ALG_AUTH, fixed: 68, text: 'AUTH/CRYPT/COMP' },
  { type: A.ALG_CRYPT, fixed: 68, text: 'AUTH/CRYPT/COMP' },
  { type: A.ALG_COMP, fixed: 68, text: 'AUTH/CRYPT/COMP' },
] as const;

const KEY_LENGTH_AT = 64;
const NAME_LAST = 63;

/** Bytes of the key whose length in bits stands in the algorithm at `at`. */
export function keyBytes(r: Request, at: number): number {
  return Math.floor(((r.u32(at - r.body + KEY_LENGTH_AT) + 7) % 0x1_0000_0000) / 8);
}

function checkLengths(r: Request): number {
  for (const { type, fixed, text } of algorithmLengths) {
    const at = r.attributes.at(type);
    if (at >= 0 && r.attributes.length(type) < fixed + keyBytes(r, at)) {
      return r.fail(Errno.EINVAL, `Invalid ${text} attribute length`);
    }
    // The kernel ends the name in place, so that an error quotes it ended.
    if (at >= 0 && r.bytes[at + NAME_LAST] !== 0) {
      r.own();
      r.bytes[at + NAME_LAST] = 0;
    }
  }
  return checkSecCtx(r);
}

/** Bytes of xfrm_user_sec_ctx without the context. */
const SEC_CTX = 8;

/** There are no security contexts, but their lengths are looked at. */
export function checkSecCtx(r: Request): number {
  const at = r.attributes.at(A.SEC_CTX);
  if (at < 0) return 0;
  const length = r.u16(at - r.body);
  const isSound = length <= r.attributes.length(A.SEC_CTX) && length === SEC_CTX + r.u16(at - r.body + 6);
  return isSound ? 0 : r.fail(Errno.EINVAL, 'Invalid security context length');
}

function checkReplay(r: Request): number {
  const at = r.attributes.at(A.REPLAY_ESN_VAL);
  if (at < 0) {
    const wantsEsn = (r.u8(InfoByte.FLAGS) & SaFlag.ESN) !== 0;
    return wantsEsn ? r.fail(Errno.EINVAL, 'Missing required attribute for ESN') : 0;
  }
  const length = r.attributes.length(A.REPLAY_ESN_VAL);
  const bmpLen = r.u32(at - r.body);
  if (bmpLen > BMP_LEN_MAX) return r.fail(Errno.EINVAL, 'ESN bitmap length must be <= 128');
  if (length < ESN_HEAD + 4 * bmpLen && length !== ESN_HEAD) {
    return r.fail(Errno.EINVAL, 'ESN attribute is too short to fit the full bitmap length');
  }
  const proto = r.u8(InfoByte.PROTO);
  if (proto !== IpProto.ESP && proto !== IpProto.AH) {
    return r.fail(Errno.EINVAL, 'ESN only supported for ESP and AH');
  }
  if (r.u8(InfoByte.REPLAY_WINDOW) !== 0) {
    return r.fail(Errno.EINVAL, 'ESN not compatible with legacy replay_window');
  }
  return checkEsnDirection(r);
}

const modes: readonly number[] = [XfrmMode.TRANSPORT, XfrmMode.TUNNEL, XfrmMode.ROUTEOPTIMIZATION, XfrmMode.BEET];

function checkMode(r: Request): number {
  if (!modes.includes(r.u8(InfoByte.MODE))) return r.fail(Errno.EINVAL, 'Unsupported mode');
  if (r.attributes.has(A.MTIMER_THRESH) && !r.attributes.has(A.ENCAP)) {
    return r.fail(Errno.EINVAL, 'MTIMER_THRESH attribute can only be set on ENCAP states');
  }
  return 0;
}

const IN = 1;
const OUT = 2;
const U32_MAX = 0xffff_ffff;

/** A word of an attribute's payload; 0 if the attribute is not there. */
function wordOf(r: Request, type: number, word: number): number {
  const at = r.attributes.at(type);
  return at < 0 ? 0 : r.u32(at - r.body + 4 * word);
}

/** What an SA that only sends has for REPLAY_ESN_VAL (6.10): no window, and a number that another can follow. */
function checkOutputEsn(r: Request, esn: (word: number) => number, is64: boolean): number {
  const refuse = (what: string): number => r.fail(Errno.EINVAL, `Replay ${what} for output SA`);
  if (esn(5) !== 0) return refuse('window should be 0');
  if (esn(2) !== 0 || esn(4) !== 0) return refuse('seq and seq_hi should be 0');
  if (!is64 && esn(3) !== 0) return refuse('oseq_hi should be 0 in non-ESN mode');
  if (!is64 && esn(1) === U32_MAX) return refuse('oseq should be less than 0xFFFFFFFF in non-ESN mode');
  if (esn(1) === U32_MAX && esn(3) === U32_MAX) return refuse('oseq and oseq_hi should be less than 0xFFFFFFFF');
  return esn(0) !== 0 ? refuse('bmp_len should 0') : 0;
}

/** One that only receives has no outbound number. */
function checkInputEsn(r: Request, esn: (word: number) => number, is64: boolean): number {
  const refuse = (what: string): number => r.fail(Errno.EINVAL, `Replay ${what} for input SA`);
  if (esn(1) !== 0 || esn(3) !== 0) return refuse('oseq and oseq_hi should be 0');
  if (!is64 && esn(4) !== 0) return refuse('seq_hi should be 0 in non-ESN mode');
  if (!is64 && esn(2) === U32_MAX) return refuse('seq should be less than 0xFFFFFFFF in non-ESN mode');
  if (esn(2) === U32_MAX && esn(4) === U32_MAX) return refuse('seq and seq_hi should be less than 0xFFFFFFFF');
  return 0;
}

function checkEsnDirection(r: Request): number {
  const dir = r.attributes.u8(A.SA_DIR);
  const is64 = (r.u8(InfoByte.FLAGS) & SaFlag.ESN) !== 0;
  const esn = (word: number): number => wordOf(r, A.REPLAY_ESN_VAL, word);
  if (dir === OUT) return checkOutputEsn(r, esn, is64);
  return dir === IN ? checkInputEsn(r, esn, is64) : 0;
}

/** The other rules of a direction. */
function checkDirection(r: Request): number {
  const { attributes } = r;
  const dir = attributes.u8(A.SA_DIR);
  const flags = r.u8(InfoByte.FLAGS);
  const replay = (word: number): number => wordOf(r, A.REPLAY_VAL, word);
  if (dir === OUT) {
    if (attributes.has(A.MTIMER_THRESH)) {
      return r.fail(Errno.EINVAL, 'MTIMER_THRESH attribute should not be set on output SA');
    }
    for (const [flag, name] of [
      [SaFlag.DECAP_DSCP, 'DECAP_DSCP'],
      [SaFlag.ICMP, 'ICMP'],
      [SaFlag.WILDRECV, 'WILDRECV'],
    ] as const) {
      if ((flags & flag) !== 0) return r.fail(Errno.EINVAL, `Flag ${name} should not be set for output SA`);
    }
    if (r.u8(InfoByte.REPLAY_WINDOW) !== 0) return r.fail(Errno.EINVAL, 'Replay window should be 0 for output SA');
    if (replay(1) !== 0 || replay(2) !== 0) {
      return r.fail(Errno.EINVAL, 'Replay seq and bitmap should be 0 for output SA');
    }
  }
  if (dir === IN) {
    if ((flags & SaFlag.NOPMTUDISC) !== 0) {
      return r.fail(Errno.EINVAL, 'Flag NOPMTUDISC should not be set for input SA');
    }
    const extra = attributes.u32(A.SA_EXTRA_FLAGS);
    if ((extra & SaExtraFlag.DONT_ENCAP_DSCP) !== 0) {
      return r.fail(Errno.EINVAL, 'Flag DONT_ENCAP_DSCP should not be set for input SA');
    }
    if ((extra & SaExtraFlag.OSEQ_MAY_WRAP) !== 0) {
      return r.fail(Errno.EINVAL, 'Flag OSEQ_MAY_WRAP should not be set for input SA');
    }
  }
  if (dir === 0 && attributes.has(A.SA_PCPU)) return r.fail(Errno.EINVAL, 'SA_PCPU only supported with SA_DIR');
  return 0;
}
