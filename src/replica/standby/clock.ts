import type { Counters } from '../sa/counters.ts';
import { setCounters, updateSa } from '../sa/install.ts';
import { parked } from '../sa/plan.ts';
import type { SaRecord } from '../sa/record.ts';
import type { FrameBody } from '../state/frames.ts';
import type { Offset, Peer } from '../state/peer.ts';
import { type State, write } from '../state/state.ts';

/**
 * How far the times of day of the nodes are apart, from pings: each tells the sender's time of day, and when the last ping of the other node
 * came. Times of day are needed for one thing: when SAs were added and first used, which their limits in seconds count from.
 */

const SAMPLES_MAX = 16;
/** A time of day is read in whole milliseconds. */
const RESOLUTION_MS = 1;
/** Clocks run apart by so much, at the most, while that many pings go back and forth; more, and one of them has been set. */
const DRIFT_MS = 20;
/** Above it people are told, below the lower one that it is over. */
export const ALARM_MS = 1_000;
const ALARM_OVER_MS = 800;
/** The kernel counts whole seconds. A shift is changed when it is off by more than this for certain, not to and fro at half a second. */
const SHIFT_OFF_MS = 750;

export function pingOf(
  { epochMs }: State,
  { clock: { heard } }: Peer,
  nowMs: number,
): FrameBody & { readonly type: 'ping' } {
  const timeOfDayMs = epochMs === undefined ? 0 : epochMs + nowMs;
  if (heard === undefined) return { type: 'ping', timeMs: nowMs, timeOfDayMs };
  return { type: 'ping', timeMs: nowMs, timeOfDayMs, echo: { timeMs: heard.timeMs, heldMs: nowMs - heard.atMs } };
}

/** The link is new, or gone: what was under way says nothing any more. */
export function forgetPings({ clock }: Peer): void {
  clock.heard = undefined;
  clock.samples = [];
}

export function onPingTimes(s: State, peer: Peer, ping: FrameBody & { readonly type: 'ping' }, nowMs: number): void {
  const { clock } = peer;
  const { timeMs, timeOfDayMs, echo } = ping;
  clock.heard = { timeMs, atMs: nowMs };
  if (echo === undefined || s.epochMs === undefined || timeOfDayMs === 0) return;
  // The other node said its time of day at some moment of the round trip.
  const roundTripMs = nowMs - echo.timeMs - echo.heldMs;
  if (roundTripMs < 0) return;
  note(s, peer, {
    ms: timeOfDayMs + roundTripMs / 2 - (s.epochMs + nowMs),
    uncertaintyMs: roundTripMs / 2 + RESOLUTION_MS,
  });
}

function note(s: State, peer: Peer, sample: Offset): void {
  const { clock } = peer;
  const agree = (other: Offset): boolean =>
    Math.abs(other.ms - sample.ms) <= other.uncertaintyMs + sample.uncertaintyMs + DRIFT_MS;
  clock.samples = clock.samples.every(agree) ? [...clock.samples, sample].slice(-SAMPLES_MAX) : [sample];
  const offset = clock.samples.reduce((best, one) => (one.uncertaintyMs < best.uncertaintyMs ? one : best), sample);
  clock.offset = offset;
  const apartMs = Math.abs(offset.ms);
  if (!clock.alarmed && apartMs - offset.uncertaintyMs > ALARM_MS) {
    clock.alarmed = true;
    s.log(
      'warn',
      `the clocks of ${peer.name} and this node are ${(apartMs / 1000).toFixed(1)} s apart: set them right. Limits of SAs in seconds are carried over with that taken off`,
      { clockOffsetMs: Math.round(offset.ms), uncertaintyMs: Math.round(offset.uncertaintyMs) },
    );
  } else if (clock.alarmed && apartMs + offset.uncertaintyMs < ALARM_OVER_MS) {
    clock.alarmed = false;
    s.log('info', `the clocks of ${peer.name} and this node agree again`, { clockOffsetMs: Math.round(offset.ms) });
  }
  // Positions of a takeover are being written: the next ping will do.
  const settled = s.phase === 'steady' || s.phase === 'awaitingHandover';
  if (settled && Math.abs(offset.ms - clock.shiftS * 1000) > SHIFT_OFF_MS + offset.uncertaintyMs)
    shiftTo(s, peer, Math.round(offset.ms / 1000));
}

/** What is known of the other node's SAs gets the new shift as well, in this node's kernel too. */
function shiftTo(s: State, peer: Peer, shiftS: number): void {
  const byS = shiftS - peer.clock.shiftS;
  peer.clock.shiftS = shiftS;
  const told = [...s.sas].filter((record) => record.timesBy === peer.name);
  for (const { counters } of told) Object.assign(counters, shifted(counters, byS));
  if (s.role !== 'standby') return;
  s.write(
    told
      .filter((record) => record.installed)
      .flatMap((record) => [
        write('counters', record.handle, setCounters(record, parked(record))),
        // The kernel's timer is set for the old time; an update sets it anew (xfrm_state_update).
        ...(hasTimeLimit(record) ? [write('update', record.handle, updateSa(record))] : []),
      ]),
  );
}

/** Counters of the other node, with the times by this node's time of day. */
export const ownTimes = ({ clock }: Peer, counters: Readonly<Counters>): Counters => ({
  ...counters,
  ...shifted(counters, clock.shiftS),
});

function shifted({ addTime, useTime }: Readonly<Counters>, byS: number): Pick<Counters, 'addTime' | 'useTime'> {
  // 0: never used.
  return { addTime: Math.max(addTime - byS, 0), useTime: useTime === 0 ? 0 : Math.max(useTime - byS, 1) };
}

function hasTimeLimit({ sa }: SaRecord): boolean {
  const { softAddExpiresSeconds, hardAddExpiresSeconds, softUseExpiresSeconds, hardUseExpiresSeconds } = sa.body.lft;
  return [softAddExpiresSeconds, hardAddExpiresSeconds, softUseExpiresSeconds, hardUseExpiresSeconds].some(
    (seconds) => seconds !== 0n,
  );
}
