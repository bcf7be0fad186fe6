import { describe, expect, it } from 'vitest';
import {
  bitmapAdvance,
  bitmapCheck,
  Check,
  Esn,
  esnAdvance,
  esnCheck,
  esnInferHi,
  Legacy,
  legacyAdvance,
  legacyCheck,
  nextEsnOseq,
  nextOseq,
} from '../../../src/kernel/emulated/replay.ts';

/** Inbound numbers and the state after each, as observed on Linux by injected packets; R: refused, the state stays. */
const R = 'R';
type After = typeof R | readonly number[];
type Row = readonly [seq: number, after: After];
const ALL = 0xffff_ffff;

describe('legacy window: seq, bitmap', () => {
  const tables: readonly (readonly [window: number, rows: readonly Row[]])[] = [
    [
      32,
      [
        [1, [1, 1]],
        [1, R],
        [0, R],
        [5, [5, 0x11]],
        [3, [5, 0x15]],
        [100, [100, 1]],
        [69, [100, 0x8000_0001]],
        [68, R],
        [70, [100, 0xc000_0001]],
        [99, [100, 0xc000_0003]],
        [0x8000_0000, [0x8000_0000, 1]],
        [0x7fff_ffff, [0x8000_0000, 3]],
        [ALL, [ALL, 1]],
        [1, R],
      ],
    ],
    [
      4,
      [
        [10, [10, 1]],
        [7, [10, 9]],
        [6, R],
        [8, [10, 0xd]],
        [11, [11, 0x1b]],
        [20, [20, 1]],
      ],
    ],
  ];
  it.each(tables)('%i wide', (window, rows) => {
    const words = new Uint32Array(Legacy.WORDS + 2);
    const at = 2;
    for (const [seq, after] of rows) {
      const result = legacyCheck(words, at, window, seq);
      expect([seq, result === Check.ACCEPT]).toEqual([seq, after !== R]);
      if (after === R) continue;
      legacyAdvance(words, at, window, seq);
      expect([seq, words[at + Legacy.SEQ], words[at + Legacy.BITMAP]]).toEqual([seq, ...after]);
    }
  });

  it('tells why: late, replayed, number 0', () => {
    const words = Uint32Array.of(0, 100, 1);
    expect(legacyCheck(words, 0, 32, 68)).toBe(Check.LATE);
    expect(legacyCheck(words, 0, 32, 100)).toBe(Check.REPLAY);
    expect(legacyCheck(words, 0, 32, 0)).toBe(Check.REJECT);
  });

  it('without a window nothing is refused and nothing kept', () => {
    const words = new Uint32Array(Legacy.WORDS);
    expect(legacyCheck(words, 0, 0, 0)).toBe(Check.ACCEPT);
    expect(legacyAdvance(words, 0, 0, 7)).toBe(false);
    expect([...words]).toEqual([0, 0, 0]);
  });
});

/** xfrm_replay_state_esn of a window, its bitmap as given or zero. */
function state(window: number, from: { seq?: number; seqHi?: number; bmp?: readonly number[] } = {}): Uint32Array {
  const words = Math.ceil(window / 32);
  const esn = new Uint32Array(Esn.BMP + words);
  esn[Esn.BMP_LEN] = words;
  esn[Esn.WINDOW] = window;
  esn[Esn.SEQ] = from.seq ?? 0;
  esn[Esn.SEQ_HI] = from.seqHi ?? 0;
  esn.set(from.bmp ?? [], Esn.BMP);
  return esn;
}

const bitmapOf = (esn: Uint32Array): number[] => [...esn.subarray(Esn.BMP)];

describe('bitmap: the words', () => {
  const tables: readonly (readonly [title: string, start: Uint32Array, rows: readonly Row[]])[] = [
    [
      '32 wide',
      state(32),
      [
        [1, [1]],
        [5, [0x11]],
        [3, [0x15]],
        [100, [8]],
        [69, [0x18]],
        [68, R],
        [70, [0x38]],
        [ALL, [0x4000_0000]],
      ],
    ],
    [
      '40 wide',
      state(40),
      [
        [1, [0x1_0000, 0]],
        [40, [0, 0x80]],
        [41, [1, 0x80]],
        [2, [3, 0x80]],
        [1, R],
        [45, [0x11, 0x80]],
        [80, [0x11, 0x80]],
        [41, R],
        [81, [0x11, 0x80]],
        [42, [0x13, 0x80]],
      ],
    ],
    [
      '64 wide, all of it seen up to 100',
      state(64, { seq: 100, bmp: [ALL, ALL] }),
      [
        [100, R],
        [99, R],
        [37, R],
        [36, R],
        [101, [ALL, ALL]],
        [165, [0, 0x10]],
      ],
    ],
  ];
  it.each(tables)('%s', (_, esn, rows) => {
    for (const [seq, after] of rows) {
      expect([seq, bitmapCheck(esn, 0, seq) === Check.ACCEPT]).toEqual([seq, after !== R]);
      if (after === R) continue;
      bitmapAdvance(esn, 0, seq);
      expect([seq, ...bitmapOf(esn)]).toEqual([seq, ...after]);
    }
  });
});

