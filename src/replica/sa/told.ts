/**
 * Active: what of an SA's progress has arrived at the standby. One pong at a time is watched; what was sent before it has arrived when the
 * standby confirms it, or a later one. Rounds are counted from pong to pong, so that an SA needs three numbers however often it is sent:
 * the last one sent, the last one of an earlier round, and one of the rounds before that, which has arrived.
 */
export interface Told {
  sent: number;
  /** The round in which `sent` was. */
  round: number;
  before: number;
  proven: number;
}

/** What has been said and confirmed. */
export interface Rounds {
  /** Number of the current one: so many pongs have been watched. */
  current: number;
  /** What was sent in earlier rounds than this one has arrived. */
  proven: number;
  /** The pong that is watched: its time, by the clock of the standby, and that of its ping, by this node's. */
  watched: { readonly timeMs: number; readonly atMs: number } | undefined;
  /** All that the kernel had announced then is with the standby, by this node's clock. Undefined: it has no whole account. */
  provenMs: number | undefined;
}

const newTold = (): Told => ({ sent: 0, round: 0, before: 0, proven: 0 });
export const newRounds = (): Rounds => ({ current: 0, proven: 0, watched: undefined, provenMs: undefined });

/** What of an SA each peer has been told, in the order of the peers. */
export type ToldEach = Told[];

interface Listener {
  readonly index: number;
  readonly rounds: Rounds;
}

/** A number is being sent to this peer. */
export function noteSent(
  { index, rounds }: Listener,
  { told: each }: { readonly told: ToldEach },
  progress: number,
): void {
  while (each.length <= index) each.push(newTold());
  const told = each[index] as Told;
  if (told.round < rounds.current) {
    told.proven = told.round < rounds.proven ? told.sent : told.before;
    told.before = told.sent;
    told.round = rounds.current;
  }
  told.sent = progress;
}

/** A pong is on its way, after all that was sent. */
export function notePong(rounds: Rounds, timeMs: number, nowMs: number): void {
  if (rounds.watched !== undefined) return;
  rounds.watched = { timeMs, atMs: nowMs };
  // The same round goes on after a pong that nobody has confirmed.
  rounds.current = rounds.proven + 1;
}

export function onProven(rounds: Rounds, timeMs: number): void {
  const { watched } = rounds;
  if (watched === undefined || timeMs < watched.timeMs) return;
  rounds.provenMs = watched.atMs;
  rounds.proven = rounds.current;
  rounds.watched = undefined;
}

/** A whole account is about to be sent: until that is confirmed, the standby may be one that has nothing. */
export function forgetProof(rounds: Rounds): void {
  rounds.watched = undefined;
  rounds.provenMs = undefined;
}

/** The last number that has surely arrived there. */
export function arrived({ index, rounds }: Listener, { told }: { readonly told: ToldEach }): number {
  const { round, sent, before, proven } = told[index] ?? newTold();
  if (round < rounds.proven) return sent;
  return round === rounds.proven ? before : proven;
}
