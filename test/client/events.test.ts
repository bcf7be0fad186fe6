/** The event stream over a scripted kernel. */
import { describe, expect, it } from 'vitest';
import { type EventStream, type KernelEvent, openEvents } from '../../src/client/index.ts';
import { XfrmGroup } from '../../src/xfrm/index.ts';
import { aevent, ScriptedKernel } from './scripted-kernel.ts';

async function open(queueMax?: number): Promise<{ kernel: ScriptedKernel; stream: EventStream }> {
  const kernel = new ScriptedKernel();
  const options = { groups: [XfrmGroup.AEVENTS, XfrmGroup.SA], ...(queueMax === undefined ? {} : { queueMax }) };
  return { kernel, stream: await openEvents(kernel, options) };
}

async function next(iterator: AsyncGenerator<KernelEvent>): Promise<KernelEvent> {
  const { value, done } = await iterator.next();
  if (done) throw new Error('the stream has ended');
  return value;
}

async function rest(iterator: AsyncGenerator<KernelEvent>): Promise<KernelEvent[]> {
  const all: KernelEvent[] = [];
  for await (const event of iterator) all.push(event);
  return all;
}

const oseqOf = (event: KernelEvent): number | undefined =>
  event.type === 'message' && event.message.kind === 'NEWAE' ? event.message.attributes.replayVal?.oseq : undefined;

/** What a reader sees: numbers of aevents, and the types of what is no message. */
const brief = (events: readonly KernelEvent[]): (number | string | undefined)[] =>
  events.map((event) => (event.type === 'message' ? oseqOf(event) : event.type));

