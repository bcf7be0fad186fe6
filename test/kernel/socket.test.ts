import { readlinkSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Batch, OpenOptions } from '../../src/kernel/kernel.ts';
import { linuxKernel } from '../../src/kernel/linux/linux.ts';
import type { LinuxKernelSocket } from '../../src/kernel/linux/socket.ts';
import { allocSpi, Flag, Group, getAe, message, messages, policies, policyChurn, Type } from './messages.ts';
import { collect, describeNative, type Namespace, newNamespace, turn, turnsUntil } from './native.ts';

/** Messages in one datagram: more gains nothing. */
const BATCH = 64;
/** The kernel raises it to 2304, which is three events. */
const TINY_BUFFER_BYTES = 1;

describeNative('a socket on this kernel', () => {
  let namespace: Namespace;
  let requests: LinuxKernelSocket;
  const opened: LinuxKernelSocket[] = [];

  beforeAll(async () => {
    namespace = await newNamespace();
    requests = await open();
  });

  afterAll(async () => {
    for (const socket of opened) socket.close();
    await namespace[Symbol.asyncDispose]();
  });

  async function open(options: OpenOptions = {}): Promise<LinuxKernelSocket> {
    const socket = await linuxKernel({ namespace: namespace.path }).open(options);
    opened.push(socket);
    return socket;
  }

  /** Makes `count` policy events, with the sequence numbers `first` and up; an even count, or a policy stays behind. */
  function makeEvents(first: number, count: number): void {
    for (let i = 0; i < count; i += BATCH) requests.send(policyChurn(first + i, Math.min(BATCH, count - i)));
  }

  test('events arrive through the event loop, in order', async () => {
    await using events = await open({ groups: [Group.policy] });
    const got = collect(events);
    makeEvents(1, 1000);
    await turnsUntil(() => got.length >= 1000);
    expect(got.map((message) => message.sequence)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
    expect(got.slice(0, 2).map((message) => message.type)).toEqual([Type.newPolicy, Type.delPolicy]);
  });

  test('a PF_KEY socket opens, or the error says that this kernel has none', async () => {
    const kernel = linuxKernel({ namespace: namespace.path });
    const opening = kernel.openPfkey();
    const error = await opening.then(
      (socket) => socket.close(),
      (error: unknown) => error,
    );
    if (error !== undefined) expect(error).toMatchObject({ name: 'KernelError', code: 'ERR_NO_PFKEY' });
  });

  test('datagrams that came before there was a handler are kept for it', async () => {
    await using events = await open({ groups: [Group.policy] });
    makeEvents(1, 10);
    events.drain();
    await turn();
    const got = collect(events);
    expect(got).toHaveLength(0);
    events.drain();
    expect(got).toHaveLength(10);
  });

  test('acknowledgements are there when send returns: drain hands them over', async () => {
    await using socket = await open();
    const got = collect(socket);
    socket.send(policyChurn(1, BATCH, Flag.ack));
    socket.drain();
    expect(got).toHaveLength(BATCH);
    expect(got.every(({ type, error }) => type === Type.error && error === 0)).toBe(true);
  });

  test('a refusal does not carry the request back: NETLINK_CAP_ACK', async () => {
    await using socket = await open();
    const got = collect(socket);
    const added = policyChurn(1, 1).length;
    socket.send(policyChurn(1, 2, Flag.ack).slice(added));
    socket.drain();
    expect(got).toEqual([{ type: Type.error, sequence: 2, error: -2, length: 36 }]);
  });

  test('a refusal says why: NETLINK_EXT_ACK', async () => {
    await using socket = await open();
    const got = collect(socket);
    const request = message(Type.newAe, Flag.request | Flag.ack, 7, 48);
    socket.send(new Uint8Array(request.buffer));
    socket.drain();
    expect(got).toHaveLength(1);
    expect(got[0]?.error).toBeLessThan(0);
    expect(got[0]?.length).toBeGreaterThan(36);
  });

  test('real aevent bytes: ALLOCSPI, then GETAE on the larval SA', async () => {
    await using socket = await open();
    const types: number[] = [];
    let spi = 0;
    let length = 0;
    socket.receive(({ view, offsets, lengths }) => {
      const start = offsets[0] as number;
      length = lengths[0] as number;
      types.push(view.getUint16(start + 4, true));
      if (types.length === 1) spi = view.getUint32(start + 16 + 72);
    });
    socket.send(allocSpi(1, 0x100, 0x1ff));
    socket.drain();
    expect(types).toEqual([Type.newSa]);
    expect(spi).toBeGreaterThanOrEqual(0x100);
    expect(spi).toBeLessThanOrEqual(0x1ff);
    socket.send(getAe(2, spi));
    socket.drain();
    expect(types).toEqual([Type.newSa, Type.newAe]);
    expect(length).toBe(116);
  });

  test('a dump comes whole, in datagrams beyond 8 KiB (trap 12)', async () => {
    await using own = await newNamespace();
    await using socket = await linuxKernel({ namespace: own.path }).open();
    for (let i = 0; i < 2048; i += BATCH) socket.send(policies(i, BATCH));
    const got: number[] = [];
    let longest = 0;
    socket.receive((batch) => {
      for (let i = 0; i < batch.count; i++) longest = Math.max(longest, batch.lengths[i] as number);
      for (const { type } of messages(batch)) got.push(type);
    });
    socket.send(new Uint8Array(message(Type.getPolicy, Flag.request | Flag.dump, 1, 64).buffer));
    socket.drain();
    expect(got.filter((type) => type === Type.newPolicy)).toHaveLength(2048);
    expect(got.at(-1)).toBe(Type.done);
    expect(longest).toBeGreaterThan(8 << 10);
  });

  test('200,000 events without loss while they are drained', async () => {
    await using events = await open({ groups: [Group.policy] });
    const total = 200_000;
    let count = 0;
    let sum = 0;
    events.receive((batch) => {
      count += batch.count;
      for (let i = 0; i < batch.count; i++) sum += batch.view.getUint32((batch.offsets[i] as number) + 8, true);
    });
    for (let i = 0; i < total; i += BATCH * 4) {
      makeEvents(i, Math.min(BATCH * 4, total - i));
      await turn();
    }
    await turnsUntil(() => count >= total);
    expect(events.overruns).toBe(0);
    expect(sum).toBe((total * (total - 1)) / 2);
  });

  test('one wake-up leaves the event loop its turn (trap 14)', async () => {
    await using events = await open({ groups: [Group.policy], receiveBufferBytes: 16 << 20 });
    makeEvents(1, 4096);
    const got = collect(events);
    let before = 0;
    let longestTurn = 0;
    await turnsUntil(() => {
      longestTurn = Math.max(longestTurn, got.length - before);
      before = got.length;
      return got.length + events.overruns >= 4096;
    });
    expect(longestTurn).toBe(16 * 64);
  });

  test('an overrun is reported, and reception goes on through the event loop, again and again (trap 1)', async () => {
    await using events = await open({ groups: [Group.policy], receiveBufferBytes: TINY_BUFFER_BYTES });
    const order: ('overrun' | number)[] = [];
    events.onOverrun(() => order.push('overrun'));
    events.receive((batch) => {
      for (const { sequence } of messages(batch)) order.push(sequence);
    });
    for (let round = 1; round <= 50; round++) {
      order.length = 0;
      makeEvents(1, 1000);
      await turnsUntil(() => order.length > 1);
      expect(order[0]).toBe('overrun');
      expect(order[1]).toBe(1);
      // Not before the queue is empty does the kernel queue again.
      events.drain();
      order.length = 0;
      makeEvents(5000, 2);
      await turnsUntil(() => order.length > 1);
      expect(order).toEqual([5000, 5001]);
      expect(events.overruns).toBe(round);
    }
  });

  test('an overrun that drain met does not silence the socket either', async () => {
    await using events = await open({ groups: [Group.policy], receiveBufferBytes: TINY_BUFFER_BYTES });
    const got = collect(events);
    makeEvents(1, 1000);
    events.drain();
    expect(events.overruns).toBe(1);
    await turn();
    got.length = 0;
    makeEvents(5000, 2);
    await turnsUntil(() => got.length > 1);
    expect(got.map(({ sequence }) => sequence)).toEqual([5000, 5001]);
  });

  test('an overrun before there is a handler for it is kept', async () => {
    await using events = await open({ groups: [Group.policy], receiveBufferBytes: TINY_BUFFER_BYTES });
    collect(events);
    makeEvents(1, 1000);
    events.drain();
    let overruns = 0;
    events.onOverrun(() => overruns++);
    await turn();
    expect(overruns).toBe(1);
  });

  test('a request socket whose replies find no room reports an overrun; the requests were carried out', async () => {
    await using events = await open({ groups: [Group.policy] });
    await using socket = await open({ receiveBufferBytes: TINY_BUFFER_BYTES });
    const seen = collect(events);
    const replies = collect(socket);
    let overruns = 0;
    socket.onOverrun(() => overruns++);
    socket.send(policyChurn(1, BATCH, Flag.ack));
    socket.drain();
    events.drain();
    expect(overruns).toBe(1);
    expect(replies.length).toBeLessThan(BATCH);
    expect(seen).toHaveLength(BATCH);
  });

  test('collected garbage takes no buffer with it whose address the kernel has (trap 4)', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    await using events = await open({ groups: [Group.policy] });
    const got = collect(events);
    let junk: ArrayBuffer[] = [];
    for (let i = 0; i < 20_000; i += BATCH) {
      makeEvents(i, Math.min(BATCH, 20_000 - i));
      if (i % (BATCH * 8) === 0) {
        collectGarbage();
        // Would take the place of a header or iovec array that had been freed.
        junk = [new ArrayBuffer(64 * 64), new ArrayBuffer(64 * 16), new ArrayBuffer(64 * 12)];
        for (const memory of junk) new Uint8Array(memory).fill(0xff);
      }
      events.drain();
    }
    expect(junk).toHaveLength(3);
    expect(got).toHaveLength(20_000);
    expect(got.every(({ sequence }, i) => sequence === i)).toBe(true);
  });

  test('every batch is the same object, on memory of its own (trap 5)', async () => {
    await using events = await open({ groups: [Group.policy] });
    const batches = new Set<Batch>();
    events.receive((batch) => batches.add(batch));
    for (let i = 0; i < 3; i++) {
      makeEvents(1, 10);
      events.drain();
    }
    expect(batches.size).toBe(1);
    const [batch] = batches;
    expect(batch?.buffer.byteOffset).toBe(0);
    expect(batch?.buffer.buffer.byteLength).toBe(64 * 8192);
    expect(batch?.view.buffer).toBe(batch?.buffer.buffer);
    expect([...(batch?.offsets ?? [])].every((offset) => offset % 8 === 0)).toBe(true);
  });

  test('receive buffer: forced, or what rmem_max leaves, and read back (trap 11)', async () => {
    await using events = await open({ groups: [Group.policy] });
    await using replies = await open();
    await using small = await open({ groups: [Group.policy], receiveBufferBytes: 100_000 });
    // The kernel doubles what it is given.
    expect(small.receiveBufferBytes).toBe(200_000);
    expect(events.receiveBufferBytes).toBeGreaterThan(212_992);
    expect(events.receiveBufferBytes).toBeGreaterThanOrEqual(replies.receiveBufferBytes);
    expect(replies.datagramBytesMax).toBeGreaterThan(212_992);
  });

  test('drain from inside the handler leaves the batch alone', async () => {
    await using events = await open({ groups: [Group.policy] });
    const got: number[] = [];
    events.receive((batch) => {
      events.drain();
      for (const { sequence } of messages(batch)) got.push(sequence);
    });
    makeEvents(1, 200);
    events.drain();
    expect(got).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
  });

  test('close with data waiting: nothing comes any more, the descriptor is free, and again is harmless', async () => {
    const events = await open({ groups: [Group.policy] });
    const got = collect(events);
    const path = `/proc/self/fd/${events.fd}`;
    const was = readlinkSync(path);
    makeEvents(1, 500);
    events.close();
    events.close();
    await events[Symbol.asyncDispose]();
    for (let i = 0; i < 5; i++) await turn();
    expect(got).toHaveLength(0);
    expect(events.fd).toBe(-1);
    expect(openLink(path)).not.toBe(was);
    for (const use of [() => events.send(getAe(1, 1)), () => events.drain(), () => events.receive(() => {})]) {
      expect(use).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
    }
  });

  test('close from inside the handler ends the drain', async () => {
    const events = await open({ groups: [Group.policy] });
    let batches = 0;
    let faults = 0;
    events.onError(() => faults++);
    events.receive(() => {
      batches++;
      events.close();
    });
    makeEvents(1, 500);
    await turnsUntil(() => batches > 0);
    for (let i = 0; i < 5; i++) await turn();
    expect(batches).toBe(1);
    expect(faults).toBe(0);
  });

  test('the descriptor number may be taken by the next socket at once', async () => {
    for (let i = 0; i < 50; i++) {
      const events = await open({ groups: [Group.policy] });
      const got = collect(events);
      makeEvents(i, 2);
      await turnsUntil(() => got.length > 1);
      expect(got.map(({ sequence }) => sequence)).toEqual([i, i + 1]);
      events.close();
    }
  });

  test('a batch of 64 large messages is one datagram; beyond the send buffer ERR_TOO_LARGE, and the socket lives', async () => {
    await using socket = await open();
    const got = collect(socket);
    const padded = policyChurn(1, 1, Flag.ack);
    // Padding as an attribute of an unknown type, which XFRM skips.
    const large = new Uint8Array(Math.min(socket.datagramBytesMax, 16 << 10));
    large.set(padded);
    const view = new DataView(large.buffer);
    view.setUint32(0, large.length, true);
    view.setUint16(padded.length, large.length - padded.length, true);
    view.setUint16(padded.length + 2, 0x3ff, true);
    const copies = Math.min(BATCH, Math.floor(socket.datagramBytesMax / large.length));
    const datagram = new Uint8Array(copies * large.length);
    for (let i = 0; i < copies; i++) datagram.set(large, i * large.length);
    socket.send(datagram);
    socket.drain();
    expect(got).toHaveLength(copies);
    expect(() => socket.send(new Uint8Array(socket.datagramBytesMax + 1))).toThrow(
      expect.objectContaining({ code: 'ERR_TOO_LARGE', syscall: 'sendto', errno: 90 }),
    );
    got.length = 0;
    socket.send(new Uint8Array(message(Type.getPolicy, Flag.request | Flag.dump, 1, 64).buffer));
    socket.drain();
    expect(got.at(-1)?.type).toBe(Type.done);
    // Takes the policy away again.
    requests.send(policyChurn(1, 2).slice(padded.length));
  });

  test('arguments that make no sense are refused before anything is opened', async () => {
    const refused = expect.objectContaining({ code: 'ERR_ARGUMENT' });
    await expect(open({ groups: [0] })).rejects.toEqual(refused);
    await expect(open({ groups: [33] })).rejects.toEqual(refused);
    await expect(open({ receiveBufferBytes: 0 })).rejects.toEqual(refused);
    expect(() => requests.send(new Uint8Array(15))).toThrow(refused);
  });
});

function openLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
