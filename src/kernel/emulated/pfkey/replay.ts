import { PfkeyExt, PfkeyMsg, PfkeyReplayMode, ReplayReason } from '../../../pfkey/index.ts';
import { Errno } from '../errno.ts';
import { announceReplaySet } from '../key-managers.ts';
import type { Namespace } from '../namespace.ts';
import { Esn, Legacy, ReplayMode } from '../replay.ts';
import { armTimer, type ReplayCallback, ReplayCause, takeSnapshot } from '../replay-notify.ts';
import { InfoByte, Row, RowBit, SaState } from '../row.ts';
import { NO_SLOT } from '../sad.ts';
import { align8, Ext, Lifetime, satypeOf } from './layout.ts';
import type { PfkeyRequest } from './request.ts';
import { lookup, reply } from './sa-requests.ts';
import { writeCurrent, writeSaExtension } from './write-sa.ts';

/**
 * The front end of replay notifications towards PF_KEY: X_REPLAY_NOTIFY, X_REPLAY_SET and X_REPLAY_GET (pfkey/replay-notification.ts). No
 * Linux has it, and none of it shows unless somebody asks: SAs are told of here only once PF_KEY has given them a threshold that is not 0.
 */

const Threshold = { PACKETS: 4, MILLISECONDS: 8, SIZE: 16 } as const;
const State = { MODE: 4, OSEQ: 8, SEQ: 16, WINDOW: 24, BMP_LEN: 28, PACKETS_HIGH: 32, BITMAP: 40 } as const;
const Reason = { REASON: 4, SIZE: 8 } as const;
const U32_MAX = 0xffff_ffff;

export function pfkeyReplayFrontEnd(own: Namespace): ReplayCallback {
  return {
    hears: (ns, slot) => ns === own && ns.sad.has(slot, RowBit.TOLD_TO_PFKEY),
    notify(ns, slot, cause) {
      sendReplayNotify(ns, slot, cause === ReplayCause.NUMBERS ? ReplayReason.PACKETS : ReplayReason.TIME);
    },
  };
}

/** Somebody has set the state of an SA, with a request of this number. */
export function sendReplaySet(ns: Namespace, slot: number, seq: number, pid: number): void {
  if (ns.sad.has(slot, RowBit.TOLD_TO_PFKEY)) sendReplayNotify(ns, slot, ReplayReason.SET, seq, pid);
}

function sendReplayNotify(ns: Namespace, slot: number, reason: number, seq = 0, pid = 0): void {
  const { pfkeyWriter: writer, memoryPressure } = ns.host;
  if (memoryPressure) return;
  writeReplay(ns, slot, PfkeyMsg.X_REPLAY_NOTIFY, seq, pid);
  const at = writer.extension(PfkeyExt.replayReason, Reason.SIZE);
  writer.bytes[at + Reason.REASON] = reason;
  writer.end();
  ns.pfkey.broadcast(writer.bytes, writer.at, 'registered');
}

/** N packets and T jiffies. */
export interface Thresholds {
  readonly packets: number;
  readonly jiffies: number;
}

/** What a request sets them to; undefined: it does not. T is rounded up to whole jiffies. */
export function thresholdsOf(r: PfkeyRequest): Thresholds | undefined {
  const at = r.at(PfkeyExt.replayThreshold);
  if (at < 0) return undefined;
  const jiffies = Math.ceil((r.u32(at + Threshold.MILLISECONDS) * r.ns.host.profile.hz) / 1000);
  return { packets: r.u32(at + Threshold.PACKETS), jiffies: Math.min(jiffies, U32_MAX) };
}

/** Sets the thresholds that all front ends share. T counts from now, unlike after NEWAE: that leaves the timer as it is. */
export function setThresholds(ns: Namespace, slot: number, { packets, jiffies }: Thresholds): void {
  const { sad } = ns;
  const row = sad.row(slot);
  sad.words[row + Row.MAXDIFF] = packets;
  sad.words[row + Row.MAXAGE] = jiffies;
  sad.setBit(slot, RowBit.TOLD_TO_PFKEY, packets !== 0 || jiffies !== 0);
  sad.setBit(slot, RowBit.DEFERRED, false);
  ns.replayTimers.cancel(slot);
  if (jiffies !== 0) armTimer(ns, slot);
}

