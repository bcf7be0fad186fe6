import type { Policy } from './policy.ts';

/** What key managers are told of, beside SAs and policies. */

/** What key managers are asked for: an SA for one template of a policy. */
export interface AcquireFacts {
  readonly family: number;
  readonly proto: number;
  /** xfrm_id, 24 bytes. */
  readonly id: Uint8Array;
  /** 16 bytes. */
  readonly saddr: Uint8Array;
  /** xfrm_selector, 56 bytes. */
  readonly selector: Uint8Array;
  readonly policy: Policy;
  /** Where its template starts in `policy.templates`. */
  readonly template: number;
}

/** Where the peer of an SA behind a NAT is now. */
export interface NewMapping {
  /** 16 bytes. */
  readonly saddr: Uint8Array;
  readonly oldPort: number;
  readonly port: number;
}

/** SAs and templates that have moved. */
export interface MigrateFacts {
  /** xfrm_selector, 56 bytes. */
  readonly selector: Uint8Array;
  readonly dir: number;
  /** Of the policy. */
  readonly type: number;
  /** xfrm_user_migrate, 76 bytes each. */
  readonly moves: readonly Uint8Array[];
  /** xfrm_user_kmaddress, 40 bytes. */
  readonly kmAddress: Uint8Array | undefined;
  /** xfrm_encap_tmpl, 24 bytes. */
  readonly encap: Uint8Array | undefined;
}

/** Byte offsets in xfrm_user_migrate. */
export const Move = {
  OLD_DADDR: 0,
  OLD_SADDR: 16,
  NEW_DADDR: 32,
  NEW_SADDR: 48,
  PROTO: 64,
  MODE: 65,
  REQID: 68,
  OLD_FAMILY: 72,
  NEW_FAMILY: 74,
  SIZE: 76,
} as const;

/** Byte offsets in xfrm_user_kmaddress. */
export const Km = { LOCAL: 0, REMOTE: 16, RESERVED: 32, FAMILY: 36, SIZE: 40 } as const;
