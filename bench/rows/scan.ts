import { AeventCursor } from 'xfrmsync/xfrm';
import { type Corpus, mix, openCorpus } from '../corpus.ts';
import { interleave, SLICE_MS, type Slice } from '../measure.ts';
import { numberOf, PeerProcess } from '../peer-process.ts';
import { type Aim, compared, skipped } from '../report.ts';
import { compilePeer } from '../toolchain.ts';
import type { Row } from './row.ts';

const C: Aim = {
  name: 'scan/c',
  what: 'scan NEWAE for key and counters, no allocation',
  unit: 'messages/s',
  peer: 'hand-written C loop (cc -O2)',
  target: 0.4,
};

const HIGH = 0x1_0000_0000;

function checksum({ bytes }: Corpus, cursor: AeventCursor): number {
  let sum = 0;
  cursor.reset(bytes);
  while (cursor.next()) {
    for (const word of [cursor.daddr0, cursor.daddr1, cursor.daddr2, cursor.daddr3]) sum = mix(sum, word);
    for (const word of [cursor.spi, cursor.family, cursor.proto, cursor.flags]) sum = mix(sum, word);
    for (const word of [cursor.oseq, cursor.oseqHi, cursor.seq, cursor.seqHi]) sum = mix(sum, word);
    for (const n of [cursor.bytes, cursor.packets]) sum = mix(mix(sum, n >>> 0), Math.floor(n / HIGH));
  }
  return sum;
}

/** Sum of all fields, as the peer makes it, so that each is read. 32-bit sums, as in C: `| 0` keeps them out of floating point. */
function touch(sum: number, c: AeventCursor): number {
  let s = (sum + c.daddr0) | 0;
  s = (((s + c.daddr1) | 0) + c.daddr2) | 0;
  s = (((s + c.daddr3) | 0) + c.spi) | 0;
  s = (((s + c.family) | 0) + c.proto) | 0;
  s = (((s + c.flags) | 0) + c.reqid) | 0;
  s = (((s + c.markValue) | 0) + c.markMask) | 0;
  s = (((s + c.ifId) | 0) + c.replayWindow) | 0;
  s = (((s + c.bmpLen) | 0) + c.oseq) | 0;
  s = (((s + c.oseqHi) | 0) + c.seq) | 0;
  s = (((s + c.seqHi) | 0) + (c.bytes | 0)) | 0;
  s = (((s + (c.packets | 0)) | 0) + (c.addTime | 0)) | 0;
  return (s + (c.useTime | 0)) | 0;
}

let touched = 0;

function slice({ bytes }: Corpus, cursor: AeventCursor): Slice {
  const start = process.hrtime.bigint();
  const limit = start + BigInt(SLICE_MS) * 1_000_000n;
  let end = start;
  let messages = 0;
  while (end < limit) {
    cursor.reset(bytes);
    while (cursor.next()) {
      touched = touch(touched, cursor);
      messages++;
    }
    end = process.hrtime.bigint();
  }
  return { messages, ns: Number(end - start) };
}

export const scan: Row = {
  name: 'scan',
  aims: [C],
  needsNamespace: false,
  async run(log) {
    const corpus = openCorpus();
    const cursor = new AeventCursor();
    const ours = { name: 'xfrmsync', run: () => slice(corpus, cursor) };
    const used = `${corpus.offsets.length} messages, ${Math.round(corpus.bytes.length / 1024)} KiB in one buffer`;
    const peer = compilePeer('scan');
    if ('missing' in peer) {
      const [rates = []] = await interleave([ours], (text) => log(`${C.name}: ${text}`));
      return [skipped(C, peer.missing, rates, used)];
    }
    await using process = new PeerProcess(C.name, peer, [corpus.path]);
    const theirSum = numberOf(await process.ask('verify'), 'sum');
    if (theirSum !== checksum(corpus, cursor))
      throw new Error(`${C.name}: the peer reads other counters (${theirSum})`);
    const theirs = { name: C.peer, run: () => process.slice(`run ${SLICE_MS}`) };
    const [rates = [], peerRates = []] = await interleave([ours, theirs], (text) => log(`${C.name}: ${text}`));
    return [compared(C, rates, peerRates, `${used}; same checksum over key and counters`)];
  },
};