/** Adds the thresholds to the message that the host's writer holds, if PF_KEY has set them. */
export function writeThresholds(ns: Namespace, slot: number): void {
  const { sad } = ns;
  const row = sad.row(slot);
  if (!sad.has(slot, RowBit.TOLD_TO_PFKEY) || (sad.words[row + Row.MAXDIFF] === 0 && sad.words[row + Row.MAXAGE] === 0))
    return;
  writeThreshold(ns, slot);
  ns.host.pfkeyWriter.end();
}

function writeThreshold({ sad, host }: Namespace, slot: number): void {
  const { pfkeyWriter: writer, profile } = host;
  const row = sad.row(slot);
  const at = writer.extension(PfkeyExt.replayThreshold, Threshold.SIZE);
  const milliseconds = Math.floor(((sad.words[row + Row.MAXAGE] as number) * 1000) / profile.hz);
  writer.words(at + Threshold.PACKETS, sad.words, row + Row.MAXDIFF, 1);
  writer.u32(at + Threshold.MILLISECONDS, Math.min(milliseconds, U32_MAX));
}

/** What X_REPLAY_NOTIFY and the answer to X_REPLAY_GET begin with. */
function writeReplay(ns: Namespace, slot: number, type: number, seq: number, pid: number): void {
  const { sad, host } = ns;
  const { pfkeyWriter: writer } = host;
  const base = 4 * sad.row(slot);
  const family = sad.family(slot);
  writer.begin(type, satypeOf(sad.proto(slot)), seq, pid);
  writeSaExtension(ns, slot, sad.attributes(slot).body);
  writer.address(PfkeyExt.addressSrc, family, sad.bytes.subarray(base + InfoByte.SADDR, base + InfoByte.SADDR + 16));
  writer.address(PfkeyExt.addressDst, family, sad.bytes.subarray(base + InfoByte.DADDR, base + InfoByte.DADDR + 16));
  writeCurrent(ns, slot);
  writeState(ns, slot);
}

const modes = {
  [ReplayMode.LEGACY]: PfkeyReplayMode.LEGACY,
  [ReplayMode.BMP]: PfkeyReplayMode.BITMAP,
  [ReplayMode.ESN]: PfkeyReplayMode.ESN,
} as const;

/** Where in the replay state of an SA its parts are; -1: it does not have them. */
const legacyWords = { oseq: Legacy.OSEQ, seq: Legacy.SEQ, oseqHi: -1, seqHi: -1, window: -1, bitmap: Legacy.BITMAP };
const esnWords = {
  oseq: Esn.OSEQ,
  seq: Esn.SEQ,
  oseqHi: Esn.OSEQ_HI,
  seqHi: Esn.SEQ_HI,
  window: Esn.WINDOW,
  bitmap: Esn.BMP,
};

function bitmapLength({ sad }: Namespace, slot: number): number {
  return sad.hasBitmap(slot) ? (sad.replayWords(slot)[sad.replayAt(slot) + Esn.BMP_LEN] as number) : 1;
}

function writeState(ns: Namespace, slot: number): void {
  const { sad } = ns;
  const { pfkeyWriter: writer } = ns.host;
  const words = sad.replayWords(slot);
  const live = sad.replayAt(slot);
  const place = sad.hasBitmap(slot) ? esnWords : legacyWords;
  const word = (at: number): number => (at < 0 ? 0 : (words[live + at] as number));
  const count = bitmapLength(ns, slot);
  const at = writer.extension(PfkeyExt.replayState, align8(State.BITMAP + 4 * count));
  writer.bytes[at + State.MODE] = modes[sad.replayMode(slot)];
  const halves = (to: number, low: number, high: number): void => {
    writer.u32(to + LOW_AT, word(low));
    writer.u32(to + 4 - LOW_AT, word(high));
  };
  halves(at + State.OSEQ, place.oseq, place.oseqHi);
  halves(at + State.SEQ, place.seq, place.seqHi);
  writer.u32(at + State.WINDOW, place.window < 0 ? sad.replayWindow(slot) : word(place.window));
  writer.u32(at + State.BMP_LEN, count);
  writer.words(at + State.PACKETS_HIGH, sad.words, sad.row(slot) + Row.PACKETS + HIGH_WORD, 1);
  writer.words(at + State.BITMAP, words, live + place.bitmap, count);
}

export function replayGet(r: PfkeyRequest): number {
  const { ns } = r;
  if (!r.has(PfkeyExt.sa) || !r.has(PfkeyExt.addressDst)) return Errno.EINVAL;
  const slot = lookup(r);
  if (slot === NO_SLOT) return Errno.ESRCH;
  writeReplay(ns, slot, PfkeyMsg.X_REPLAY_GET, r.seq, r.pid);
  writeThreshold(ns, slot);
  ns.host.pfkeyWriter.end();
  reply(r);
  return 0;
}

