import { PfkeyExt, PfkeyMsg } from '../../../pfkey/index.ts';
import { Errno } from '../errno.ts';
import { announceReplaySet } from '../key-managers.ts';
import { ReplayMode } from '../replay.ts';
import { takeSnapshot } from '../replay-notify.ts';
import { Row, SaState } from '../row.ts';
import { NO_SLOT } from '../sad.ts';
import { Ext, Lifetime } from './layout.ts';
import {
  bitmapLength,
  esnWords,
  HIGH_WORD,
  LOW_AT,
  legacyWords,
  modes,
  State,
  setThresholds,
  thresholdsOf,
  writeReplay,
  writeThreshold,
} from './replay-notify.ts';
import type { PfkeyRequest } from './request.ts';
import { lookup, reply } from './sa-requests.ts';

/** X_REPLAY_GET and X_REPLAY_SET (pfkey/replay-notification.ts). */

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