describe('an event stream', () => {
  it('opens the groups and the buffer that were asked for', async () => {
    const kernel = new ScriptedKernel();
    await using _ = await openEvents(kernel, { groups: [5], receiveBufferBytes: 9000 });
    expect(kernel.socket.options).toEqual({ groups: [5], receiveBufferBytes: 9000 });
  });

  it('yields decoded messages in order, from before and after the reader came', async () => {
    const { kernel, stream } = await open();
    kernel.socket.deliver(aevent(0, 1), aevent(0, 2));
    const iterator = stream[Symbol.asyncIterator]();
    expect(brief([await next(iterator), await next(iterator)])).toEqual([1, 2]);
    const third = next(iterator);
    kernel.socket.deliver(new Uint8Array(Buffer.concat([aevent(0, 3), aevent(0, 4)])));
    expect(brief([await third, await next(iterator)])).toEqual([3, 4]);
    stream.close();
    expect(await rest(iterator)).toEqual([]);
  });

  it('hands out bytes that are copies of their own', async () => {
    const { kernel, stream } = await open();
    const sent = aevent(0, 7);
    kernel.socket.deliver(sent, aevent(0, 8));
    stream.close();
    const events = await rest(stream[Symbol.asyncIterator]());
    const [first, second] = events as { bytes: Uint8Array }[];
    // The scripted kernel overwrites its memory after each batch.
    expect(first?.bytes).toEqual(sent);
    expect(first?.bytes.buffer).not.toBe(second?.bytes.buffer);
    expect(first?.bytes.buffer.byteLength).toBe(sent.length);
  });

  it.each([
    ['cut off', () => cut(aevent(0, 5), 40), 'ERR_BODY_SHORT'],
    ['with an attribute too short', shortAttribute, 'ERR_ATTRIBUTE_SHORT'],
    ['that claims more than there is', () => lying(aevent(0, 5), 5000), 'ERR_MESSAGE_LENGTH'],
    ['that claims less than a header', () => lying(aevent(0, 5), 3), 'ERR_MESSAGE_LENGTH'],
    ['shorter than a header', () => new Uint8Array([1, 2, 3]), 'ERR_HEADER_SHORT'],
    ['empty', () => new Uint8Array(0), 'ERR_HEADER_SHORT'],
  ])('yields a message %s as an item, between its neighbours', async (_, malformed, code) => {
    const { kernel, stream } = await open();
    const bytes = malformed();
    kernel.socket.deliver(aevent(0, 1), bytes, aevent(0, 2));
    stream.close();
    const events = await rest(stream[Symbol.asyncIterator]());
    expect(brief(events)).toEqual([1, 'malformed', 2]);
    expect(events[1]).toMatchObject({ error: { code }, bytes });
  });

  it('yields what follows the last message of a datagram as malformed', async () => {
    const { kernel, stream } = await open();
    kernel.socket.deliver(new Uint8Array(Buffer.concat([aevent(0, 1), Buffer.from([9, 9, 9])])));
    stream.close();
    const events = await rest(stream[Symbol.asyncIterator]());
    expect(brief(events)).toEqual([1, 'malformed']);
    expect(events[1]).toMatchObject({ bytes: new Uint8Array([9, 9, 9]) });
  });

  it('yields an overrun at its place', async () => {
    const { kernel, stream } = await open();
    kernel.socket.deliver(aevent(0, 1));
    kernel.socket.overrun();
    kernel.socket.deliver(aevent(0, 2));
    stream.close();
    expect(brief(await rest(stream[Symbol.asyncIterator]()))).toEqual([1, 'overrun', 2]);
  });

  it('keeps no more than its limit for a reader that sleeps, and tells it with one overrun', async () => {
    const { kernel, stream } = await open(100);
    for (let i = 1; i <= 10_000; i++) kernel.socket.deliver(aevent(0, i));
    stream.close();
    const seen = brief(await rest(stream[Symbol.asyncIterator]()));
    expect(seen.length).toBeLessThanOrEqual(101);
    expect(seen.filter((item) => item === 'overrun')).toHaveLength(1);
    expect(seen[0]).toBe('overrun');
    // What follows the overrun is the newest, without a gap.
    const numbers = seen.slice(1) as number[];
    expect(numbers.at(-1)).toBe(10_000);
    expect(numbers).toEqual(numbers.map((_, i) => 10_000 - numbers.length + 1 + i));
  });

  it('keeps what a slow reader has begun, then tells it of the gap', async () => {
    const { kernel, stream } = await open(4);
    kernel.socket.deliver(...[1, 2, 3, 4].map((n) => aevent(0, n)));
    const iterator = stream[Symbol.asyncIterator]();
    const first = await next(iterator);
    for (let n = 5; n <= 30; n++) kernel.socket.deliver(aevent(0, n));
    stream.close();
    const seen = brief([first, ...(await rest(iterator))]);
    expect(seen.slice(0, 5)).toEqual([1, 2, 3, 4, 'overrun']);
    expect(seen.length).toBeLessThanOrEqual(4 + 1 + 4);
    expect(seen.at(-1)).toBe(30);
  });

  it('ends when it is closed while a reader waits, and closes the socket', async () => {
    const { kernel, stream } = await open();
    const waiting = stream[Symbol.asyncIterator]().next();
    stream.close();
    expect(await waiting).toEqual({ value: undefined, done: true });
    expect(kernel.socket.closed).toBe(true);
  });

  it('ends for every reader that waits', async () => {
    const { stream } = await open();
    const waiting = [stream, stream, stream].map((each) => each[Symbol.asyncIterator]().next());
    stream.close();
    expect(await Promise.all(waiting)).toEqual(new Array(3).fill({ value: undefined, done: true }));
  });

  it('closes when the reader leaves the loop, by break or by an exception', async () => {
    const first = await open();
    first.kernel.socket.deliver(aevent(0, 1), aevent(0, 2));
    for await (const event of first.stream) {
      expect(oseqOf(event)).toBe(1);
      break;
    }
    expect(first.kernel.socket.closed).toBe(true);

    const second = await open();
    second.kernel.socket.deliver(aevent(0, 1));
    const reading = (async () => {
      for await (const event of second.stream) throw new Error(`cannot take ${oseqOf(event)}`);
    })();
    await expect(reading).rejects.toThrow('cannot take 1');
    expect(second.kernel.socket.closed).toBe(true);
  });

  it('throws an error of the socket to the reader, after what had come before', async () => {
    const { kernel, stream } = await open();
    kernel.socket.deliver(aevent(0, 1));
    kernel.socket.fail(new Error('the interface is gone'));
    const iterator = stream[Symbol.asyncIterator]();
    expect(oseqOf(await next(iterator))).toBe(1);
    await expect(iterator.next()).rejects.toThrow('the interface is gone');

    const waiting = await open();
    const pending = waiting.stream[Symbol.asyncIterator]().next();
    waiting.kernel.socket.fail(new Error('gone too'));
    await expect(pending).rejects.toThrow('gone too');
  });

  it('takes nothing more once it is closed', async () => {
    const { kernel, stream } = await open();
    kernel.socket.deliver(aevent(0, 1));
    await stream[Symbol.asyncDispose]();
    kernel.socket.deliver(aevent(0, 2));
    expect(brief(await rest(stream[Symbol.asyncIterator]()))).toEqual([1]);
  });
});

function cut(bytes: Uint8Array, length: number): Uint8Array {
  return lying(bytes.slice(0, length), length);
}

function lying(bytes: Uint8Array, length: number): Uint8Array {
  const copy = bytes.slice();
  new DataView(copy.buffer).setUint32(0, length, true);
  return copy;
}

/** XFRMA_REPLAY_VAL with 8 of its 12 bytes, at the end. */
function shortAttribute(): Uint8Array {
  const bytes = lying(aevent(0, 5).slice(0, 16 + 48 + 12), 16 + 48 + 12);
  const view = new DataView(bytes.buffer);
  view.setUint16(64, 12, true);
  view.setUint16(66, 10, true);
  return bytes;
}