describe('ESN: seq, bitmap, upper half', () => {
  const tables: readonly (readonly [title: string, start: Uint32Array, rows: readonly Row[]])[] = [
    [
      'from the start',
      state(32),
      [
        [0, R],
        [1, [1, 1, 0]],
        [5, [5, 0x11, 0]],
        [3, [5, 0x15, 0]],
        [31, [31, 0x4000_0015, 0]],
        [32, [32, 0xc000_0015, 0]],
        [64, [64, 0x8000_0000, 0]],
        [33, [64, 0x8000_0001, 0]],
        [32, [32, 0x8000_0000, 1]],
        [40, [40, 0x8000_0080, 1]],
        [0, [0, 0x8000_0000, 2]],
      ],
    ],
    [
      'from 2^32',
      state(32, { seqHi: 1 }),
      [
        [0, [0, 0x8000_0000, 1]],
        [0, R],
        [1, [1, 0x8000_0001, 1]],
        [0xffff_fff0, [1, 0x8000_8001, 1]],
      ],
    ],
    [
      'over 2^32',
      state(32, { seq: 0xffff_fff0 }),
      [
        [0xffff_fff5, [0xffff_fff5, 0x10_0000, 0]],
        [2, [2, 0x10_0002, 1]],
        [0xffff_fff6, [2, 0x30_0002, 1]],
        [ALL, [2, 0x4030_0002, 1]],
        [0, [2, 0xc030_0002, 1]],
        [30, [30, 0xe000_0002, 1]],
        [31, [31, 0xe000_0002, 1]],
        [ALL, [ALL, 0x4000_0000, 1]],
        [0x100, [0x100, 0x8000_0000, 2]],
        [3, [3, 4, 3]],
      ],
    ],
  ];
  it.each(tables)('%s', (_, esn, rows) => {
    for (const [seq, after] of rows) {
      expect([seq, esnCheck(esn, 0, seq) === Check.ACCEPT]).toEqual([seq, after !== R]);
      if (after === R) continue;
      esnAdvance(esn, 0, seq);
      expect([seq, esn[Esn.SEQ], ...bitmapOf(esn), esn[Esn.SEQ_HI]]).toEqual([seq, ...after]);
    }
  });

  it('a number below the window belongs to the next epoch, one above a window over the edge to the last', () => {
    expect(esnInferHi(state(32, { seq: 64, seqHi: 7 }), 0, 32)).toBe(8);
    expect(esnInferHi(state(32, { seq: 64, seqHi: 7 }), 0, 33)).toBe(7);
    expect(esnInferHi(state(32, { seq: 3, seqHi: 7 }), 0, 0xffff_fff0)).toBe(6);
  });
});

describe('outbound numbers', () => {
  it('end at 2^32 - 1 unless the SA may wrap', () => {
    const words = Uint32Array.of(0xffff_fffe);
    expect([nextOseq(words, 0, false), words[0]]).toEqual([true, ALL]);
    expect([nextOseq(words, 0, false), words[0]]).toEqual([false, ALL]);
    expect([nextOseq(words, 0, true), words[0]]).toEqual([true, 0]);
  });

  it('with ESN end at 2^64 - 1', () => {
    const esn = state(32);
    esn[Esn.OSEQ] = ALL;
    expect([nextEsnOseq(esn, 0), esn[Esn.OSEQ], esn[Esn.OSEQ_HI]]).toEqual([true, 0, 1]);
    esn[Esn.OSEQ] = ALL;
    esn[Esn.OSEQ_HI] = ALL;
    expect([nextEsnOseq(esn, 0), esn[Esn.OSEQ], esn[Esn.OSEQ_HI]]).toEqual([false, ALL, ALL]);
  });
});
