import type { Sa } from '../../client/index.ts';
import { XFRM_INF } from '../../xfrm/index.ts';

/**
 * A ceiling in the limits of an SA: the hard packet limit at which the kernel stops it. It is told from a limit of the key manager, also by a
 * daemon that has just been started, by a mark: one of the limits that the key manager has left infinite is a little less.
 */

export type Limits = Sa['body']['lft'];

const MARKED = XFRM_INF - 0x5an;
const markable = ['hardByteLimit', 'softByteLimit', 'softPacketLimit'] as const;

export function withCeiling(limits: Limits, ceiling: bigint): Limits {
  const field = markable.find((name) => limits[name] === XFRM_INF);
  return { ...limits, hardPacketLimit: ceiling, ...(field === undefined ? {} : { [field]: MARKED }) };
}

/** The limits without the mark; undefined if there is none, so that they are the key manager's, unless all of them were finite. */
export function withoutMark(limits: Limits): Limits | undefined {
  const field = markable.find((name) => limits[name] === MARKED);
  return field === undefined ? undefined : { ...limits, [field]: XFRM_INF };
}

/** Limits of which the kernel has told already are left out when it would tell again. */
export const withoutSoft = (limits: Limits): Limits => ({
  ...limits,
  softByteLimit: XFRM_INF,
  softPacketLimit: XFRM_INF,
  softAddExpiresSeconds: 0n,
  softUseExpiresSeconds: 0n,
});
