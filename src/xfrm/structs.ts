import {
  address,
  be16,
  be32,
  bitsOf,
  chars,
  i32,
  oneOf,
  struct,
  u8,
  u16,
  u32,
  u64,
  type ValueOf,
} from '../wire/index.ts';
import {
  AddressFamily,
  AeFlag,
  EncapType,
  IpProto,
  OffloadFlag,
  PolicyAction,
  PolicyDefault,
  PolicyDir,
  PolicyFlag,
  PolicyType,
  SaFlag,
  Share,
  XfrmMode,
} from './constants.ts';

/**
 * The structures of linux/xfrm.h (64-bit layout). Field names are those of the header in camelCase; `be` fields are in network order,
 * all others in the order of the host.
 */

const family = oneOf(u16, AddressFamily);
const proto = oneOf(u8, IpProto);
const mode = oneOf(u8, XfrmMode);
const share = oneOf(u8, Share);
const dir = oneOf(u8, PolicyDir);

export const xfrmId = struct('xfrm_id', 24, { daddr: address, spi: be32, proto });

export const selector = struct('xfrm_selector', 56, {
  daddr: address,
  saddr: address,
  dport: be16,
  dportMask: be16,
  sport: be16,
  sportMask: be16,
  family,
  prefixlenD: u8,
  prefixlenS: u8,
  proto,
  ifindex: i32,
  user: u32,
});

/** Limits: bytes, packets, seconds since the SA was added, seconds since its first use. `XFRM_INF` or 0 seconds: none. */
export const lifetimeCfg = struct('xfrm_lifetime_cfg', 64, {
  softByteLimit: u64,
  hardByteLimit: u64,
  softPacketLimit: u64,
  hardPacketLimit: u64,
  softAddExpiresSeconds: u64,
  hardAddExpiresSeconds: u64,
  softUseExpiresSeconds: u64,
  hardUseExpiresSeconds: u64,
});

/** What was used. Times are seconds since the epoch; `useTime` 0: never used. */
export const lifetimeCur = struct('xfrm_lifetime_cur', 32, { bytes: u64, packets: u64, addTime: u64, useTime: u64 });

/** How many packets were refused: too old, seen before, signature wrong. */
export const stats = struct('xfrm_stats', 12, { replayWindow: u32, replay: u32, integrityFailed: u32 });

export const usersaInfo = struct('xfrm_usersa_info', 224, {
  sel: selector,
  id: xfrmId,
  saddr: address,
  lft: lifetimeCfg,
  curlft: lifetimeCur,
  stats,
  seq: u32,
  reqid: u32,
  family,
  mode,
  replayWindow: u8,
  flags: bitsOf(u8, SaFlag),
});

export const usersaId = struct('xfrm_usersa_id', 24, { daddr: address, spi: be32, family, proto });

export const aeventId = struct('xfrm_aevent_id', 48, {
  saId: usersaId,
  saddr: address,
  flags: bitsOf(u32, AeFlag),
  reqid: u32,
});

/** The layout of the interface's first documentation; Linux answers EINVAL to it. */
export const aeventIdFirst = struct('xfrm_aevent_id (first layout)', 28, {
  saId: usersaId,
  flags: bitsOf(u32, AeFlag),
});

/** `min` and `max` are SPIs in host order. */
export const userspiInfo = struct('xfrm_userspi_info', 232, { info: usersaInfo, min: u32, max: u32 });
export const usersaFlush = struct('xfrm_usersa_flush', 1, { proto });
export const userExpire = struct('xfrm_user_expire', 232, { state: usersaInfo, hard: u8 });

export const userpolicyInfo = struct('xfrm_userpolicy_info', 168, {
  sel: selector,
  lft: lifetimeCfg,
  curlft: lifetimeCur,
  priority: u32,
  index: u32,
  dir,
  action: oneOf(u8, PolicyAction),
  flags: bitsOf(u8, PolicyFlag),
  share,
});

export const userpolicyId = struct('xfrm_userpolicy_id', 64, { sel: selector, index: u32, dir });
export const userPolexpire = struct('xfrm_user_polexpire', 176, { pol: userpolicyInfo, hard: u8 });

export const userTmpl = struct('xfrm_user_tmpl', 64, {
  id: xfrmId,
  family,
  saddr: address,
  reqid: u32,
  mode,
  share,
  optional: u8,
  aalgos: u32,
  ealgos: u32,
  calgos: u32,
});

