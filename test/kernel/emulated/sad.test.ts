import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pack, packedMax, unpack } from '../../../src/kernel/emulated/encoded.ts';
import { newInboundFacts, Verdict } from '../../../src/kernel/emulated/index.ts';
import { Row } from '../../../src/kernel/emulated/row.ts';
import { Sad } from '../../../src/kernel/emulated/sad.ts';
import { Sel } from '../../../src/kernel/emulated/selector.ts';
import type { XfrmMessage } from '../../../src/xfrm/index.ts';
import { ask, newSa, packetIn, world } from './world.ts';

/** What an SA keeps outside its row, and the forms of a replay state that are one to the outside. */

const words = fc.array(fc.oneof(fc.constant(0), fc.nat()), { maxLength: 300 });

describe('packed words', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(words, (given) => {
        const packed = new Uint32Array(packedMax(given.length));
        const length = pack(Uint32Array.from(given), given.length, packed);
        expect(length).toBeLessThanOrEqual(packed.length);
        const back = new Uint32Array(given.length);
        unpack(packed, 0, back, given.length);
        expect([...back]).toEqual(given);
      }),
    );
  });

  it('of more zeros or words than one run can hold', () => {
    for (const fill of [0, 1]) {
      const given = new Uint32Array(200_000).fill(fill);
      const packed = new Uint32Array(packedMax(given.length));
      const length = pack(given, given.length, packed);
      const back = new Uint32Array(given.length);
      unpack(packed.subarray(0, length), 0, back, given.length);
      expect(Buffer.compare(Buffer.from(back.buffer), Buffer.from(given.buffer))).toBe(0);
    }
  });
});

const bytes = (count: number, fill: number): Uint8Array => new Uint8Array(count).fill(fill);
const attributes = (seed: number) => ({ head: bytes(8, seed), body: bytes(4 * seed, seed), tail: bytes(4, seed + 1) });
const plain = (a: { head: Uint8Array; body: Uint8Array; tail: Uint8Array }) => [[...a.head], [...a.body], [...a.tail]];

describe('what stands outside a row', () => {
  it('keeps the attributes and selector of each SA apart, through changes and deletions', () => {
    const sad = new Sad();
    const own = bytes(Sel.SIZE, 9);
    const slots = Array.from({ length: 50 }, (_, i) => {
      const slot = sad.allocate();
      sad.setAttributes(slot, attributes(i));
      sad.setSelector(slot, i % 2 === 0 ? new Uint8Array(Sel.SIZE) : own);
      sad.insert(slot);
      return slot;
    });
    for (const slot of slots.slice(0, 20)) sad.remove(slot);
    const clone = sad.clone(slots[21] as number);
    sad.setAttributes(slots[22] as number, attributes(90));
    sad.setSelector(slots[22] as number, own);
    sad.setSelector(slots[21] as number, new Uint8Array(Sel.SIZE));
    expect(plain(sad.attributes(clone))).toEqual(plain(attributes(21)));
    expect([...sad.selector(clone)]).toEqual([...own]);
    expect(plain(sad.attributes(slots[22] as number))).toEqual(plain(attributes(90)));
    for (const [i, slot] of slots.entries()) {
      if (i < 23) continue;
      expect(plain(sad.attributes(slot))).toEqual(plain(attributes(i)));
      expect([...sad.selector(slot)]).toEqual([...(i % 2 === 0 ? new Uint8Array(Sel.SIZE) : own)]);
    }
  });

  it('leaves no key behind in the memory that it gives back', () => {
    const sad = new Sad();
    const slot = sad.allocate();
    sad.setSelector(slot, new Uint8Array(Sel.SIZE));
    sad.setAttributes(slot, { head: bytes(0, 0), body: bytes(96, 0x5a), tail: bytes(0, 0) });
    sad.insert(slot);
    expect(sad.arena.bytes.includes(0x5a)).toBe(true);
    sad.remove(slot);
    expect(sad.arena.bytes.includes(0x5a)).toBe(false);
  });
});

/** Verdicts of some thousand packets, and the replay state that GETSA shows then, its bitmap by age. */
function history(bmpLen: number, window: number, seqs: readonly number[]): unknown {
  const here = world();
  const esn = {
    bmpLen,
    oseq: 0,
    seq: 0,
    oseqHi: 0,
    seqHi: 0,
    replayWindow: window,
    bmp: new Array<number>(bmpLen).fill(0),
  };
  const sa = newSa({ replayEsnVal: esn });
  ask(here, { ...sa, body: { ...sa.body, replayWindow: 0, flags: 128 } });
  const verdicts = seqs.map((seq) => packetIn(here, seq));
  const { sad } = here.kernel.engine;
  const slot = sad.newest();
  const shown = [...sad.replayWords(slot).subarray(sad.replayAt(slot), sad.replayAt(slot) + sad.replayLength(slot))];
  return { verdicts, counters: shown.slice(1, 6), bitmap: shown.slice(6, 10) };
}

describe('replay states in a row and outside of it', () => {
  it('act the same: a bitmap of 5 words does not fit into a row, the window is one', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 200 }), (seqs) => {
        expect(history(4, 128, seqs)).toEqual(history(5, 128, seqs));
      }),
      { numRuns: 50 },
    );
  });

  it('stand where their length says', () => {
    for (const [bmpLen, inRow] of [
      [4, true],
      [5, false],
    ] as const) {
      const sad = new Sad();
      const slot = sad.allocate();
      sad.makeEsn(slot, bmpLen);
      expect(sad.replayLength(slot)).toBe(6 + bmpLen);
      expect(sad.replayWords(slot) === sad.words).toBe(inRow);
    }
  });
});

describe('an SA behind NAT', () => {
  const ENCAP = 2;
  const encap = { type: ENCAP, sport: 4500, dport: 4500 } as const;
  const oa = { w0: 0, w1: 0, w2: 0, w3: 0 };

  it('takes packets of its encapsulation only', () => {
    const here = world();
    const sa: XfrmMessage<'NEWSA'> = newSa({ encap: { ...encap, oa } });
    ask(here, sa);
    expect(packetIn(here, 1)).toBe(Verdict.DROP);
    expect(here.kernel.stat('XfrmInStateMismatch')).toBe(1);
    const facts = newInboundFacts();
    Object.assign(facts.daddr, sa.body.id.daddr);
    Object.assign(facts.saddr, sa.body.saddr);
    facts.spi = sa.body.id.spi;
    facts.seq = 1;
    facts.encapType = ENCAP;
    facts.sport = encap.sport;
    expect(here.kernel.input(facts)).toBe(Verdict.ACCEPT);
    const { sad } = here.kernel.engine;
    expect(sad.words[sad.row(sad.newest()) + Row.ENCAP]).toBe((ENCAP << 16) | encap.sport);
  });
});
