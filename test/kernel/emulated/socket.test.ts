import { describe, expect, it } from 'vitest';
import { EmulatedKernel } from '../../../src/kernel/emulated/index.ts';
import { type Batch, KernelError } from '../../../src/kernel/index.ts';
import { forEachMessage, NlmF } from '../../../src/netlink/index.ts';
import { decodeMessage, encodeMessage, XfrmGroup, type XfrmMessage } from '../../../src/xfrm/index.ts';
import { aevent, ask, kinds, newSa, packetOut, received, world } from './world.ts';

const dumpSas: XfrmMessage<'GETSA'> = { kind: 'GETSA', flags: 0x301, seq: 5, pid: 0, body: null, attributes: {} };

const delSa = (spi: number): XfrmMessage<'DELSA'> => ({
  kind: 'DELSA',
  flags: NlmF.REQUEST,
  seq: 6,
  pid: 0,
  body: { daddr: newSa().body.id.daddr, spi, family: 2, proto: 50 },
  attributes: {},
});

const getAe = (): Uint8Array => encodeMessage(aevent('GETAE'));

/** A kernel whose sockets hand over when the returned function is called. */
function withTurns() {
  const turns: (() => void)[] = [];
  const kernel = new EmulatedKernel({ later: (run) => void turns.push(run) });
  const turn = (): void => {
    for (const run of turns.splice(0)) run();
  };
  return { kernel, turn };
}

