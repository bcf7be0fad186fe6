import { AeFlag, XfrmGroup, XfrmMsg } from '../../xfrm/index.ts';
import type { Namespace } from './namespace.ts';
import { Esn, Legacy, Sent } from './replay.ts';
import { InfoByte, Row, RowBit, SaState } from './row.ts';
import { wheelExpiry } from './timers.ts';
import { writeCpuAndDir, writeMark, writeReplay } from './write-sa.ts';

/** Replay notifications: when the kernel sends NEWAE by itself, and how it looks (xfrm_replay.c:xfrm_replay_notify). */

const LTIME_VAL = 9;
const REPLAY_THRESH = 11;
const ETIMER_THRESH = 12;
const IF_ID = 31;
const U32 = 0x1_0000_0000;

/** The default of XFRMA_ETIMER_THRESH in jiffies, from the sysctl's units of 100 ms; the product wraps as in the kernel. */
export const etimeToJiffies = (etime: number, hz: number): number =>
  Math.floor(Number((BigInt(etime) * BigInt(hz)) % BigInt(U32)) / 10);

/** What XFRMA_ETIMER_THRESH reads: units of 100 ms, where it is set in jiffies (xfrm_user.c:build_aevent). */
export const jiffiesToEtime = (jiffies: number, hz: number): number =>
  Math.floor(Number((BigInt(jiffies) * 10n) % BigInt(U32)) / hz);

const hasListener = (ns: Namespace): boolean => ns.host.listeners[XfrmGroup.AEVENTS] !== 0;

/** After each accepted inbound or numbered outbound packet. */
export function onCounterChange(ns: Namespace, slot: number): void {
  if (!hasListener(ns)) return;
  const { sad } = ns;
  const { words } = sad;
  const row = sad.row(slot);
  const maxdiff = words[row + Row.MAXDIFF] as number;
  let kind: number = AeFlag.CR;
  if (maxdiff === 0 || movedBy(ns, slot) < maxdiff) {
    if (!sad.has(slot, RowBit.DEFERRED)) return;
    kind = AeFlag.CE;
  }
  emit(ns, slot, kind);
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

/** The aevent timer ran out (xfrm_replay_timer_handler). */
export function onAeventTimer(ns: Namespace, slot: number): void {
  const { sad } = ns;
  if (sad.state(slot) !== SaState.VALID) return;
  if (!hasListener(ns) || isAsSent(ns, slot)) sad.setBit(slot, RowBit.DEFERRED, true);
  else emit(ns, slot, AeFlag.CE);
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

function emit(ns: Namespace, slot: number, kind: number): void {
  const { sad } = ns;
  takeSnapshot(ns, slot);
  ns.host.writer.reset();
  writeAevent(ns, slot, kind, 0, 0);
  ns.multicast(XfrmGroup.AEVENTS);
  // As in the kernel: with maxage 0 nothing is armed, and DEFERRED can never be cleared.
  if ((sad.words[sad.row(slot) + Row.MAXAGE] as number) !== 0 && !armTimer(ns, slot)) {
    sad.setBit(slot, RowBit.DEFERRED, false);
  }
}

/** Starts the timer, or pushes it away; says whether it was pending. */
export function armTimer(ns: Namespace, slot: number): boolean {
  const { sad, host } = ns;
  const maxage = sad.words[sad.row(slot) + Row.MAXAGE] as number;
  return ns.aeventTimers.arm(slot, host.jiffyMs(wheelExpiry(host.jiffies(), maxage)));
}

/** Appends a NEWAE message to the host's writer (xfrm_user.c:build_aevent). */
export function writeAevent(ns: Namespace, slot: number, flags: number, seq: number, pid: number): void {
  const { sad, host } = ns;
  const { writer, profile } = host;
  const { words, bytes } = sad;
  const row = sad.row(slot);
  const at = writer.begin(XfrmMsg.NEWAE, 0, seq, pid, profile.firstAeventLayout ? 28 : 48);
  writer.words(at, words, row + Row.DADDR, 5);
  writer.bytes[at + 20] = bytes[4 * row + InfoByte.FAMILY] as number;
  writer.bytes[at + 21] = bytes[4 * row + InfoByte.FAMILY + 1] as number;
  writer.bytes[at + 22] = sad.proto(slot);
  if (profile.firstAeventLayout) {
    writer.words(at + 24, flagsWord(flags), 0, 1);
  } else {
    writer.words(at + 24, words, row + Row.SADDR, 4);
    writer.words(at + 40, flagsWord(flags), 0, 1);
    writer.words(at + 44, words, row + Row.REQID, 1);
  }
  writeReplay(ns, slot);
  writer.pad64();
  writer.words(writer.attribute(LTIME_VAL, 32), words, row + Row.CURLFT, 8);
  if (flags & AeFlag.RTHR) writer.u32(REPLAY_THRESH, words[row + Row.MAXDIFF] as number);
  if (flags & AeFlag.ETHR) writer.u32(ETIMER_THRESH, jiffiesToEtime(words[row + Row.MAXAGE] as number, profile.hz));
  writeMark(writer, words[row + Row.MARK] as number, words[row + Row.MARK_MASK] as number);
  const ifId = words[row + Row.IF_ID] as number;
  if (ifId !== 0) writer.u32(IF_ID, ifId);
  writeCpuAndDir(ns, slot);
  writer.end();
}

const oneWord = new Uint32Array(1);
function flagsWord(flags: number): Uint32Array {
  oneWord[0] = flags;
  return oneWord;
}