export const userAcquire = struct('xfrm_user_acquire', 280, {
  id: xfrmId,
  saddr: address,
  sel: selector,
  policy: userpolicyInfo,
  aalgos: u32,
  ealgos: u32,
  calgos: u32,
  seq: u32,
});

export const userMigrate = struct('xfrm_user_migrate', 76, {
  oldDaddr: address,
  oldSaddr: address,
  newDaddr: address,
  newSaddr: address,
  proto,
  mode,
  reserved: u16,
  reqid: u32,
  oldFamily: family,
  newFamily: family,
});

export const userKmaddress = struct('xfrm_user_kmaddress', 40, {
  local: address,
  remote: address,
  reserved: u32,
  family,
});
export const userReport = struct('xfrm_user_report', 60, { proto, sel: selector });

export const userMapping = struct('xfrm_user_mapping', 64, {
  id: usersaId,
  reqid: u32,
  oldSaddr: address,
  newSaddr: address,
  oldSport: be16,
  newSport: be16,
});

const defaultAction = oneOf(u8, PolicyDefault);
export const userpolicyDefault = struct('xfrm_userpolicy_default', 3, {
  in: defaultAction,
  fwd: defaultAction,
  out: defaultAction,
});
export const userpolicyType = struct('xfrm_userpolicy_type', 6, {
  type: oneOf(u8, PolicyType),
  reserved1: u16,
  reserved2: u8,
});

/** Lengths of keys are in bits. */
export const algo = struct('xfrm_algo', 68, { name: chars(64), keyLen: u32 });
export const algoAuth = struct('xfrm_algo_auth', 72, { name: chars(64), keyLen: u32, truncLen: u32 });
export const algoAead = struct('xfrm_algo_aead', 72, { name: chars(64), keyLen: u32, icvLen: u32 });
export const encapTmpl = struct('xfrm_encap_tmpl', 24, {
  type: oneOf(u16, EncapType),
  sport: be16,
  dport: be16,
  oa: address,
});
export const mark = struct('xfrm_mark', 8, { value: u32, mask: u32 });
export const userOffload = struct('xfrm_user_offload', 8, { ifindex: i32, flags: bitsOf(u8, OffloadFlag) });
export const userSecCtx = struct('xfrm_user_sec_ctx', 8, { len: u16, exttype: u16, alg: u8, doi: u8, ctxLen: u16 });
export const replayState = struct('xfrm_replay_state', 12, { oseq: u32, seq: u32, bitmap: u32 });
/** `bmpLen` counts 32-bit words, `replayWindow` bits. */
export const replayStateEsn = struct('xfrm_replay_state_esn', 24, {
  bmpLen: u32,
  oseq: u32,
  seq: u32,
  oseqHi: u32,
  seqHi: u32,
  replayWindow: u32,
});
export const addressFilter = struct('xfrm_address_filter', 36, {
  saddr: address,
  daddr: address,
  family,
  splen: u8,
  dplen: u8,
});

/** Reply and request structures of GETSADINFO, GETSPDINFO and their answers: four flag bytes. */
export const infoFlags = struct('flags', 4, { flags: u32 });
export const sadhinfo = struct('xfrmu_sadhinfo', 8, { sadhcnt: u32, sadhmcnt: u32 });
export const spdinfo = struct('xfrmu_spdinfo', 24, {
  incnt: u32,
  outcnt: u32,
  fwdcnt: u32,
  inscnt: u32,
  outscnt: u32,
  fwdscnt: u32,
});
export const spdhinfo = struct('xfrmu_spdhinfo', 8, { spdhcnt: u32, spdhmcnt: u32 });
export const spdhthresh = struct('xfrmu_spdhthresh', 2, { lbits: u8, rbits: u8 });

export const flushpolicyBody = struct('(no fixed part)', 0, {});

export { type Address, address } from '../wire/index.ts';
export type Selector = ValueOf<typeof selector>;
export type LifetimeCfg = ValueOf<typeof lifetimeCfg>;
export type LifetimeCur = ValueOf<typeof lifetimeCur>;
export type UsersaInfo = ValueOf<typeof usersaInfo>;
export type UsersaId = ValueOf<typeof usersaId>;
export type AeventId = ValueOf<typeof aeventId>;
export type UserpolicyInfo = ValueOf<typeof userpolicyInfo>;
export type UserpolicyId = ValueOf<typeof userpolicyId>;
export type UserTmpl = ValueOf<typeof userTmpl>;
export type Mark = ValueOf<typeof mark>;
export type ReplayState = ValueOf<typeof replayState>;
export type ReplayStateEsn = ValueOf<typeof replayStateEsn> & { bmp: number[] };
