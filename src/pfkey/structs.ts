import {
  address,
  be16,
  be32,
  bitsOf,
  IpProto,
  oneOf,
  reserved,
  struct,
  u8,
  u16,
  u32,
  u64,
  type ValueOf,
} from '../wire/index.ts';
import {
  AddressFamily,
  AuthAlg,
  EncryptAlg,
  IdentType,
  IpsecDir,
  IpsecLevel,
  IpsecMode,
  IpsecPolicy,
  NatTType,
  PfkeySaFlag,
  SaState,
  SaType,
} from './constants.ts';

/**
 * The structures of linux/pfkeyv2.h. Field names are those of the header without `sadb_..._`, in camelCase; `be` fields are in network
 * order, all others in the order of the host. Those of extensions begin behind the extension's header, which the walker reads.
 */

/** sizeof(struct sadb_ext): length and type. */
export const EXT_HEADER_BYTES = 4;
const EXT = EXT_HEADER_BYTES;

const auth = oneOf(u8, AuthAlg);
const encrypt = oneOf(u8, EncryptAlg);
const mode = oneOf(u8, IpsecMode);
export const satype = oneOf(u8, SaType);

/** In messages of policies Linux leaves a reference count in `reserved` (af_key.c:pfkey_xfrm_policy2msg); in requests it must be 0. */
export const sadbMsg = struct('sadb_msg', 16, {
  version: u8,
  type: u8,
  errno: u8,
  satype,
  len: u16,
  reserved: reserved(2),
  seq: u32,
  pid: u32,
});

/** `replay` is the size of the window in packets. */
export const sadbSa = struct(
  'sadb_sa',
  16,
  { spi: be32, replay: u8, state: oneOf(u8, SaState), auth, encrypt, flags: bitsOf(u32, PfkeySaFlag) },
  EXT,
);

/** Limits or, as LIFETIME_CURRENT, what was used. Allocations are packets. Times: seconds; those of CURRENT are of the epoch. 0: none. */
export const sadbLifetime = struct(
  'sadb_lifetime',
  32,
  { allocations: u32, bytes: u64, addtime: u64, usetime: u64 },
  EXT,
);

export const sadbAddress = struct(
  'sadb_address',
  8,
  { proto: oneOf(u8, IpProto), prefixlen: u8, reserved: reserved(2) },
  EXT,
);

export const sadbKey = struct('sadb_key', 8, { bits: u16, reserved: reserved(2) }, EXT);

export const sadbIdent = struct('sadb_ident', 16, { type: oneOf(u16, IdentType), reserved: reserved(2), id: u64 }, EXT);

/** `sensLen` and `integLen` count 64-bit words. */
export const sadbSens = struct(
  'sadb_sens',
  16,
  { dpd: u32, sensLevel: u8, sensLen: u8, integLevel: u8, integLen: u8, reserved: reserved(4) },
  EXT,
);

export const sadbProp = struct('sadb_prop', 8, { replay: u8, reserved: reserved(3) }, EXT);

export const sadbComb = struct('sadb_comb', 72, {
  auth,
  encrypt,
  flags: u16,
  authMinbits: u16,
  authMaxbits: u16,
  encryptMinbits: u16,
  encryptMaxbits: u16,
  reserved: reserved(4),
  softAllocations: u32,
  hardAllocations: u32,
  softBytes: u64,
  hardBytes: u64,
  softAddtime: u64,
  hardAddtime: u64,
  softUsetime: u64,
  hardUsetime: u64,
});

export const sadbSupported = struct('sadb_supported', 8, { reserved: reserved(4) }, EXT);

const algFields = { ivlen: u8, minbits: u16, maxbits: u16, reserved: reserved(2) } as const;
export const sadbAlgAuth = struct('sadb_alg', 8, { id: auth, ...algFields });
export const sadbAlgEncrypt = struct('sadb_alg', 8, { id: encrypt, ...algFields });

/** SPIs in host order. */
export const sadbSpirange = struct('sadb_spirange', 16, { min: u32, max: u32, reserved: reserved(4) }, EXT);

export const sadbKmprivate = struct('sadb_x_kmprivate', 8, { reserved: reserved(4) }, EXT);

export const sadbPolicy = struct(
  'sadb_x_policy',
  16,
  { type: oneOf(u16, IpsecPolicy), dir: oneOf(u8, IpsecDir), reserved: reserved(1), id: u32, priority: u32 },
  EXT,
);

/** `len` counts bytes, addresses included. Of transport mode there are none. */
export const sadbIpsecrequest = struct('sadb_x_ipsecrequest', 16, {
  len: u16,
  proto: oneOf(u16, IpProto),
  mode,
  level: oneOf(u8, IpsecLevel),
  reserved1: reserved(2),
  reqid: u32,
  reserved2: reserved(4),
});

export const sadbSa2 = struct(
  'sadb_x_sa2',
  16,
  { mode, reserved1: reserved(1), reserved2: reserved(2), sequence: u32, reqid: u32 },
  EXT,
);

export const sadbNatTType = struct('sadb_x_nat_t_type', 8, { type: oneOf(u8, NatTType), reserved: reserved(3) }, EXT);
export const sadbNatTPort = struct('sadb_x_nat_t_port', 8, { port: be16, reserved: reserved(2) }, EXT);
export const sadbSecCtx = struct('sadb_x_sec_ctx', 8, { alg: u8, doi: u8, ctxLen: u16 }, EXT);
export const sadbKmaddress = struct('sadb_x_kmaddress', 8, { reserved: reserved(4) }, EXT);

export const sadbFilter = struct(
  'sadb_x_filter',
  40,
  { saddr: address, daddr: address, family: oneOf(u16, AddressFamily), splen: u8, dplen: u8 },
  EXT,
);

export const sockaddrIn = struct('sockaddr_in', 16, {
  family: oneOf(u16, AddressFamily),
  port: be16,
  addr: be32,
  zero: reserved(8),
});

export const sockaddrIn6 = struct('sockaddr_in6', 28, {
  family: oneOf(u16, AddressFamily),
  port: be16,
  flowinfo: be32,
  addr: address,
  scopeId: u32,
});

export type SadbSa = ValueOf<typeof sadbSa>;
export type SadbLifetime = ValueOf<typeof sadbLifetime>;
export type SadbComb = ValueOf<typeof sadbComb>;
export type SadbAlg = ValueOf<typeof sadbAlgAuth>;
