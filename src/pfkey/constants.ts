/** Numbers of RFC 2367, linux/pfkeyv2.h and linux/ipsec.h, up to Linux 6.18. Those that are not Linux's are in replay-notification.ts. */

export { AddressFamily, IpProto } from '../wire/index.ts';

export const PF_KEY_V2 = 2;

/** Lengths are counted in words of this many bytes. */
export const WORD_BYTES = 8;

/** `sadb_msg_satype`: the kind of SA. Of X_PROMISC it is 1 to switch the mode on and 0 to switch it off. */
export const SaType = { UNSPEC: 0, AH: 2, ESP: 3, RSVP: 5, OSPFV2: 6, RIPV2: 7, MIP: 8, IPCOMP: 9 } as const;

export const SaState = { LARVAL: 0, MATURE: 1, DYING: 2, DEAD: 3 } as const;

/** `sadb_sa_flags`. */
export const PfkeySaFlag = { PFS: 1, NOPMTUDISC: 0x2000_0000, DECAP_DSCP: 0x4000_0000, NOECN: 0x8000_0000 } as const;

/** Algorithms to sign with (SADB_AALG_*, SADB_X_AALG_*). */
export const AuthAlg = {
  NONE: 0,
  MD5HMAC: 2,
  SHA1HMAC: 3,
  SHA2_256HMAC: 5,
  SHA2_384HMAC: 6,
  SHA2_512HMAC: 7,
  RIPEMD160HMAC: 8,
  AES_XCBC_MAC: 9,
  SM3_256HMAC: 10,
  NULL: 251,
} as const;

/** Algorithms to encrypt with (SADB_EALG_*, SADB_X_EALG_*). Of an IPCOMP SA the field holds a `CompAlg`. */
export const EncryptAlg = {
  NONE: 0,
  DESCBC: 2,
  '3DESCBC': 3,
  CASTCBC: 6,
  BLOWFISHCBC: 7,
  NULL: 11,
  AESCBC: 12,
  AESCTR: 13,
  AES_CCM_ICV8: 14,
  AES_CCM_ICV12: 15,
  AES_CCM_ICV16: 16,
  AES_GCM_ICV8: 18,
  AES_GCM_ICV12: 19,
  AES_GCM_ICV16: 20,
  CAMELLIACBC: 22,
  NULL_AES_GMAC: 23,
  SM4CBC: 24,
  SERPENTCBC: 252,
  TWOFISHCBC: 253,
} as const;

export const CompAlg = { NONE: 0, OUI: 1, DEFLATE: 2, LZS: 3, LZJH: 4 } as const;

export const IdentType = { RESERVED: 0, PREFIX: 1, FQDN: 2, USERFQDN: 3 } as const;

/** `sadb_x_sa2_mode`, `sadb_x_ipsecrequest_mode` (IPSEC_MODE_*). */
export const IpsecMode = { ANY: 0, TRANSPORT: 1, TUNNEL: 2, BEET: 3 } as const;

/** `sadb_x_policy_dir` (IPSEC_DIR_*). */
export const IpsecDir = { ANY: 0, INBOUND: 1, OUTBOUND: 2, FWD: 3 } as const;

/** `sadb_x_policy_type` (IPSEC_POLICY_*). */
export const IpsecPolicy = { DISCARD: 0, NONE: 1, IPSEC: 2, ENTRUST: 3, BYPASS: 4 } as const;

/** `sadb_x_ipsecrequest_level` (IPSEC_LEVEL_*). */
export const IpsecLevel = { DEFAULT: 0, USE: 1, REQUIRE: 2, UNIQUE: 3 } as const;

/** `sadb_x_nat_t_type_type`: that of UDP_ENCAP. */
export const NatTType = { NONE: 0, ESPINUDP_NON_IKE: 1, ESPINUDP: 2, ESPINTCP: 7 } as const;

/** Message types (SADB_*) of RFC 2367 and Linux. */
export const linuxMessageTypes = {
  GETSPI: 1,
  UPDATE: 2,
  ADD: 3,
  DELETE: 4,
  GET: 5,
  ACQUIRE: 6,
  REGISTER: 7,
  EXPIRE: 8,
  FLUSH: 9,
  DUMP: 10,
  X_PROMISC: 11,
  X_PCHANGE: 12,
  X_SPDUPDATE: 13,
  X_SPDADD: 14,
  X_SPDDELETE: 15,
  X_SPDGET: 16,
  X_SPDACQUIRE: 17,
  X_SPDDUMP: 18,
  X_SPDFLUSH: 19,
  X_SPDSETIDX: 20,
  X_SPDEXPIRE: 21,
  X_SPDDELETE2: 22,
  X_NAT_T_NEW_MAPPING: 23,
  X_MIGRATE: 24,
} as const;

/** The highest numbers that Linux has; it refuses messages above (EINVAL) and passes over extensions above. */
export const SADB_MAX = 24;
export const SADB_EXT_MAX = 26;
