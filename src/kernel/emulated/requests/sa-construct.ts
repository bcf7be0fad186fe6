import { hostLittleEndian } from '../../../netlink/index.ts';
import { EncapType, IpProto, SaExtraFlag, SaFlag, XfrmMode, XfrmMsg } from '../../../xfrm/index.ts';
import { etimeToJiffies } from '../aevent.ts';
import {
  aeadAlgorithms,
  authAlgorithms,
  byName,
  compAlgorithms,
  cryptAlgorithms,
  nameAt,
  writeName,
} from '../algorithms.ts';
import { MessageWriter } from '../build.ts';
import { Errno } from '../errno.ts';
import { takeSnapshot } from '../replay-notify.ts';
import type { Request } from '../request.ts';
import { InfoByte, Row, RowBit, SaState, setNumber64 } from '../row.ts';
import { NO_SLOT } from '../sad.ts';
import { Sel } from '../selector.ts';
import { A, keyBytes } from './sa-check.ts';

/** Makes a row of a checked NEWSA or UPDSA (xfrm_user.c:xfrm_state_construct). */

const little = hostLittleEndian;
const INET = 2;
const INET6 = 10;
const LEGACY_WINDOW_MAX = 32;
const NAME_BYTES = 64;
/** Fixed parts: xfrm_algo; xfrm_algo_auth and xfrm_algo_aead. */
const ALGO = 68;
const ALGO_TRUNC = 72;

/** Attributes are encoded here before they are kept; 64-bit ones are not among them, so the build does not matter. */
const scratch = new MessageWriter(false);

interface Algorithms {
  /** The attributes from the algorithms to SET_MARK_MASK. */
  readonly body: Uint8Array;
  readonly aead: boolean;
  readonly auth: boolean;
  readonly crypt: boolean;
  readonly comp: boolean;
  /** A key or a length that the cipher itself refuses, when the SA is initialised. */
  readonly refused: { readonly auth: boolean; readonly crypt: boolean; readonly icv: boolean };
}

/** The slot of a row that is in no table yet, or the negative errno. */
export function constructSa(r: Request): number {
  const { ns, attributes } = r;
  const { sad, host } = ns;
  const head = encodeHead(r);
  const algorithms = encodeBody(r);
  if (typeof algorithms === 'number') return -algorithms;
  const { body } = algorithms;
  const tail = encodeTail(r);
  const wrong = checkCpu(r) || initState(r, algorithms) || initReplay(r);
  if (wrong !== 0) return -wrong;

  const slot = sad.allocate();
  const row = sad.row(slot);
  const { words, bytes } = sad;
  const base = 4 * row;
  const selector = r.slice(0, Sel.SIZE).slice();
  bytes.set(r.slice(InfoByte.DADDR, InfoByte.SIZE - InfoByte.DADDR), base + InfoByte.DADDR);
  // What is the kernel's to say: counters used, statistics, the end of the structure.
  words.fill(0, row + Row.CURLFT, row + Row.ACQ_SEQ);
  bytes.fill(0, base + InfoByte.FLAGS + 1, base + InfoByte.SIZE);
  bytes[base + InfoByte.REPLAY_WINDOW] = Math.min(r.u8(InfoByte.REPLAY_WINDOW), LEGACY_WINDOW_MAX);
  const family = r.u16(InfoByte.FAMILY);
  const flags = r.u8(InfoByte.FLAGS);
  if (r.u16(InfoByte.SEL_FAMILY) === 0 && (flags & SaFlag.AF_UNSPEC) === 0) {
    new DataView(selector.buffer).setUint16(Sel.FAMILY, family, little);
  }
  sad.setSelector(slot, selector);
  words[row + Row.STATE] = SaState.VALID;
  setNumber64(words, row + Row.ADD_TIME, host.seconds());
  words[row + Row.MARK] = r.mark();
  words[row + Row.MARK_MASK] = r.markMask();
  words[row + Row.IF_ID] = attributes.u32(A.IF_ID);
  sad.setDir(slot, attributes.u8(A.SA_DIR));
  sad.setBit(slot, RowBit.OSEQ_MAY_WRAP, (attributes.u32(A.SA_EXTRA_FLAGS) & SaExtraFlag.OSEQ_MAY_WRAP) !== 0);
  sad.setAttributes(slot, { head, body, tail });
  words[row + Row.MAXDIFF] = ns.sysctls.aeventRseqth;
  words[row + Row.MAXAGE] = etimeToJiffies(ns.sysctls.aeventEtime, host.profile.hz);
  makeReplayState(r, slot);
  updateAeventParameters(r, slot, false);
  takeSnapshot(ns, slot);
  return slot;
}

