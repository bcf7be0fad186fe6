import { announceExpire } from './key-managers.ts';
import type { Namespace } from './namespace.ts';
import { atLeast64, HIGH, LOW, number64, Row, RowBit, SaState, setNumber64 } from './row.ts';

/** Limits of an SA and what happens at them (xfrm_state.c: xfrm_state_check_expire, xfrm_timer_handler). */

const FIRST_RUN_MS = 1000;

/** Takes an SA out of the database, without a word to anybody. */
export function deleteSa(ns: Namespace, slot: number): void {
  ns.replayTimers.cancel(slot);
  ns.lifetimeTimers.cancel(slot);
  ns.sad.remove(slot);
}

function expireHard(ns: Namespace, slot: number): void {
  ns.sad.words[ns.sad.row(slot) + Row.STATE] = SaState.DEAD;
  announceExpire(ns, slot, true);
  deleteSa(ns, slot);
}

/** Whether a hard limit of bytes or packets is reached. */
export function isSpent({ sad: { words } }: Namespace, slot: number): boolean {
  const row = slot * Row.WORDS;
  return (
    atLeast64(words, row + Row.BYTES, row + Row.HARD_BYTE) || atLeast64(words, row + Row.PACKETS, row + Row.HARD_PACKET)
  );
}

/**
 * Before a packet is counted. False: a hard limit of bytes or packets was reached; the SA is gone then, as the timer that deletes it fires at
 * once.
 */
export function checkExpire(ns: Namespace, slot: number): boolean {
  const { sad } = ns;
  const { words } = sad;
  const row = sad.row(slot);
  if (words[row + Row.USE_TIME] === 0 && words[row + Row.USE_TIME + 1] === 0) {
    setNumber64(words, row + Row.USE_TIME, ns.host.seconds());
  }
  if (isSpent(ns, slot)) {
    words[row + Row.STATE] = SaState.EXPIRED;
    expireHard(ns, slot);
    return false;
  }
  if (
    !sad.isDying(slot) &&
    (atLeast64(words, row + Row.BYTES, row + Row.SOFT_BYTE) ||
      atLeast64(words, row + Row.PACKETS, row + Row.SOFT_PACKET))
  ) {
    sad.setBit(slot, RowBit.DYING, true);
    announceExpire(ns, slot, false);
  }
  return true;
}

/** Starts the lifetime timer, if there is a limit in time: its first run comes after one second, of larval SAs when they end. */
export function startLifetimeTimer(ns: Namespace, slot: number, firstRunMs: number = FIRST_RUN_MS): void {
  const { sad, host } = ns;
  const row = sad.row(slot);
  let limited = false;
  for (let i = Row.SOFT_ADD; i <= Row.HARD_USE + 1; i++) limited ||= sad.words[row + i] !== 0;
  if (!limited) return;
  // A pending run may be later than this one: the timer is set anew.
  ns.lifetimeTimers.cancel(slot);
  ns.lifetimeTimers.arm(slot, host.clock.monotonicMs() + firstRunMs);
}

/** A 64-bit number of seconds as the kernel reckons with it: signed. */
function seconds(words: Uint32Array, at: number): number {
  return ((words[at + HIGH] as number) | 0) * 0x1_0000_0000 + (words[at + LOW] as number);
}

/** The lifetime timer ran out (xfrm_timer_handler). After a jump of the clock the next time can be past: it waits a second at least. */
export function onLifetimeTimer(ns: Namespace, slot: number): void {
  const { host } = ns;
  const next = secondsToNextRun(ns, slot);
  if (next === EXPIRED) {
    expireHard(ns, slot);
    return;
  }
  if (next !== Number.POSITIVE_INFINITY)
    ns.lifetimeTimers.arm(slot, host.clock.monotonicMs() + Math.max(1, next) * 1000);
}

const EXPIRED = -1;

/** Looks at the limits in time and tells of a soft one that has passed. EXPIRED: a hard one has. Infinity: there is none to wait for. */
function secondsToNextRun(ns: Namespace, slot: number): number {
  const { sad, host } = ns;
  const { words } = sad;
  const row = sad.row(slot);
  const now = host.seconds();
  const at = (field: number): number => seconds(words, row + field);
  const used = at(Row.USE_TIME) === 0 ? now : at(Row.USE_TIME);
  let next = Number.POSITIVE_INFINITY;

  if (number64(words, row + Row.HARD_ADD) !== 0) {
    let left = at(Row.HARD_ADD) + at(Row.ADD_TIME) - now;
    if (left <= 0) {
      if (!sad.has(slot, RowBit.SOFT_SCHEDULED)) return EXPIRED;
      // The clock jumped ahead: the soft expiry that was due first still comes first.
      const saved = words[row + Row.SAVED_SOFT] as number;
      setNumber64(words, row + Row.ADD_TIME, now - saved - 1);
      left = at(Row.HARD_ADD) - saved;
    }
    next = Math.min(next, left);
  }
  if (number64(words, row + Row.HARD_USE) !== 0) {
    const left = at(Row.HARD_USE) + used - now;
    if (left <= 0) return EXPIRED;
    next = Math.min(next, left);
  }
  if (!sad.isDying(slot)) {
    let warn = false;
    if (number64(words, row + Row.SOFT_ADD) !== 0) {
      const left = at(Row.SOFT_ADD) + at(Row.ADD_TIME) - now;
      if (left <= 0) {
        warn = true;
        sad.setBit(slot, RowBit.SOFT_SCHEDULED, false);
      } else if (left < next) {
        next = left;
        sad.setBit(slot, RowBit.SOFT_SCHEDULED, true);
        words[row + Row.SAVED_SOFT] = left;
      }
    }
    if (number64(words, row + Row.SOFT_USE) !== 0) {
      const left = at(Row.SOFT_USE) + used - now;
      if (left <= 0) warn = true;
      else next = Math.min(next, left);
    }
    if (warn) {
      sad.setBit(slot, RowBit.DYING, true);
      announceExpire(ns, slot, false);
    }
  }
  return next;
}