/** Sets replay state, lifetime and thresholds of an established SA as NEWAE does, and tells the same of it. */
export function replaySet(r: PfkeyRequest): number {
  const { ns } = r;
  const thresholds = thresholdsOf(r);
  const state = r.at(PfkeyExt.replayState);
  const current = r.at(PfkeyExt.lifetimeCurrent);
  if (!r.has(PfkeyExt.sa) || !r.has(PfkeyExt.addressDst)) return Errno.EINVAL;
  if (thresholds === undefined && state < 0 && current < 0) return Errno.EINVAL;
  const slot = lookup(r);
  if (slot === NO_SLOT) return Errno.ESRCH;
  if (ns.sad.state(slot) !== SaState.VALID) return Errno.EINVAL;
  if (state >= 0 && !fits(r, state, slot)) return Errno.EINVAL;
  if (state >= 0) setState(r, state, slot);
  if (current >= 0) setCurrent(r, current, state < 0 ? 0 : r.u32(state + State.PACKETS_HIGH), slot);
  if (thresholds !== undefined) setThresholds(ns, slot, thresholds);
  announceReplaySet(ns, slot, { seq: r.seq, pid: r.pid, hasState: state >= 0 || current >= 0 });
  ns.host.pfkeyWriter.copy(r.bytes, r.bytes.length, 0);
  reply(r);
  return 0;
}

/** A state must be of the SA's own form: mode and length, a window that the bitmap can hold, numbers of the mode's size. */
function fits(r: PfkeyRequest, at: number, slot: number): boolean {
  const { sad } = r.ns;
  const count = r.u32(at + State.BMP_LEN);
  const mode = sad.replayMode(slot);
  if (r.u8(at + State.MODE) !== modes[mode] || count !== bitmapLength(r.ns, slot)) return false;
  if (State.BITMAP + 4 * count > WORD_BYTES * r.u16(at + Ext.LEN)) return false;
  const window = r.u32(at + State.WINDOW);
  if (mode === ReplayMode.LEGACY ? window !== sad.replayWindow(slot) : window > 32 * count) return false;
  return mode === ReplayMode.ESN || (upper(r, at + State.OSEQ) === 0 && upper(r, at + State.SEQ) === 0);
}

const WORD_BYTES = 8;
/** Where in a 64-bit number its lower half is. */
const LOW_AT = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 0 : 4;
/** Which of its two words is the upper half. */
const HIGH_WORD = LOW_AT === 0 ? 1 : 0;
const lower = (r: PfkeyRequest, at: number): number => r.u32(at + LOW_AT);
const upper = (r: PfkeyRequest, at: number): number => r.u32(at + 4 - LOW_AT);

function setState(r: PfkeyRequest, at: number, slot: number): void {
  const { sad } = r.ns;
  const words = sad.replayWords(slot);
  const live = sad.replayAt(slot);
  const place = sad.hasBitmap(slot) ? esnWords : legacyWords;
  const put = (to: number, value: number): void => {
    if (to >= 0) words[live + to] = value;
  };
  put(place.oseq, lower(r, at + State.OSEQ));
  put(place.oseqHi, upper(r, at + State.OSEQ));
  put(place.seq, lower(r, at + State.SEQ));
  put(place.seqHi, upper(r, at + State.SEQ));
  put(place.window, r.u32(at + State.WINDOW));
  for (let i = 0; i < bitmapLength(r.ns, slot); i++) put(place.bitmap + i, r.u32(at + State.BITMAP + 4 * i));
  // As with NEWAE: what somebody has set counts as told.
  takeSnapshot(r.ns, slot);
}

function setCurrent(r: PfkeyRequest, at: number, packetsHigh: number, slot: number): void {
  const { sad } = r.ns;
  const row = sad.row(slot);
  const put = (to: number, from: number, count: number): void => {
    for (let i = 0; i < count; i++) sad.words[row + to + i] = r.u32(at + from + 4 * i);
  };
  sad.words[row + Row.PACKETS + HIGH_WORD] = packetsHigh;
  put(Row.PACKETS + 1 - HIGH_WORD, Lifetime.ALLOCATIONS, 1);
  put(Row.BYTES, Lifetime.BYTES, 2);
  put(Row.ADD_TIME, Lifetime.ADDTIME, 2);
  put(Row.USE_TIME, Lifetime.USETIME, 2);
}