/** Applies what NEWSA and NEWAE have in common (xfrm_user.c:xfrm_update_ae_params). `withEsn`: REPLAY_ESN_VAL as well. */
export function updateAeventParameters(r: Request, slot: number, withEsn: boolean): void {
  const { attributes, view } = r;
  const { sad } = r.ns;
  const row = sad.row(slot);
  const { words } = sad;
  const copy = (type: number, to: Uint32Array, at: number, count: number): void => {
    const from = attributes.at(type);
    for (let i = 0; i < count; i++) to[at + i] = view.getUint32(from + 4 * i, little);
  };
  // What user space sets counts as notified. A state of the other form than the SA's shows nowhere.
  const type = sad.hasBitmap(slot) ? A.REPLAY_ESN_VAL : A.REPLAY_VAL;
  if (attributes.has(type) && (withEsn || type === A.REPLAY_VAL)) {
    copy(type, sad.replayWords(slot), sad.replayAt(slot), sad.replayLength(slot));
    takeSnapshot(r.ns, slot);
  }
  if (attributes.has(A.LTIME_VAL)) copy(A.LTIME_VAL, words, row + Row.CURLFT, 8);
  if (attributes.has(A.ETIMER_THRESH)) words[row + Row.MAXAGE] = attributes.u32(A.ETIMER_THRESH);
  if (attributes.has(A.REPLAY_THRESH)) words[row + Row.MAXDIFF] = attributes.u32(A.REPLAY_THRESH);
  if (attributes.has(A.MTIMER_THRESH)) words[row + Row.MAPPING_MAXAGE] = attributes.u32(A.MTIMER_THRESH);
}

const encoded = (): Uint8Array => scratch.bytes.slice(0, scratch.at);
const nothing = new Uint8Array(0);

function encodeHead(r: Request): Uint8Array {
  const { attributes } = r;
  scratch.reset();
  if (attributes.u32(A.SA_EXTRA_FLAGS) !== 0) scratch.u32(A.SA_EXTRA_FLAGS, attributes.u32(A.SA_EXTRA_FLAGS));
  if (attributes.has(A.COADDR)) scratch.copy(A.COADDR, attributes.payload(A.COADDR).subarray(0, 16));
  return scratch.at === 0 ? nothing : encoded();
}

function encodeTail(r: Request): Uint8Array {
  const { attributes } = r;
  scratch.reset();
  if (attributes.has(A.SA_PCPU)) scratch.u32(A.SA_PCPU, attributes.u32(A.SA_PCPU));
  if (attributes.has(A.SA_DIR)) scratch.u8(A.SA_DIR, attributes.u8(A.SA_DIR));
  if (attributes.u32(A.NAT_KEEPALIVE_INTERVAL) !== 0) {
    scratch.u32(A.NAT_KEEPALIVE_INTERVAL, attributes.u32(A.NAT_KEEPALIVE_INTERVAL));
  }
  return scratch.at === 0 ? nothing : encoded();
}

const keyFits = (r: Request, at: number, keys: readonly number[] | undefined): boolean =>
  keys === undefined || keys.includes(keyBytes(r, at));

