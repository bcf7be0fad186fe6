import { latestMs } from '../sa/plan.ts';
import type { SaRecord, Thresholds } from '../sa/record.ts';
import type { State } from '../state/state.ts';

/**
 * Active: which SAs are silent for so long that the kernel has nothing to announce of them, and announces their next packet at once (docs/safety.md,
 * quiet SAs). Time alone does not tell, as a machine can stop for a while and its timers with it: the counters are read, too.
 */

/** SAs looked at with one tick. */
const LOOKS_MAX = 4096;

/** The account of an SA begins, or this node's reign does. */
export function watch(s: State, record: SaRecord, nowMs: number): void {
  record.quiet = false;
  record.movedMs = nowMs;
  record.timerMaxMs = undefined;
  s.awake.add(record);
}

/** An SA was seen to move. */
export function noteMove(s: State, record: SaRecord, nowMs: number): void {
  record.movedMs = nowMs;
  if (!record.quiet) return;
  record.quiet = false;
  s.awake.add(record);
}

/** The kernel has spoken of an SA by itself: its timer runs from now on with the T that is known. True if that is news. */
export function noteTimer(record: SaRecord): boolean {
  const { timerMs } = record.thresholds;
  if (record.timerMaxMs === undefined || record.timerMaxMs === timerMs) return false;
  record.timerMaxMs = timerMs;
  return true;
}

/** The thresholds by which the kernel can hold back: N, and the T with which the timer can be running at most. */
export function timedBy({ thresholds, timerMaxMs }: SaRecord): Thresholds {
  const timerMs = timerMaxMs ?? thresholds.timerMs;
  return { packets: thresholds.packets, timerMs: Number.isFinite(timerMs) ? timerMs : 0 };
}

/** A T was read. One that takes the place of none does not start the timer; a timer that is running keeps its old time. */
export function noteTimerRead(record: SaRecord, timerMs: number): void {
  const { timerMaxMs, thresholds } = record;
  if (timerMaxMs === undefined) record.timerMaxMs = timerMs;
  else if (thresholds.timerMs === 0 && timerMs > 0) record.timerMaxMs = Number.POSITIVE_INFINITY;
  else record.timerMaxMs = Math.max(timerMaxMs, timerMs);
}

const isSilent = ({ timerMaxMs, movedMs }: SaRecord, nowMs: number): boolean =>
  timerMaxMs !== undefined && nowMs - movedMs >= latestMs({ timerMs: timerMaxMs });

/** SAs that have become silent, at most `count`: their counters are to be read. */
export function silentSas(s: State, nowMs: number, count: number): SaRecord[] {
  const silent: SaRecord[] = [];
  for (let looks = Math.min(s.awake.size, LOOKS_MAX); looks > 0 && silent.length < count; looks--) {
    const [record] = s.awake;
    if (record === undefined) break;
    // Behind all others, so that each gets its turn.
    s.awake.delete(record);
    s.awake.add(record);
    if (record.probed || !isSilent(record, nowMs)) continue;
    record.probed = true;
    silent.push(record);
  }
  return silent;
}

/** The counters of a silent SA were read, and had not moved. The standby gets them once more, with the bitmap. */
export function onSilent(s: State, record: SaRecord, nowMs: number): void {
  if (!isSilent(record, nowMs) || record.counters.bitmap === undefined) return;
  record.quiet = true;
  s.awake.delete(record);
  s.touch(record);
}
