import type { Sa } from '../../client/index.ts';
import { IpProto, SaDir, SaExtraFlag } from '../../xfrm/index.ts';
import { allRules, type Rules } from '../rules.ts';
import {
  type Counters,
  counts64,
  directionOf,
  isParked,
  isShut,
  numberOf,
  replayWindowOf,
  SHUT_HI,
  type Stated,
} from './counters.ts';
import { packetsWithinAt } from './rate.ts';
import type { Knowledge, SaRecord, Thresholds } from './record.ts';

/**
 * Where an SA goes on after its active node is gone. Symbols as in docs/safety.md: N, T the thresholds of the SA's events, R its
 * highest packet rate, `unseenMs` the time from which on nothing is known of the old active until it surely sent nothing any more.
 */

export interface PlanSettings {
  /**
   * `strict`: the inbound window starts closed above everything that the old active can have accepted: no packet is accepted twice.
   * `window`: it starts as last seen: nothing is lost, what was accepted unseen can be accepted again.
   */
  readonly inbound: 'strict' | 'window';
  /** No SA sends faster than this, packets a second. Only the outbound skip uses it: numbers are cheap there. */
  readonly rateMaxPps: number;
  /** An inbound SA is taken to be at least this fast. */
  readonly rateFloorPps: number;
  /** `safe`: the kernel of the old active keeps to the grants. `available`: it may have gone on alone. */
  readonly mode: 'safe' | 'available';
  /**
   * The inbound window of an SA that was silent up to the last pong. `closed`: as of any other SA, above what can have come since then.
   * `open`: as last seen, so that nothing is lost; what was accepted since then can be accepted again.
   */
  readonly quiet: 'closed' | 'open';
}

export interface Position {
  readonly counters: Counters;
  /** How far the outbound number moved up, and what that follows. */
  readonly skip: number;
  readonly skipBy: 'grant' | 'estimate' | 'handover' | 'none';
  /** How far the inbound window moved up, closed. */
  readonly closed: number;
  /** The sequence numbers are nearly used up: the SA stays unable to send, and its key manager must re-key. */
  readonly exhausted: boolean;
}

/** T is read in whole units of this. */
const TIMER_UNIT_MS = 100;
/** The kernel's timers come up to 8 in 63 jiffies late, and a jiffy (kernel/time/timer.c:calc_index). */
const TIMER_LATE = 1 / 7;

/** After how long the timer of an SA has surely run. */
export const latestMs = ({ timerMs }: Pick<Thresholds, 'timerMs'>): number =>
  timerMs > 0 ? (timerMs + TIMER_UNIT_MS) * (1 + TIMER_LATE) : Number.POSITIVE_INFINITY;

/** How many packets an SA carries in a time, at the most. */
type Carried = (ms: number) => number;

/**
 * What the kernel can have counted and not announced: at any instant it has announced all but N - 1 packets, and all but what came since the
 * timer had to run (xfrm_replay_notify). Without thresholds it is what came in `unseenMs`.
 */
export function heldBack(thresholds: Thresholds, carried: Carried, unseenMs: number): number {
  const { packets, timerMs } = thresholds;
  if (packets === 0 && timerMs === 0) return carried(unseenMs);
  return Math.min(
    packets > 0 ? packets - 1 : Number.POSITIVE_INFINITY,
    timerMs > 0 ? carried(latestMs(thresholds)) : Number.POSITIVE_INFINITY,
  );
}

/** U: what the kernel had not announced yet, and what came after the last that is known. Of a quiet SA it had announced everything. */
function unseen({ quiet, thresholds }: SaRecord, carried: Carried, unseenMs: number): number {
  return Math.ceil((quiet ? 0 : heldBack(thresholds, carried, unseenMs)) + carried(unseenMs));
}

/** How many packets the old active can have accepted of an SA, and not told. */
export function unseenInbound(record: SaRecord, { rateFloorPps, quiet }: PlanSettings, known: Knowledge): number {
  if (record.quiet && quiet === 'open') return 0;
  const { unseenMs, provenMs } = known;
  return unseen(
    record,
    (ms) => Math.max(packetsWithinAt(record.rate, ms, provenMs), (rateFloorPps * ms) / 1000),
    unseenMs,
  );
}

const TWO_32 = 0x1_0000_0000;
/** K = SKIP_FACTOR x U: the bound is doubled, as numbers cost nothing and a reused one costs everything. */
const SKIP_FACTOR = 2;
/** A receiver infers the upper half of an extended number; one jump must stay far below 2^32 (RFC 4303, appendix A2). */
export const JUMP_MAX = 2 ** 31;
/** 32-bit numbers left below which an SA is not opened again. */
const MARGIN = 1024;

/** The position after an unplanned takeover. */
export function takeoverPosition(
  record: SaRecord,
  settings: PlanSettings,
  known: Knowledge,
  rules: Rules = allRules,
): Position {
  const { unseenMs, complete, provenMs } = known;
  const direction = directionOf(record);
  const { rateMaxPps, inbound } = settings;
  const atLineRate = (ms: number): number => (rateMaxPps * ms) / 1000;
  const toGrant = rules.grants ? Math.max(0, record.granted - numberOf(record.counters)) : 0;
  // Where the old active's kernel keeps to the grant, there is nothing to be estimated.
  const isBound = settings.mode === 'safe' && complete && record.granted > 0;
  const estimated =
    isBound || !rules.skip
      ? 0
      : Math.max(record.thresholds.packets, SKIP_FACTOR * unseen(record, atLineRate, unseenMs));
  const skip = direction === 'in' ? 0 : Math.max(toGrant, estimated);
  const skipBy = skip === 0 ? 'none' : toGrant >= estimated ? 'grant' : 'estimate';
  // Whatever the counters look like: an inbound SA that was fresh at an earlier switchover looks like an outbound one.
  const closes =
    rules.strict && record.sa.attributes.saDir !== SaDir.OUT && inbound === 'strict' && replayWindowOf(record.sa) > 0;
  const accepted = unseenInbound(record, settings, known);
  const closed = closes ? accepted : 0;
  const asSeen = record.quiet && accepted === 0;
  const unseenPackets = asSeen ? 0 : unseen(record, (ms) => packetsWithinAt(record.rate, ms, provenMs), unseenMs);
  return {
    ...moved(record, Math.min(skip, JUMP_MAX), Math.min(closed, JUMP_MAX), closes && !asSeen, unseenPackets),
    skipBy,
  };
}

