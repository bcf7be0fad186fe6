/**
 * Replay counters and windows (RFC 4303 section 3.4.3, xfrm_replay.c) as functions of plain words, no I/O. Two forms of state, both as they
 * stand on the wire:
 *
 * - legacy, xfrm_replay_state: three words at `at` of an array
 * - bitmap and ESN, xfrm_replay_state_esn: six words and the bitmap, likewise at `at`
 *
 * Sequence numbers are unsigned 32-bit numbers.
 */

/** Words of xfrm_replay_state. */
export const Legacy = { OSEQ: 0, SEQ: 1, BITMAP: 2, WORDS: 3 } as const;

/** Words of xfrm_replay_state_esn; the bitmap follows. */
export const Esn = { BMP_LEN: 0, OSEQ: 1, SEQ: 2, OSEQ_HI: 3, SEQ_HI: 4, WINDOW: 5, BMP: 6 } as const;

/** What of either state was last notified; the bitmap follows, of legacy mode its one word comes at once. */
export const Sent = { OSEQ: 0, SEQ: 1, LEGACY_BITMAP: 2, OSEQ_HI: 2, SEQ_HI: 3, BMP: 4 } as const;

/** What a check says of a sequence number. */
export const Check = {
  ACCEPT: 0,
  /** Refused without any counter: number 0. */
  REJECT: 1,
  /** Behind the window (stats.replay_window). */
  LATE: 2,
  /** Seen before (stats.replay). */
  REPLAY: 3,
} as const;
export type Check = (typeof Check)[keyof typeof Check];

/** How an SA's state is kept and read (XFRM_REPLAY_MODE_*). */
export const ReplayMode = { LEGACY: 0, BMP: 1, ESN: 2 } as const;
export type ReplayMode = (typeof ReplayMode)[keyof typeof ReplayMode];

type Words = Uint32Array;
const word = (words: Words, at: number): number => words[at] as number;

/** Whether a number may come in (xfrm_replay_check). `window` is that of legacy mode; the others have theirs in the state. */
export function replayCheck(mode: ReplayMode, words: Words, at: number, window: number, seq: number): Check {
  if (mode === ReplayMode.LEGACY) return legacyCheck(words, at, window, seq);
  return mode === ReplayMode.ESN ? esnCheck(words, at, seq) : bitmapCheck(words, at, seq);
}

/** Notes an accepted number (xfrm_replay_advance). False: there is no window, nothing is kept. */
export function replayAdvance(mode: ReplayMode, words: Words, at: number, window: number, seq: number): boolean {
  if (mode === ReplayMode.LEGACY) return legacyAdvance(words, at, window, seq);
  return mode === ReplayMode.ESN ? esnAdvance(words, at, seq) : bitmapAdvance(words, at, seq);
}

export function legacyCheck(words: Words, at: number, window: number, seq: number): Check {
  if (window === 0) return Check.ACCEPT;
  if (seq === 0) return Check.REJECT;
  const top = word(words, at + Legacy.SEQ);
  if (seq > top) return Check.ACCEPT;
  const diff = top - seq;
  if (diff >= window) return Check.LATE;
  return (word(words, at + Legacy.BITMAP) >>> diff) & 1 ? Check.REPLAY : Check.ACCEPT;
}

export function legacyAdvance(words: Words, at: number, window: number, seq: number): boolean {
  if (window === 0) return false;
  const top = word(words, at + Legacy.SEQ);
  if (seq > top) {
    const diff = seq - top;
    words[at + Legacy.BITMAP] = diff < window ? (word(words, at + Legacy.BITMAP) << diff) | 1 : 1;
    words[at + Legacy.SEQ] = seq;
  } else {
    words[at + Legacy.BITMAP] = word(words, at + Legacy.BITMAP) | (1 << (top - seq));
  }
  return true;
}

/** The place of `top` in the ring of `window` bits. */
const ringPosition = (top: number, window: number): number => ((top - 1) >>> 0) % window;

function ringBit(top: number, window: number, behind: number): number {
  const position = ringPosition(top, window);
  return position >= behind ? position - behind : window - (behind - position);
}

const isSet = (esn: Words, at: number, bit: number): boolean =>
  ((word(esn, at + Esn.BMP + (bit >>> 5)) >>> (bit & 31)) & 1) === 1;

function setBit(esn: Words, at: number, bit: number): void {
  const place = at + Esn.BMP + (bit >>> 5);
  esn[place] = word(esn, place) | (1 << (bit & 31));
}

