import { getAevent, type Result } from '../../client/index.ts';
import { countersOfAevent, takeHigher } from '../sa/counters.ts';
import { noteRate } from '../sa/rate.ts';
import type { SaRecord } from '../sa/record.ts';
import type { State } from '../state/state.ts';
import { noteNumber, unheardSas } from './grants.ts';
import { noteMove, onSilent, silentSas } from './quiet.ts';

/**
 * Active: the counters of every SA are read from time to time, as the kernel can lose an event without a word (it has no memory for it,
 * xfrm_user.c:xfrm_exp_state_notify and its like); those of SAs that seem to be silent are read at once.
 */

/** Readings asked for with one tick: with a tick each 100 ms, 2560 a second. */
const READS_MAX = 256;
const UNHEARD_MAX = 128;

export function sweep(s: State, nowMs: number): void {
  const due = unheardSas(s, UNHEARD_MAX);
  if (s.standbys.length > 0) due.push(...silentSas(s, nowMs, READS_MAX - due.length));
  due.push(...nextOfSweep(s, nowMs, READS_MAX - due.length));
  if (due.length > 0) readCounters(s, due);
}

/** Asks for counters as they are now. */
export function readCounters(s: State, records: readonly SaRecord[]): void {
  const reads = records.map(({ handle, id }) => ({ handle, request: getAevent(id) }));
  s.emit({ type: 'readCounters', reads });
}

/** As many SAs as are due since the last call, in the order of their making. */
function nextOfSweep(s: State, nowMs: number, count: number): SaRecord[] {
  const { sweepMs } = s.settings;
  if (sweepMs === 0) return [];
  s.sweep ??= { rest: s.sas[Symbol.iterator](), untilMs: nowMs, credit: 0 };
  const { sweep } = s;
  const credit = sweep.credit + (s.sas.size * (nowMs - sweep.untilMs)) / sweepMs;
  sweep.untilMs = nowMs;
  // No SA twice in one go, and no more later because there was less to do before.
  sweep.credit = Math.min(credit, s.sas.size, count);
  const due: SaRecord[] = [];
  for (; sweep.credit >= 1; sweep.credit--) {
    let next = sweep.rest.next();
    if (next.done) {
      sweep.rest = s.sas[Symbol.iterator]();
      next = sweep.rest.next();
    }
    if (next.done) break;
    due.push(next.value);
  }
  return due;
}

/** An SA was read. What is behind the account has no effect (S3). */
export function onReadCounters(s: State, handle: number, { reply }: Result, nowMs: number): void {
  const record = s.sas.byHandle(handle);
  if (record === undefined) return;
  const { probed } = record;
  record.probed = false;
  if (reply?.kind !== 'NEWAE') return;
  s.counts.swept++;
  const before = { ...record.counters };
  if (takeHigher(record, countersOfAevent(reply))) s.touch(record);
  if (hasMoved(before, record)) {
    noteMove(s, record, nowMs);
    noteRate(record.rate, record.counters.packets, nowMs);
  } else if (probed) onSilent(s, record, nowMs);
  // Also where packets alone have moved.
  noteNumber(s, record);
}

/** A bitmap that was not known before says nothing, and the lifetime in an event is a packet behind. */
function hasMoved(before: SaRecord['counters'], { counters: now }: SaRecord): boolean {
  return (
    before.oseq !== now.oseq ||
    before.seq !== now.seq ||
    before.oseqHi !== now.oseqHi ||
    before.seqHi !== now.seqHi ||
    (before.bitmap?.some((word, i) => word !== now.bitmap?.[i]) ?? false)
  );
}
