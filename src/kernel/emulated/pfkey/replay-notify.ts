import { PfkeyExt, PfkeyMsg, PfkeyReplayMode, ReplayReason } from '../../../pfkey/index.ts';
import type { Namespace } from '../namespace.ts';
import { Esn, Legacy, ReplayMode } from '../replay.ts';
import { armTimer, type ReplayCallback, ReplayCause } from '../replay-notify.ts';
import { InfoByte, Row, RowBit } from '../row.ts';
import { align8, satypeOf } from './layout.ts';
import type { PfkeyRequest } from './request.ts';
import { writeCurrent, writeSaExtension } from './write-sa.ts';

/**
 * The front end of replay notifications towards PF_KEY: X_REPLAY_NOTIFY, X_REPLAY_SET and X_REPLAY_GET (pfkey/replay-notification.ts). No
 * Linux has it, and none of it shows unless somebody asks: SAs are told of here only once PF_KEY has given them a threshold that is not 0.
 */

const Threshold = { PACKETS: 4, MILLISECONDS: 8, SIZE: 16 } as const;
export const State = { MODE: 4, OSEQ: 8, SEQ: 16, WINDOW: 24, BMP_LEN: 28, PACKETS_HIGH: 32, BITMAP: 40 } as const;
const Reason = { REASON: 4, SIZE: 8 } as const;
/** Where in a 64-bit number its lower half is. */
export const LOW_AT = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 0 : 4;
/** Which of its two words is the upper half. */
export const HIGH_WORD = LOW_AT === 0 ? 1 : 0;
const U32_MAX = 0xffff_ffff;

/** A namespace's front end: registered while any PF_KEY socket there is. */
export function replayFrontEnd(own: Namespace): ReplayCallback {
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

export function writeThreshold({ sad, host }: Namespace, slot: number): void {
  const { pfkeyWriter: writer, profile } = host;
  const row = sad.row(slot);
  const at = writer.extension(PfkeyExt.replayThreshold, Threshold.SIZE);
  const milliseconds = Math.floor(((sad.words[row + Row.MAXAGE] as number) * 1000) / profile.hz);
  writer.words(at + Threshold.PACKETS, sad.words, row + Row.MAXDIFF, 1);
  writer.u32(at + Threshold.MILLISECONDS, Math.min(milliseconds, U32_MAX));
}

/** What X_REPLAY_NOTIFY and the answer to X_REPLAY_GET begin with. */
export function writeReplay(ns: Namespace, slot: number, type: number, seq: number, pid: number): void {
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

export const modes = {
  [ReplayMode.LEGACY]: PfkeyReplayMode.LEGACY,
  [ReplayMode.BMP]: PfkeyReplayMode.BITMAP,
  [ReplayMode.ESN]: PfkeyReplayMode.ESN,
} as const;

/** Where in the replay state of an SA its parts are; -1: it does not have them. */
export const legacyWords = {
  oseq: Legacy.OSEQ,
  seq: Legacy.SEQ,
  oseqHi: -1,
  seqHi: -1,
  window: -1,
  bitmap: Legacy.BITMAP,
};
export const esnWords = {
  oseq: Esn.OSEQ,
  seq: Esn.SEQ,
  oseqHi: Esn.OSEQ_HI,
  seqHi: Esn.SEQ_HI,
  window: Esn.WINDOW,
  bitmap: Esn.BMP,
};

export function bitmapLength({ sad }: Namespace, slot: number): number {
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