/** Moves the ring on by `diff`: what lies between was not seen. */
function ringForward(esn: Words, at: number, diff: number): void {
  const window = word(esn, at + Esn.WINDOW);
  const position = ringPosition(word(esn, at + Esn.SEQ), window);
  if (diff < window) {
    for (let i = 1; i < diff; i++) {
      const bit = position + i < window ? position + i : position + i - window;
      const place = at + Esn.BMP + (bit >>> 5);
      esn[place] = word(esn, place) & ~(1 << (bit & 31));
    }
  } else {
    const last = (window - 1) >>> 5;
    for (let i = 0; i <= last; i++) esn[at + Esn.BMP + i] = 0;
  }
  // A jump over all of the ring may wrap the sum, as in the kernel.
  setBit(esn, at, diff < window - position ? position + diff : ((position + diff) >>> 0) % window);
}

/** Bitmap mode: an array of xfrm_replay_state_esn without extended sequence numbers. */
export function bitmapCheck(esn: Words, at: number, seq: number): Check {
  const window = word(esn, at + Esn.WINDOW);
  if (window === 0) return Check.ACCEPT;
  if (seq === 0) return Check.REJECT;
  const top = word(esn, at + Esn.SEQ);
  if (seq > top) return Check.ACCEPT;
  return ringCheck(esn, at, window, top, top - seq);
}

function ringCheck(esn: Words, at: number, window: number, top: number, diff: number): Check {
  if (diff >= window) return Check.LATE;
  return isSet(esn, at, ringBit(top, window, diff)) ? Check.REPLAY : Check.ACCEPT;
}

export function bitmapAdvance(esn: Words, at: number, seq: number): boolean {
  const window = word(esn, at + Esn.WINDOW);
  if (window === 0) return false;
  const top = word(esn, at + Esn.SEQ);
  if (seq > top) {
    ringForward(esn, at, seq - top);
    esn[at + Esn.SEQ] = seq;
  } else {
    setBit(esn, at, ringBit(top, window, top - seq));
  }
  return true;
}

/** The upper half that goes with `seq` (RFC 4303 appendix A2.1). */
export function esnInferHi(esn: Words, at: number, seq: number): number {
  const window = word(esn, at + Esn.WINDOW);
  const top = word(esn, at + Esn.SEQ);
  const hi = word(esn, at + Esn.SEQ_HI);
  const bottom = (top - window + 1) >>> 0;
  if (top >= window - 1) return seq < bottom ? (hi + 1) >>> 0 : hi;
  return seq >= bottom ? (hi - 1) >>> 0 : hi;
}

export function esnCheck(esn: Words, at: number, seq: number): Check {
  const window = word(esn, at + Esn.WINDOW);
  if (window === 0) return Check.ACCEPT;
  const top = word(esn, at + Esn.SEQ);
  if (seq === 0 && word(esn, at + Esn.SEQ_HI) === 0 && top < window - 1) return Check.REJECT;
  const bottom = (top - window + 1) >>> 0;
  if (top >= window - 1) {
    if (seq > top || seq < bottom) return Check.ACCEPT;
  } else if (seq > top && seq < bottom) {
    return Check.ACCEPT;
  }
  return ringCheck(esn, at, window, top, (top - seq) >>> 0);
}

export function esnAdvance(esn: Words, at: number, seq: number): boolean {
  const window = word(esn, at + Esn.WINDOW);
  if (window === 0) return false;
  const top = word(esn, at + Esn.SEQ);
  const wrap = (esnInferHi(esn, at, seq) - word(esn, at + Esn.SEQ_HI)) | 0;
  if ((wrap === 0 && seq > top) || wrap > 0) {
    ringForward(esn, at, (seq - top) >>> 0);
    esn[at + Esn.SEQ] = seq;
    if (wrap > 0) esn[at + Esn.SEQ_HI] = word(esn, at + Esn.SEQ_HI) + 1;
  } else {
    setBit(esn, at, ringBit(top, window, (top - seq) >>> 0));
  }
  return true;
}

/** Takes the next outbound number of a counter at `at`; false: there is none left, the counter stays (EOVERFLOW). */
export function nextOseq(words: Words, at: number, mayWrap: boolean): boolean {
  const next = (word(words, at) + 1) >>> 0;
  if (next === 0 && !mayWrap) return false;
  words[at] = next;
  return true;
}

export function nextEsnOseq(esn: Words, at: number): boolean {
  const next = (word(esn, at + Esn.OSEQ) + 1) >>> 0;
  if (next === 0) {
    const hi = (word(esn, at + Esn.OSEQ_HI) + 1) >>> 0;
    if (hi === 0) return false;
    esn[at + Esn.OSEQ_HI] = hi;
  }
  esn[at + Esn.OSEQ] = next;
  return true;
}