describe('a socket of the emulated kernel', () => {
  it('carries a request out inside send, and hands over on a later turn', () => {
    const { kernel, turn } = withTurns();
    const socket = kernel.openNow();
    const got: number[] = [];
    socket.receive((batch: Batch) => void got.push(batch.count));
    socket.send(encodeMessage(newSa()));
    expect(kernel.engine.sad.count).toBe(1);
    expect(got).toEqual([]);
    turn();
    expect(got).toEqual([1]);
  });

  it('drain hands over before it returns; from inside the handler it does nothing', () => {
    const { kernel } = withTurns();
    const socket = kernel.openNow();
    const got: string[] = [];
    socket.receive((batch) => {
      got.push(`in ${batch.count}`);
      if (got.length === 1) {
        socket.send(getAe());
        socket.drain();
        got.push('out');
      }
    });
    socket.send(encodeMessage(newSa()));
    socket.drain();
    expect(got).toEqual(['in 1', 'out', 'in 1']);
  });

  it('keeps what comes before there is a handler', () => {
    const { kernel } = withTurns();
    const socket = kernel.openNow();
    socket.send(encodeMessage(newSa()));
    const got: number[] = [];
    socket.receive((batch) => void got.push(batch.count));
    socket.drain();
    expect(got).toEqual([1]);
  });

  it('goes on after a handler has thrown', () => {
    const { kernel } = withTurns();
    const socket = kernel.openNow();
    const thrown: unknown[] = [];
    const before = globalThis.queueMicrotask;
    // What is thrown from a microtask would end the test run: it is caught where it is passed on.
    globalThis.queueMicrotask = (run) => {
      try {
        run();
      } catch (error) {
        thrown.push(error);
      }
    };
    try {
      let calls = 0;
      socket.receive(() => {
        calls++;
        if (calls === 1) throw new Error('first');
      });
      socket.send(encodeMessage(newSa()));
      socket.drain();
      socket.send(getAe());
      socket.drain();
      expect(calls).toBe(2);
    } finally {
      globalThis.queueMicrotask = before;
    }
    expect(thrown).toEqual([new Error('first')]);
  });

  it('tells an overrun before the datagrams that had arrived, and drops until it has been emptied', () => {
    const { kernel } = withTurns();
    const requests = kernel.openNow();
    requests.send(encodeMessage(newSa()));
    const listener = kernel.openNow({ groups: [XfrmGroup.AEVENTS], receiveBufferBytes: 1 });
    expect(listener.receiveBufferBytes).toBe(2304);
    const got: string[] = [];
    listener.onOverrun(() => got.push('overrun'));
    listener.receive((batch) => void got.push(`${batch.count} events`));
    const change = encodeMessage(aevent('NEWAE', { replayThresh: 5 }));
    for (let i = 0; i < 10; i++) requests.send(change);
    listener.drain();
    expect(got).toEqual(['overrun', '3 events']);
    expect(listener.drops).toBe(7);
    requests.send(change);
    listener.drain();
    expect(got).toEqual(['overrun', '3 events', '1 events']);
  });

  it('hands a long dump over in parts, none of them above what the kernel fills', () => {
    const { kernel } = withTurns();
    const requests = kernel.openNow({ receiveBufferBytes: 1 << 22 });
    const count = 500;
    for (let spi = 1; spi <= count; spi++) requests.send(encodeMessage({ ...newSa({}, spi), flags: NlmF.REQUEST }));
    const lengths: number[] = [];
    requests.receive((batch) => void lengths.push(...batch.lengths.subarray(0, batch.count)));
    requests.send(encodeMessage(dumpSas));
    requests.drain();
    expect(Math.max(...lengths)).toBeLessThanOrEqual(32_448);
    expect(lengths[0]).toBeLessThanOrEqual(3776);
    expect(lengths.at(-1)).toBe(20);
    const sizeOfOne = 352 - 16 + 16;
    expect(lengths.slice(0, -1).reduce((sum, n) => sum + n, 0) % count).toBe(0);
    expect(lengths.length).toBeGreaterThan((count * sizeOfOne) / 32_448);
  });

  it('a dump passes over SAs that are deleted under it, and does not see new ones', () => {
    const here = world();
    const count = 50;
    for (let spi = 1; spi <= count; spi++) ask(here, newSa({}, spi));
    const dumper = here.kernel.openNow();
    const spis: number[] = [];
    let next = 0;
    dumper.receive((batch) => {
      for (let i = 0; i < batch.count; i++) {
        const datagram = batch.buffer.slice(batch.offsets[i], (batch.offsets[i] ?? 0) + (batch.lengths[i] ?? 0));
        forEachMessage(datagram, (at) => {
          const message = decodeMessage(datagram, at);
          if (message.kind === 'NEWSA') spis.push(message.body.id.spi);
        });
      }
      if (next !== 0) return;
      // Parts are made ahead: what has not been handed over yet may be on its way.
      next = count / 2;
      ask(here, delSa(next));
      ask(here, newSa({}, 1000));
    });
    dumper.send(encodeMessage(dumpSas));
    dumper.drain();
    const all = Array.from({ length: count }, (_, i) => count - i);
    const expected = all.filter((spi) => spi !== next);
    // Nothing twice, nothing out of order, nothing new; the deleted one only if its part was made before.
    expect(spis.filter((spi) => spi !== next)).toEqual(expected);
  });

  it('refuses what a real one refuses', async () => {
    const kernel = new EmulatedKernel();
    await expect(kernel.open({ groups: [33] })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
    await expect(kernel.open({ groups: [5], privileged: false })).rejects.toMatchObject({ code: 'ERR_PERMISSION' });
    const socket = await kernel.open({ portId: 77 });
    await expect(kernel.open({ portId: 77 })).rejects.toMatchObject({ errno: 98 });
    expect(() => socket.send(new Uint8Array(15))).toThrow(KernelError);
    expect(() => socket.send(new Uint8Array(212_992))).toThrow(/at most/);
    socket.close();
    expect(() => socket.drain()).toThrow(/closed/);
  });

  it('lets go of its memberships when it is closed', () => {
    const here = world();
    ask(here, newSa({ replayThresh: 1, etimerThresh: 0 }));
    const listener = here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
    packetOut(here);
    expect(kinds(listener)).toHaveLength(1);
    listener.close();
    expect(here.kernel.engine.host.listeners[XfrmGroup.AEVENTS]).toBe(0);
    packetOut(here);
    expect(received(listener)).toEqual([]);
  });
});
