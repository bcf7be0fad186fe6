import type { Namespace } from './namespace.ts';
import { Esn, Legacy, Sent } from './replay.ts';
import { Row, RowBit, SaState } from './row.ts';
import { wheelExpiry } from './timers.ts';

/**
 * Replay notifications: how others learn how far the sequence numbers of an SA have come (xfrm_replay.c: xfrm_replay_notify,
 * xfrm_replay_timer_handler). Each SA has two thresholds, N packets (Row.MAXDIFF) and T jiffies (Row.MAXAGE), what was last told of its
 * numbers (Row.SENT), and a timer. Registered callbacks are called when
 *
 * - a packet has brought either number to N or more above what was last told (NUMBERS), or
 * - T has passed since something was last told, and the replay state has changed since (TIMER).
 *
 * With N = 0 there is never the first, with T = 0 never the second, with both the SA is silent. The burst exception: where T passes without
 * a change, or without anybody to tell of one, the timer stops, and the next packet is told at once (as TIMER while it stays below N). With
 * T set to 0 in that state nothing ends it: each packet is told.
 *
 * All callbacks share the thresholds of an SA and what was last told. An SA that no callback hears of is not looked at: nothing counts as
 * told, so whoever comes later is told with the next packet.
 */

/** Why a notification is made. */
export const ReplayCause = {
  /** A number has moved by N. */
  NUMBERS: 0,
  /** T is over; or it was when the first packet came. */
  TIMER: 1,
} as const;
export type ReplayCause = (typeof ReplayCause)[keyof typeof ReplayCause];

/** A front end of the mechanism. */
export interface ReplayCallback {
  /** Whether it is to hear of this SA. Asked for each packet: no more than a look at a field. */
  hears(ns: Namespace, slot: number): boolean;
  /**
   * An SA's numbers, as they stand in its row now, are told and count as told from then on. For NUMBERS the packet is not in its bytes and
   * packets yet. Called in the midst of a packet: it may read the SA and queue messages, nothing else.
   */
  notify(ns: Namespace, slot: number, cause: ReplayCause): void;
}

/** The callbacks of one machine, for the SAs of all its namespaces. */
export class ReplayNotifier {
  /** In the order in which they are called. */
  callbacks: readonly ReplayCallback[] = [];

  /** Has no effect on one that is registered. */
  register(callback: ReplayCallback): void {
    if (!this.callbacks.includes(callback)) this.callbacks = [...this.callbacks, callback];
  }

  unregister(callback: ReplayCallback): void {
    this.callbacks = this.callbacks.filter((other) => other !== callback);
  }
}

function isHeard(callbacks: readonly ReplayCallback[], ns: Namespace, slot: number): boolean {
  for (const callback of callbacks) if (callback.hears(ns, slot)) return true;
  return false;
}

/** After each accepted inbound or numbered outbound packet. */
export function onCounterChange(ns: Namespace, slot: number): void {
  const { callbacks } = ns.host.replayNotifier;
  if (callbacks.length === 0 || !isHeard(callbacks, ns, slot)) return;
  const { sad } = ns;
  const { words } = sad;
  const row = sad.row(slot);
  const maxdiff = words[row + Row.MAXDIFF] as number;
  let cause: ReplayCause = ReplayCause.NUMBERS;
  if (maxdiff === 0 || movedBy(ns, slot) < maxdiff) {
    if (!sad.has(slot, RowBit.DEFERRED)) return;
    cause = ReplayCause.TIMER;
  }
  tell(ns, slot, cause);
}

/** How far either counter is from what was last notified, in lower words. */
function movedBy({ sad }: Namespace, slot: number): number {
  const words = sad.replayWords(slot);
  const live = sad.replayAt(slot) + (sad.hasBitmap(slot) ? Esn.OSEQ : Legacy.OSEQ);
  const sent = sad.sentAt(slot);
  // In either form the inbound counter follows the outbound one.
  const oseq = ((words[live] as number) - (words[sent + Sent.OSEQ] as number)) >>> 0;
  const seq = ((words[live + 1] as number) - (words[sent + Sent.SEQ] as number)) >>> 0;
  return Math.max(seq, oseq);
}

/** The replay timer ran out. */
export function onReplayTimer(ns: Namespace, slot: number): void {
  const { sad } = ns;
  if (sad.state(slot) !== SaState.VALID) return;
  const heard = isHeard(ns.host.replayNotifier.callbacks, ns, slot);
  if (!heard || isAsSent(ns, slot)) sad.setBit(slot, RowBit.DEFERRED, true);
  else tell(ns, slot, ReplayCause.TIMER);
}

function isAsSent({ sad }: Namespace, slot: number): boolean {
  const words = sad.replayWords(slot);
  const live = sad.replayAt(slot);
  const sent = sad.sentAt(slot);
  const same = (from: number, to: number): boolean => words[live + from] === words[sent + to];
  if (!sad.hasBitmap(slot)) {
    return same(Legacy.OSEQ, Sent.OSEQ) && same(Legacy.SEQ, Sent.SEQ) && same(Legacy.BITMAP, Sent.LEGACY_BITMAP);
  }
  if (!same(Esn.OSEQ, Sent.OSEQ) || !same(Esn.SEQ, Sent.SEQ)) return false;
  if (!same(Esn.OSEQ_HI, Sent.OSEQ_HI) || !same(Esn.SEQ_HI, Sent.SEQ_HI)) return false;
  const count = words[live + Esn.BMP_LEN] as number;
  for (let i = 0; i < count; i++) if (!same(Esn.BMP + i, Sent.BMP + i)) return false;
  return true;
}

/** The counters as they are now become what was last notified. */
export function takeSnapshot({ sad }: Namespace, slot: number): void {
  const words = sad.replayWords(slot);
  const live = sad.replayAt(slot);
  const sent = sad.sentAt(slot);
  if (!sad.hasBitmap(slot)) {
    words.copyWithin(sent, live, live + Legacy.WORDS);
    return;
  }
  words.copyWithin(sent, live + Esn.OSEQ, live + Esn.WINDOW);
  words.copyWithin(sent + Sent.BMP, live + Esn.BMP, live + Esn.BMP + (words[live + Esn.BMP_LEN] as number));
}

function tell(ns: Namespace, slot: number, cause: ReplayCause): void {
  const { sad } = ns;
  takeSnapshot(ns, slot);
  for (const callback of ns.host.replayNotifier.callbacks) {
    if (callback.hears(ns, slot)) callback.notify(ns, slot, cause);
  }
  // As in the kernel: with T = 0 nothing is armed, and DEFERRED can never be cleared.
  if ((sad.words[sad.row(slot) + Row.MAXAGE] as number) !== 0 && !armTimer(ns, slot)) {
    sad.setBit(slot, RowBit.DEFERRED, false);
  }
}

/** Starts the timer, or pushes it away; says whether it was pending. */
export function armTimer(ns: Namespace, slot: number): boolean {
  const { sad, host } = ns;
  const maxage = sad.words[sad.row(slot) + Row.MAXAGE] as number;
  return ns.replayTimers.arm(slot, host.jiffyMs(wheelExpiry(host.jiffies(), maxage)));
}
