import { AddressFamily, IpProto, IpsecMode, SaType } from '../../../pfkey/index.ts';
import { XfrmMode } from '../../../xfrm/index.ts';

/**
 * Where the fields of PF_KEY structures are, in bytes, and how their words translate into those of XFRM. Numbers are in the order of the
 * host, but for SPIs, ports and addresses.
 */

export const WORD = 8;
export const align8 = (size: number): number => (size + WORD - 1) & -WORD;

export const Msg = {
  VERSION: 0,
  TYPE: 1,
  ERRNO: 2,
  SATYPE: 3,
  LEN: 4,
  RESERVED: 6,
  SEQ: 8,
  PID: 12,
  SIZE: 16,
} as const;
export const Ext = { LEN: 0, TYPE: 2, SIZE: 4 } as const;
export const Sa = { SPI: 4, REPLAY: 8, STATE: 9, AUTH: 10, ENCRYPT: 11, FLAGS: 12, SIZE: 16 } as const;
export const Lifetime = { ALLOCATIONS: 4, BYTES: 8, ADDTIME: 16, USETIME: 24, SIZE: 32 } as const;
export const Address = { PROTO: 4, PREFIXLEN: 5, SOCKADDR: 8 } as const;
export const Key = { BITS: 4, KEY: 8 } as const;
export const SpiRange = { MIN: 4, MAX: 8 } as const;
export const Sa2 = { MODE: 4, REQID: 12, SIZE: 16 } as const;
export const NatTType = { TYPE: 4, SIZE: 8 } as const;
export const NatTPort = { PORT: 4, SIZE: 8 } as const;
export const SecCtx = { CTX_LEN: 6, SIZE: 8 } as const;
export const Filter = { SADDR: 4, DADDR: 20, FAMILY: 36, SPLEN: 38, DPLEN: 39 } as const;
export const Policy = { TYPE: 4, DIR: 6, ID: 8, PRIORITY: 12, SIZE: 16 } as const;
/** sadb_x_ipsecrequest; its length counts bytes. */
export const Rule = { LEN: 0, PROTO: 2, MODE: 4, LEVEL: 5, REQID: 8, SIZE: 16 } as const;
export const KmAddress = { RESERVED: 4, SIZE: 8 } as const;
export const Supported = { SIZE: 8 } as const;
export const Alg = { ID: 0, IVLEN: 1, MINBITS: 2, MAXBITS: 4, SIZE: 8 } as const;
export const Prop = { REPLAY: 4, SIZE: 8 } as const;
export const Comb = {
  AUTH: 0,
  ENCRYPT: 1,
  AUTH_MINBITS: 4,
  AUTH_MAXBITS: 6,
  ENCRYPT_MINBITS: 8,
  ENCRYPT_MAXBITS: 10,
  SOFT_ADDTIME: 40,
  HARD_ADDTIME: 48,
  SOFT_USETIME: 56,
  HARD_USETIME: 64,
  SIZE: 72,
} as const;

/** sockaddr_in and sockaddr_in6: family, port, and where the address is. */
export const Sockaddr = { FAMILY: 0, PORT: 2 } as const;
const IN = { ADDR: 4, ADDR_SIZE: 4, SIZE: 16 } as const;
const IN6 = { ADDR: 8, ADDR_SIZE: 16, SIZE: 28 } as const;

/** Of a family; undefined for any other than IPv4 and IPv6. */
export function sockaddrOf(family: number): typeof IN | typeof IN6 | undefined {
  if (family === AddressFamily.INET) return IN;
  return family === AddressFamily.INET6 ? IN6 : undefined;
}

/** Two sockaddrs of a family one behind the other; 0: there are none of that family. */
export const pairSize = (family: number): number => align8(2 * (sockaddrOf(family)?.SIZE ?? 0));

/** The protocol of a kind of SA (af_key.c:pfkey_satype2proto); 0: there is none. */
export function protoOf(satype: number): number {
  switch (satype) {
    case SaType.UNSPEC:
      return IpProto.IPSEC_ANY;
    case SaType.AH:
      return IpProto.AH;
    case SaType.ESP:
      return IpProto.ESP;
    case SaType.IPCOMP:
      return IpProto.COMP;
    default:
      return 0;
  }
}

export function satypeOf(proto: number): number {
  switch (proto) {
    case IpProto.AH:
      return SaType.AH;
    case IpProto.ESP:
      return SaType.ESP;
    case IpProto.COMP:
      return SaType.IPCOMP;
    default:
      return 0;
  }
}

const NONE = -1;

/** -1: XFRM has no such mode (pfkey_mode_to_xfrm). */
export function xfrmModeOf(mode: number): number {
  switch (mode) {
    case IpsecMode.ANY:
    case IpsecMode.TRANSPORT:
      return XfrmMode.TRANSPORT;
    case IpsecMode.TUNNEL:
      return XfrmMode.TUNNEL;
    case IpsecMode.BEET:
      return XfrmMode.BEET;
    default:
      return NONE;
  }
}

/** -1: PF_KEY has no such mode: what has it cannot be shown (pfkey_mode_from_xfrm). */
export function ipsecModeOf(mode: number): number {
  switch (mode) {
    case XfrmMode.TRANSPORT:
      return IpsecMode.TRANSPORT;
    case XfrmMode.TUNNEL:
      return IpsecMode.TUNNEL;
    case XfrmMode.BEET:
      return IpsecMode.BEET;
    default:
      return NONE;
  }
}

/** The upper protocol "any" is 255 here and 0 there. */
const PROTO_ANY = 255;
export const xfrmProtoOf = (proto: number): number => (proto === PROTO_ANY ? 0 : proto);
export const upperProtoOf = (proto: number): number => (proto === 0 ? PROTO_ANY : proto);
