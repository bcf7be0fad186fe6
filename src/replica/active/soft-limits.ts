import { XFRM_INF } from '../../xfrm/index.ts';
import { expireSa } from '../sa/install.ts';
import type { SaRecord } from '../sa/record.ts';
import { type State, write } from '../state/state.ts';

/**
 * The new active: counts were carried over and moved up by what was not seen, and its key manager has not heard of limits that were passed
 * on the other node. It hears of them at once, so that it re-keys in its own time: the kernel would tell of packets and bytes with the next
 * packet only, and of time not again where it has done so while the SA stood by (xfrm_state.c: xfrm_state_check_expire, km.dying).
 */
export function tellSoftLimits(s: State, nowMs: number): void {
  const nowS = s.epochMs === undefined ? undefined : (s.epochMs + nowMs) / 1000;
  const passed = [...s.sas].filter((record) => !record.softTold && hasPassed(record, nowS));
  if (passed.length === 0) return;
  for (const record of passed) record.softTold = true;
  s.write(passed.map((record) => write('expire', record.handle, expireSa(record))));
  s.log('info', `${passed.length} SAs have passed a soft limit: their key manager is told`);
}

/** Limits as xfrm_state_check_expire and xfrm_timer_handler look at them. `nowS`: the time of day; undefined: nobody has said. */
function hasPassed({ sa, counters }: SaRecord, nowS: number | undefined): boolean {
  const { softByteLimit, softPacketLimit, softAddExpiresSeconds, softUseExpiresSeconds } = sa.body.lft;
  const { bytes, packets, addTime, useTime } = counters;
  const isReached = (limit: bigint, by: number): boolean => limit !== XFRM_INF && BigInt(by) >= limit;
  const isOver = (limit: bigint, since: number): boolean =>
    limit !== 0n && since > 0 && nowS !== undefined && nowS - since >= Number(limit);
  return (
    isReached(softByteLimit, bytes) ||
    isReached(softPacketLimit, packets) ||
    isOver(softAddExpiresSeconds, addTime) ||
    isOver(softUseExpiresSeconds, useTime)
  );
}
