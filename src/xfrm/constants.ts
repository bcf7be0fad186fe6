/** Numbers of linux/xfrm.h, up to Linux 6.18. */

export { AddressFamily, IpProto } from '../wire/index.ts';

/** `NETLINK_XFRM`, the protocol number of the netlink family. */
export const NETLINK_XFRM = 6;

/** Multicast groups (XFRMNLGRP_*). */
export const XfrmGroup = {
  ACQUIRE: 1,
  EXPIRE: 2,
  SA: 3,
  POLICY: 4,
  AEVENTS: 5,
  REPORT: 6,
  MIGRATE: 7,
  MAPPING: 8,
} as const;

export const XfrmMode = { TRANSPORT: 0, TUNNEL: 1, ROUTEOPTIMIZATION: 2, IN_TRIGGER: 3, BEET: 4, IPTFS: 5 } as const;

export const SaFlag = {
  NOECN: 1,
  DECAP_DSCP: 2,
  NOPMTUDISC: 4,
  WILDRECV: 8,
  ICMP: 16,
  AF_UNSPEC: 32,
  ALIGN4: 64,
  ESN: 128,
} as const;

/** XFRMA_SA_EXTRA_FLAGS. */
export const SaExtraFlag = { DONT_ENCAP_DSCP: 1, OSEQ_MAY_WRAP: 2 } as const;

/** `flags` of xfrm_aevent_id (XFRM_AE_*): what is asked for, or why an event was sent. */
export const AeFlag = { RTHR: 1, RVAL: 2, LVAL: 4, ETHR: 8, CR: 16, CE: 32, CU: 64 } as const;

export const SaDir = { IN: 1, OUT: 2 } as const;
export const PolicyDir = { IN: 0, OUT: 1, FWD: 2 } as const;
export const PolicyAction = { ALLOW: 0, BLOCK: 1 } as const;
export const PolicyFlag = { LOCALOK: 1, ICMP: 2, CPU_ACQUIRE: 4 } as const;
export const PolicyType = { MAIN: 0, SUB: 1, ANY: 255 } as const;
export const PolicyDefault = { UNSPEC: 0, BLOCK: 1, ACCEPT: 2 } as const;
export const Share = { ANY: 0, SESSION: 1, USER: 2, UNIQUE: 3 } as const;
export const OffloadFlag = { IPV6: 1, INBOUND: 2, PACKET: 4 } as const;
export const EncapType = { ESPINUDP_NON_IKE: 1, ESPINUDP: 2, ESPINTCP: 7 } as const;

/** "No limit" in xfrm_lifetime_cfg. */
export const XFRM_INF = 0xffff_ffff_ffff_ffffn;
/** The largest replay bitmap, in 32-bit words (XFRMA_REPLAY_ESN_MAX / 32). */
export const ESN_BMP_LEN_MAX = 128;