/** Looks the algorithms up and encodes them as they are shown, with what follows them. Returns the errno of one that is not known. */
function encodeBody(r: Request): Algorithms | number {
  const { attributes, bytes } = r;
  scratch.reset();
  const refused = { auth: false, crypt: false, icv: false };

  const aeadAt = attributes.at(A.ALG_AEAD);
  if (aeadAt >= 0) {
    const found = byName(aeadAlgorithms, nameAt(bytes, aeadAt));
    const icvBits = r.u32(aeadAt - r.body + ALGO);
    if (found === undefined || !found.icvBits.includes(icvBits)) {
      return r.fail(Errno.ENOSYS, 'Requested AEAD algorithm not found');
    }
    refused.crypt = !keyFits(r, aeadAt, found.keys);
    const size = ALGO_TRUNC + keyBytes(r, aeadAt);
    const at = scratch.attribute(A.ALG_AEAD, size);
    scratch.bytes.set(bytes.subarray(aeadAt, aeadAt + size), at);
    writeName(scratch.bytes, at, found.name);
  }

  const auth = encodeAuth(r, refused);
  if (typeof auth === 'number') return auth;

  const cryptAt = attributes.at(A.ALG_CRYPT);
  if (cryptAt >= 0) {
    const found = byName(cryptAlgorithms, nameAt(bytes, cryptAt));
    if (found === undefined) return r.fail(Errno.ENOSYS, 'Requested CRYPT algorithm not found');
    refused.crypt = !keyFits(r, cryptAt, found.keys);
    const size = ALGO + keyBytes(r, cryptAt);
    const at = scratch.attribute(A.ALG_CRYPT, size);
    scratch.bytes.set(bytes.subarray(cryptAt, cryptAt + size), at);
    writeName(scratch.bytes, at, found.name);
  }

  const compAt = attributes.at(A.ALG_COMP);
  if (compAt >= 0) {
    const found = byName(compAlgorithms, nameAt(bytes, compAt));
    if (found === undefined) return r.fail(Errno.ENOSYS, 'Requested COMP algorithm not found');
    const at = scratch.attribute(A.ALG_COMP, ALGO);
    writeName(scratch.bytes, at, found.name);
  }

  encodeRest(r);
  return { body: encoded(), aead: aeadAt >= 0, auth, crypt: cryptAt >= 0, comp: compAt >= 0, refused };
}

/** Either form of an authentication algorithm shows as both. Says whether there is one, or the errno. */
function encodeAuth(r: Request, refused: { auth: boolean; icv: boolean }): boolean | number {
  const { attributes, bytes } = r;
  const truncAt = attributes.at(A.ALG_AUTH_TRUNC);
  const plainAt = attributes.at(A.ALG_AUTH);
  let truncBits = 0;
  let from = -1;
  let keyFrom = 0;
  let found = truncAt < 0 ? undefined : byName(authAlgorithms, nameAt(bytes, truncAt));
  if (truncAt >= 0) {
    if (found === undefined) return r.fail(Errno.ENOSYS, 'Requested AUTH_TRUNC algorithm not found');
    truncBits = r.u32(truncAt - r.body + ALGO);
    if (truncBits > found.fullBits) {
      return r.fail(Errno.EINVAL, 'Invalid length requested for truncated ICV');
    }
    if (truncBits === 0) truncBits = found.truncBits;
    // Whole bytes count; none at all is no check value, and with ESN there are four at least (authencesn).
    const icvBytes = Math.floor(truncBits / 8);
    const isEsn = (r.u8(InfoByte.FLAGS) & SaFlag.ESN) !== 0;
    refused.icv = found.fullBits > 0 && icvBytes < (isEsn ? 4 : 1);
    from = truncAt;
    keyFrom = truncAt + ALGO_TRUNC;
  } else if (plainAt >= 0) {
    found = byName(authAlgorithms, nameAt(bytes, plainAt));
    if (found === undefined) return r.fail(Errno.ENOSYS, 'Requested AUTH algorithm not found');
    truncBits = found.truncBits;
    from = plainAt;
    keyFrom = plainAt + ALGO;
  }
  if (found === undefined) return false;
  refused.auth = !keyFits(r, from, found.keys);
  const length = keyBytes(r, from);
  const key = bytes.subarray(keyFrom, keyFrom + length);
  const keyBits = r.u32(from - r.body + NAME_BYTES);
  for (const { type, fixed } of [
    { type: A.ALG_AUTH, fixed: ALGO },
    { type: A.ALG_AUTH_TRUNC, fixed: ALGO_TRUNC },
  ]) {
    const at = scratch.attribute(type, fixed + length);
    writeName(scratch.bytes, at, found.name);
    scratch.view.setUint32(at + NAME_BYTES, keyBits, little);
    if (fixed === ALGO_TRUNC) scratch.view.setUint32(at + ALGO, truncBits, little);
    scratch.bytes.set(key, at + fixed);
  }
  return true;
}

