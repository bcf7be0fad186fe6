import {
  attribute,
  attributeSpace,
  bitsOf,
  bytesPayload,
  flagPayload,
  listPayload,
  oneOf,
  scalarPayload,
  structPayload,
  tailedPayload,
  u8,
  u16,
  u32,
  u64,
} from '../netlink/index.ts';
import { SaDir, SaExtraFlag } from './constants.ts';
import {
  address,
  addressFilter,
  algo,
  algoAead,
  algoAuth,
  encapTmpl,
  lifetimeCur,
  mark,
  replayState,
  replayStateEsn,
  sadhinfo,
  spdhinfo,
  spdhthresh,
  spdinfo,
  userKmaddress,
  userMigrate,
  userOffload,
  userpolicyInfo,
  userpolicyType,
  userSecCtx,
  usersaInfo,
  userTmpl,
} from './structs.ts';

/** Attribute tables (XFRMA_*). Types from 33 on are strict: the kernel wants their exact length. */

const number32 = scalarPayload(u32);
const bitsToBytes = ({ keyLen }: { keyLen: number }): number => Math.ceil(keyLen / 8);
const key = { tail: 'key', unit: 'bytes', secret: true, count: bitsToBytes } as const;

/** The compression algorithm comes back with `keyLen` 0 and no key. */
const algorithm = tailedPayload<ReturnType<typeof algo.read>, 'key', Uint8Array>(algo, key);

/** A bitmap that is left out stands for an empty one (xfrm_user.c:verify_replay). */
export const replayEsnPayload = tailedPayload<ReturnType<typeof replayStateEsn.read>, 'bmp', number[]>(replayStateEsn, {
  tail: 'bmp',
  unit: 'u32',
  count: ({ bmpLen }) => bmpLen,
  mayBeAbsent: true,
});

export const xfrma = attributeSpace('XFRMA_', {
  unspec: attribute(0, bytesPayload),
  algAuth: attribute(1, algorithm),
  algCrypt: attribute(2, algorithm),
  algComp: attribute(3, algorithm),
  encap: attribute(4, structPayload(encapTmpl)),
  tmpl: attribute(5, listPayload(userTmpl)),
  sa: attribute(6, structPayload(usersaInfo)),
  policy: attribute(7, structPayload(userpolicyInfo)),
  secCtx: attribute(
    8,
    tailedPayload<ReturnType<typeof userSecCtx.read>, 'ctx', Uint8Array>(userSecCtx, {
      tail: 'ctx',
      unit: 'bytes',
      count: ({ ctxLen }) => ctxLen,
    }),
  ),
  ltimeVal: attribute(9, structPayload(lifetimeCur)),
  replayVal: attribute(10, structPayload(replayState)),
  /** Packets between two events. */
  replayThresh: attribute(11, number32),
  /** Jiffies when it is set, units of 100 ms when it is read (xfrm_user.c:xfrm_update_ae_params, build_aevent). */
  etimerThresh: attribute(12, number32),
  srcaddr: attribute(13, structPayload(address)),
  coaddr: attribute(14, structPayload(address)),
  /** Seconds since the epoch. */
  lastused: attribute(15, scalarPayload(u64)),
  policyType: attribute(16, structPayload(userpolicyType)),
  migrate: attribute(17, listPayload(userMigrate)),
  algAead: attribute(18, tailedPayload<ReturnType<typeof algoAead.read>, 'key', Uint8Array>(algoAead, key)),
  kmaddress: attribute(19, structPayload(userKmaddress)),
  algAuthTrunc: attribute(20, tailedPayload<ReturnType<typeof algoAuth.read>, 'key', Uint8Array>(algoAuth, key)),
  mark: attribute(21, structPayload(mark)),
  tfcpad: attribute(22, number32),
  replayEsnVal: attribute(23, replayEsnPayload),
  saExtraFlags: attribute(24, scalarPayload(bitsOf(u32, SaExtraFlag))),
  proto: attribute(25, scalarPayload(u8)),
  addressFilter: attribute(26, structPayload(addressFilter)),
  pad: attribute(27, bytesPayload),
  offloadDev: attribute(28, structPayload(userOffload)),
  setMark: attribute(29, number32),
  setMarkMask: attribute(30, number32),
  ifId: attribute(31, number32),
  /** Seconds. */
  mtimerThresh: attribute(32, number32),
  saDir: attribute(33, scalarPayload(oneOf(u8, SaDir)), true),
  /** Seconds. */
  natKeepaliveInterval: attribute(34, number32, true),
  saPcpu: attribute(35, number32, true),
  /** Microseconds. */
  iptfsDropTime: attribute(36, number32, true),
  iptfsReorderWindow: attribute(37, scalarPayload(u16), true),
  iptfsDontFrag: attribute(38, flagPayload, true),
  /** Microseconds. */
  iptfsInitDelay: attribute(39, number32, true),
  iptfsMaxQsize: attribute(40, number32, true),
  iptfsPktSize: attribute(41, number32, true),
});

export const sadinfoAttributes = attributeSpace('XFRMA_SAD_', {
  unspec: attribute(0, bytesPayload),
  cnt: attribute(1, number32),
  hinfo: attribute(2, structPayload(sadhinfo)),
});

export const spdinfoAttributes = attributeSpace('XFRMA_SPD_', {
  unspec: attribute(0, bytesPayload),
  info: attribute(1, structPayload(spdinfo)),
  hinfo: attribute(2, structPayload(spdhinfo)),
  ipv4Hthresh: attribute(3, structPayload(spdhthresh)),
  ipv6Hthresh: attribute(4, structPayload(spdhthresh)),
});

export type XfrmAttributes = typeof xfrma extends {
  readPlain: (v: DataView, s: number, e: number, into: infer A) => boolean;
}
  ? A
  : never;
