import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { readRecords } from '../../src/conformance/index.ts';
import { AeventCursor, decodeMessage, encodeMessage, type XfrmMessage } from '../../src/xfrm/index.ts';
import { recordedMessages } from '../fuzz/corpus.ts';
import { checkCursorAgrees, checkDecode } from '../fuzz/decode.ts';
import { mutated } from '../fuzz/mutate.ts';
import { randomOf } from '../fuzz/random.ts';

const vectors = join(import.meta.dirname, '../vectors');
const NEWAE = 0x1e;

async function streamEvents(): Promise<Uint8Array[]> {
  const events: Uint8Array[] = [];
  for await (const { bytes } of readRecords(join(vectors, 'stream-64sa.bin.gz'))) {
    if (bytes[4] === NEWAE) events.push(Uint8Array.from(bytes));
  }
  return events;
}

function joined(messages: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(messages));
}

describe('AeventCursor', () => {
  it('reads what decodeMessage reads, on every event of the vectors', async () => {
    const events = [...recordedMessages(vectors).filter((bytes) => bytes[4] === NEWAE), ...(await streamEvents())];
    expect(events.length).toBeGreaterThan(5000);
    for (const bytes of events) checkDecode(bytes);
    for (const bytes of await streamEvents()) checkCursorAgrees(bytes, decodeMessage(bytes));
  });

  it('and on events that were spoiled at random', () => {
    const events = recordedMessages(vectors).filter((bytes) => bytes[4] === NEWAE);
    for (let i = 0; i < 10_000; i++) checkDecode(mutated(events, randomOf(7, i)));
  });

  it('passes over other messages and counts them', () => {
    const event: XfrmMessage<'NEWAE'> = {
      kind: 'NEWAE',
      flags: 0,
      seq: 0,
      pid: 0,
      body: {
        saId: { daddr: { w0: 1, w1: 0, w2: 0, w3: 0 }, spi: 0xfedcba98, family: 2, proto: 50 },
        saddr: { w0: 0, w1: 0, w2: 0, w3: 0 },
        flags: 16,
        reqid: 0,
      },
      attributes: {
        replayVal: { oseq: 0xffffffff, seq: 1, bitmap: 0x80000000 },
        ltimeVal: { bytes: 2n ** 40n + 1n, packets: 3n, addTime: 0n, useTime: 0n },
      },
    };
    const other = encodeMessage({ kind: 'FLUSHSA', flags: 0, seq: 0, pid: 0, body: { proto: 0 }, attributes: {} });
    const bare = encodeMessage({ ...event, attributes: {} });
    const bytes = joined([other, encodeMessage(event), bare, encodeMessage(event)]);
    const cursor = new AeventCursor().reset(bytes);
    expect(cursor.next()).toBe(true);
    expect(cursor).toMatchObject({ offset: other.length, skipped: 1 });
    expect([cursor.spi, cursor.oseq, cursor.bytes, cursor.packets]).toEqual([0xfedcba98, 0xffffffff, 2 ** 40 + 1, 3]);
    expect(cursor.next()).toBe(true);
    expect(cursor.next()).toBe(false);
    expect(cursor.skipped).toBe(2);
    expect(cursor.next()).toBe(false);
    // Bounds are those of the call, not of the buffer.
    cursor.reset(bytes, other.length, other.length + encodeMessage(event).length);
    expect([cursor.next(), cursor.next(), cursor.skipped]).toEqual([true, false, 0]);
  });

  it('allocates nothing for a message', async () => {
    const bytes = joined(await streamEvents());
    const cursor = new AeventCursor();
    let sum = 0;
    const scan = (): number => {
      let n = 0;
      for (cursor.reset(bytes); cursor.next(); n++) {
        sum = (sum + cursor.spi + cursor.oseq + cursor.seq + cursor.oseqHi + cursor.bytes + cursor.packets) | 0;
      }
      return n;
    };
    const decodeAll = (): number => {
      let n = 0;
      for (cursor.reset(bytes); cursor.next(); n++) sum = (sum + decodeMessage(bytes, cursor.offset).seq) | 0;
      return n;
    };
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    /** The highest growth of the heap that is seen on the way, so that a collection in between does not hide it. */
    const growth = (walk: () => number): number => {
      for (let n = 0; n < 1_000_000; ) n += walk();
      collect();
      const before = process.memoryUsage().heapUsed;
      let highest = 0;
      for (let n = 0; n < 1_000_000; ) {
        for (const stop = n + 50_000; n < stop; ) n += walk();
        highest = Math.max(highest, process.memoryUsage().heapUsed - before);
      }
      return highest;
    };
    const bound = 1_000_000;
    // On a busy machine the compiler may still be at work during the first rounds; interpreted code boxes its numbers.
    let least = growth(scan);
    for (let round = 0; round < 9 && least >= bound; round++) least = Math.min(least, growth(scan));
    expect(least).toBeLessThan(bound);
    expect(growth(decodeAll)).toBeGreaterThan(bound);
    expect(sum).not.toBe(0);
  });
});