/** ENCAP to SET_MARK_MASK. */
function encodeRest(r: Request): void {
  const { attributes } = r;
  if (attributes.has(A.ENCAP)) {
    const at = scratch.attribute(A.ENCAP, 24);
    scratch.bytes.set(attributes.payload(A.ENCAP).subarray(0, 24), at);
    scratch.bytes.fill(0, at + 6, at + 8);
  }
  if (attributes.u32(A.TFCPAD) !== 0) scratch.u32(A.TFCPAD, attributes.u32(A.TFCPAD));
  if ((shownMark(r) | r.markMask()) !== 0) {
    const at = scratch.attribute(A.MARK, 8);
    scratch.view.setUint32(at, shownMark(r), little);
    scratch.view.setUint32(at + 4, r.markMask(), little);
  }
  if (attributes.has(A.SET_MARK)) {
    const value = attributes.u32(A.SET_MARK);
    const mask = attributes.u32(A.SET_MARK_MASK, 0xffff_ffff);
    if ((value | mask) !== 0) {
      scratch.u32(A.SET_MARK, value);
      scratch.u32(A.SET_MARK_MASK, mask);
    }
  }
}

/** A mark is ANDed with its mask when its SA goes into the tables: the event of an update that only changes another shows it as given. */
function shownMark(r: Request): number {
  if (r.type !== XfrmMsg.UPDSA) return r.mark();
  const old = r.lookup(InfoByte.DADDR, InfoByte.SPI, r.u8(InfoByte.PROTO), r.u16(InfoByte.FAMILY));
  return old === NO_SLOT || r.ns.sad.state(old) === SaState.ACQ ? r.mark() : r.markValue();
}

/** Which modes a family has (xfrm_state.c: xfrm4_mode_map, xfrm6_mode_map). */
const familyModes: Readonly<Record<number, readonly number[]>> = {
  [INET]: [XfrmMode.TRANSPORT, XfrmMode.TUNNEL, XfrmMode.BEET],
  [INET6]: [XfrmMode.TRANSPORT, XfrmMode.TUNNEL, XfrmMode.ROUTEOPTIMIZATION, XfrmMode.BEET],
};

/** Which types a family has. */
const familyTypes: Readonly<Record<number, readonly number[]>> = {
  [INET]: [IpProto.ESP, IpProto.AH, IpProto.COMP],
  [INET6]: [IpProto.ESP, IpProto.AH, IpProto.COMP, IpProto.DSTOPTS, IpProto.ROUTING],
};

/** Mode, family and type go together, and the type takes its parameters (xfrm_state.c:__xfrm_init_state). */
function initState(r: Request, algorithms: Algorithms): number {
  const family = r.u16(InfoByte.FAMILY);
  const mode = r.u8(InfoByte.MODE);
  const unspecified = (r.u8(InfoByte.FLAGS) & SaFlag.AF_UNSPEC) !== 0;
  const selFamily = r.u16(InfoByte.SEL_FAMILY) || (unspecified ? 0 : family);
  const isTunnel = mode === XfrmMode.TUNNEL || mode === XfrmMode.BEET;
  if (!familyModes[selFamily || family]?.includes(mode)) {
    return r.fail(Errno.EPROTONOSUPPORT, 'Requested mode not found');
  }
  if (selFamily !== 0 && !isTunnel && family !== selFamily) {
    return r.fail(Errno.EPROTONOSUPPORT, 'Only tunnel modes can accommodate a change of family');
  }
  const proto = r.u8(InfoByte.PROTO);
  if (!familyTypes[family]?.includes(proto)) return r.fail(Errno.EPROTONOSUPPORT, 'Requested type not found');
  const wrong = initType(r, proto, mode, algorithms);
  if (wrong !== 0) return wrong;
  if (!familyModes[family]?.includes(mode)) return r.fail(Errno.EPROTONOSUPPORT, 'Requested mode not found');
  return checkKeepalive(r);
}

const OUT = 2;

function checkKeepalive(r: Request): number {
  const { attributes } = r;
  if (attributes.u32(A.NAT_KEEPALIVE_INTERVAL) === 0) return 0;
  if (attributes.u8(A.SA_DIR) !== OUT) {
    return r.fail(Errno.EINVAL, 'NAT keepalive is only supported for outbound SAs');
  }
  const encapAt = attributes.at(A.ENCAP);
  if (encapAt >= 0 && r.u16(encapAt - r.body) === EncapType.ESPINUDP) return 0;
  return r.fail(Errno.EINVAL, 'NAT keepalive is only supported for UDP encapsulation');
}