/** The position after a planned switchover: everything was seen, the window goes over as it is. */
export function switchoverPosition(record: SaRecord): Position {
  const skip = directionOf(record) === 'in' ? 0 : 1;
  return { ...moved(record, skip, 0, false, 0), skipBy: skip === 0 ? 'none' : 'handover' };
}

function moved(
  record: SaRecord,
  skip: number,
  closed: number,
  shut: boolean,
  unseenPackets: number,
): Omit<Position, 'skipBy'> {
  const { sa, counters } = record;
  const is64 = sa.attributes.replayEsnVal !== undefined && (sa.body.flags & ESN) !== 0;
  const out = add(counters.oseq, counters.oseqHi, skip, is64);
  // A window that is shut stays where it is: above its end the upper halves begin anew.
  const into = add(counters.seq, counters.seqHi, isShut(sa, counters) ? 0 : closed, is64);
  const meanBytes = counters.packets > 0 ? counters.bytes / counters.packets : 0;
  const last = !is64 || out.high === TWO_32 - 1;
  const exhausted = skip > 0 && last && out.low > TWO_32 - 1 - MARGIN;
  return {
    skip,
    closed,
    exhausted,
    counters: {
      ...counters,
      oseq: exhausted ? TWO_32 - 1 : out.low,
      oseqHi: out.high,
      seq: into.low,
      seqHi: into.high,
      bitmap: shut ? allOnes(record) : counters.bitmap,
      packets: counters.packets + unseenPackets,
      bytes: Math.ceil(counters.bytes + unseenPackets * meanBytes),
      useTime: counters.useTime,
    },
  };
}

/** By then a number that was just read is written: what an SA sends meanwhile is passed over too. */
const LEAP_MS = 1_000;

/** The number of an SA that goes on above one that another node has used, though it sends while that is written. */
export function leapAbove(
  { sa, counters, thresholds }: SaRecord,
  { rateMaxPps }: PlanSettings,
  above: number,
): Pick<Counters, 'oseq' | 'oseqHi'> {
  const is64 = counts64(sa);
  // It has nothing left: its upper half would be no part of its numbers, and it would begin anew.
  if (isParked(sa, counters) || (!is64 && above >= TWO_32)) return parked({ sa, counters });
  const from = Math.max(above, numberOf(counters));
  const by = Math.max(thresholds.packets, Math.ceil((SKIP_FACTOR * rateMaxPps * LEAP_MS) / 1000));
  const { low, high } = add(from % TWO_32, Math.floor(from / TWO_32), Math.min(by, JUMP_MAX), is64);
  const last = !is64 || high === TWO_32 - 1;
  return { oseq: last && low > TWO_32 - 1 - MARGIN ? TWO_32 - 1 : low, oseqHi: high };
}

const ESN = 128;

function add(low: number, high: number, by: number, is64: boolean): { low: number; high: number } {
  const sum = low + by;
  if (sum < TWO_32) return { low: sum, high };
  const carried = high + Math.floor(sum / TWO_32);
  if (is64 && carried < TWO_32) return { low: sum % TWO_32, high: carried };
  return { low: TWO_32 - 1, high: is64 ? TWO_32 - 1 : high };
}

/** Every number of the window counts as seen. Bits beyond the window are never looked at. */
function allOnes({ sa }: Stated): number[] {
  return new Array<number>(sa.attributes.replayEsnVal?.bmpLen ?? 1).fill(0xffff_ffff);
}

/**
 * The counters that keep an SA on a standby from sending: its number is at its end, so the kernel drops what it should send
 * (EOVERFLOW) and neither expires the SA nor tells anybody (xfrm_replay.c:xfrm_replay_overflow).
 */
export function parked({ sa, counters }: Stated): Counters {
  // Also where nothing is sent anyway: it tells, of an SA that is found in a kernel, that its counters are an old copy.
  const end = TWO_32 - 1;
  return {
    ...counters,
    oseq: end,
    oseqHi: sa.attributes.replayEsnVal === undefined || (sa.body.flags & ESN) === 0 ? 0 : end,
  };
}

/** An SA whose numbers may wrap goes on at their end, and IPCOMP has none: such an SA is kept out of a standby's kernel. */
export function canBeParked({ body, attributes }: Sa): boolean {
  return body.id.proto !== IpProto.COMP && ((attributes.saExtraFlags ?? 0) & SaExtraFlag.OSEQ_MAY_WRAP) === 0;
}

/** Counters of an SA that is used here no more: it cannot send, and every number that comes in is below a closed window. */
export function shut(record: Stated): Counters {
  const { sa } = record;
  const counters = parked(record);
  if (sa.attributes.saDir === SaDir.OUT || replayWindowOf(sa) === 0) return counters;
  const is64 = sa.attributes.replayEsnVal !== undefined && (sa.body.flags & ESN) !== 0;
  return { ...counters, seq: TWO_32 - 1, seqHi: is64 ? SHUT_HI : 0, bitmap: allOnes(record) };
}