/** An SA for one CPU: there must be such a CPU. */
function checkCpu(r: Request): number {
  const { attributes } = r;
  if (!attributes.has(A.SA_PCPU) || attributes.u32(A.SA_PCPU) < r.ns.host.profile.cpus) return 0;
  return r.fail(Errno.ERANGE, 'pCPU number too big');
}

const NO_CRYPTO = 'Kernel was unable to initialize cryptographic operations';

function initType(r: Request, proto: number, mode: number, algorithms: Algorithms): number {
  const encapAt = r.attributes.at(A.ENCAP);
  const { refused } = algorithms;
  switch (proto) {
    case IpProto.ESP:
      if (!algorithms.aead && !algorithms.crypt) return r.fail(Errno.EINVAL, 'ESP: AEAD or CRYPT must be provided');
      // A key that does not fit is refused without a text where cipher and check value are two algorithms.
      if (refused.icv || (algorithms.aead && refused.crypt)) return r.fail(Errno.EINVAL, NO_CRYPTO);
      if (refused.auth || refused.crypt) return r.fail(Errno.EINVAL);
      if (encapAt >= 0) {
        const type = r.u16(encapAt - r.body);
        // ESP in TCP is not built into the kernels at hand (CONFIG_INET_ESPINTCP).
        const isNonIke = type === EncapType.ESPINUDP_NON_IKE && r.ns.host.profile.nonIkeEncap;
        if (type !== EncapType.ESPINUDP && !isNonIke) {
          return r.fail(Errno.EINVAL, 'Unsupported encapsulation type for ESP');
        }
      }
      return 0;
    case IpProto.AH:
      if (encapAt >= 0) return r.fail(Errno.EINVAL, 'AH is not compatible with encapsulation');
      // PF_KEY alone can ask for AH that does not sign, or compression that does not compress.
      if (!algorithms.auth) return Errno.EINVAL;
      if (refused.auth) return r.fail(Errno.EINVAL, NO_CRYPTO);
      if (mode === XfrmMode.ROUTEOPTIMIZATION) {
        return r.fail(Errno.EINVAL, 'Invalid mode requested for AH, must be one of TRANSPORT, TUNNEL, BEET');
      }
      return 0;
    case IpProto.COMP:
      if (!algorithms.comp) return Errno.EINVAL;
      if (mode !== XfrmMode.TRANSPORT && mode !== XfrmMode.TUNNEL) {
        return r.fail(Errno.EINVAL, 'Unsupported XFRM mode for IPcomp');
      }
      if (encapAt >= 0) return r.fail(Errno.EINVAL, 'IPComp is not compatible with encapsulation');
      return 0;
    default:
      if (r.u32(InfoByte.SPI) !== 0) return r.fail(Errno.EINVAL, 'SPI must be 0');
      if (mode === XfrmMode.ROUTEOPTIMIZATION) return 0;
      return r.fail(Errno.EINVAL, 'XFRM mode must be XFRM_MODE_ROUTEOPTIMIZATION');
  }
}

/** The replay mode (xfrm_replay.c:xfrm_init_replay). */
function initReplay(r: Request): number {
  const at = r.attributes.at(A.REPLAY_ESN_VAL);
  if (at < 0) return 0;
  const bmpLen = r.u32(at - r.body);
  const window = r.u32(at - r.body + 20);
  if (window > 32 * bmpLen) {
    return r.fail(Errno.EINVAL, 'ESN replay window is too large for the chosen bitmap size');
  }
  const isOut = r.attributes.u8(A.SA_DIR) === 2;
  if ((r.u8(InfoByte.FLAGS) & SaFlag.ESN) !== 0 && window === 0 && !isOut) {
    return r.fail(Errno.EINVAL, 'ESN replay window must be > 0');
  }
  return 0;
}

function makeReplayState(r: Request, slot: number): void {
  const { sad } = r.ns;
  const at = r.attributes.at(A.REPLAY_ESN_VAL);
  if (at < 0) return;
  sad.makeEsn(slot, r.u32(at - r.body));
  // A bitmap that was left out starts as zeros.
  const given = Math.min(sad.replayLength(slot), r.attributes.length(A.REPLAY_ESN_VAL) >> 2);
  const words = sad.replayWords(slot);
  const to = sad.replayAt(slot);
  for (let i = 0; i < given; i++) words[to + i] = r.view.getUint32(at + 4 * i, little);
}
