/** Dumps: parts, ends, and what goes wrong between. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ClientError, XfrmClient } from '../../src/client/index.ts';
import { Transport } from '../../src/client/transport.ts';
import { EncodeError } from '../../src/netlink/index.ts';
import { ack, aevent, done, nack, ScriptedKernel, saPart } from './scripted-kernel.ts';

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no failure',
    (reason: unknown) => reason,
  );

/** Lets what is ready happen: a dump starts a microtask after it is asked for. */
const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

describe('a dump', () => {
  it('collects its parts up to the end, from one datagram or many', async () => {
    const kernel = new ScriptedKernel((request) => [
      new Uint8Array(Buffer.concat([saPart(request, 1), saPart(request, 2)])),
      saPart(request, 3),
      done(request),
    ]);
    await using client = await XfrmClient.open(kernel);
    expect((await client.dumpSas()).map(({ body }) => body.id.spi)).toEqual([1, 2, 3]);
    expect(kernel.socket.requests).toMatchObject([{ kind: 'GETSA', flags: 0x301, body: null, attributes: {} }]);
  });

  it('passes its filters on, at the place where the kernel looks', async () => {
    const kernel = new ScriptedKernel((request) => [done(request)]);
    await using client = await XfrmClient.open(kernel);
    const zero = { w0: 0, w1: 0, w2: 0, w3: 0 };
    const addresses = { saddr: zero, daddr: { ...zero, w0: 0x0a000000 }, family: 2, splen: 0, dplen: 8 };
    expect(await client.dumpSas({ proto: 50, addresses })).toEqual([]);
    expect(kernel.socket.requests).toMatchObject([{ attributes: { proto: 50, addressFilter: addresses } }]);
  });

  it('refused at its end carries errno and words', async () => {
    const extack = { msg: 'too long', offs: 20 };
    await using client = await XfrmClient.open(new ScriptedKernel((request) => [done(request, -22, extack)]));
    expect(await failure(client.dumpSas())).toMatchObject({
      code: 'ERR_KERNEL',
      errno: 22,
      extack: 'too long',
      offset: 20,
    });
  });

  it('refused at its start is an error too, not an absence', async () => {
    let errno = -1;
    await using client = await XfrmClient.open(new ScriptedKernel((request) => [nack(request, errno)]));
    expect(await failure(client.dumpPolicies())).toMatchObject({ code: 'ERR_KERNEL', errno: 1, request: 'GETPOLICY' });
    errno = -2;
    expect(await failure(client.dumpPolicies())).toMatchObject({ code: 'ERR_KERNEL', errno: 2 });
  });

  it('that is only acknowledged is no empty dump', async () => {
    await using client = await XfrmClient.open(new ScriptedKernel((request) => [ack(request)]));
    expect(await failure(client.dumpSas())).toMatchObject({ code: 'ERR_ANSWER' });
  });

  it('that stalls fails after the time without a part, and its late parts are no parts of the next', async () => {
    const kernel = new ScriptedKernel(() => undefined);
    await using client = await XfrmClient.open(kernel, { timeoutMs: 1000 });
    const dump = failure(client.dumpSas());
    await settle();
    const { seq } = kernel.socket.requests[0] as { seq: number };
    for (let spi = 1; spi <= 5; spi++) {
      await vi.advanceTimersByTimeAsync(900);
      kernel.socket.deliver(saPart({ seq }, spi));
    }
    await vi.advanceTimersByTimeAsync(999);
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(await dump).toMatchObject({ code: 'ERR_TIMEOUT', request: 'GETSA' });

    const next = client.dumpSas();
    await settle();
    const second = kernel.socket.requests[1] as { seq: number };
    kernel.socket.deliver(saPart({ seq }, 6), done({ seq }), saPart(second, 7), done(second));
    expect((await next).map(({ body }) => body.id.spi)).toEqual([7]);
  });

  it('with a part that cannot be read, or is no SA, fails at its end and leaves the others alone', async () => {
    const cut = (seq: number): Uint8Array => {
      const bytes = saPart({ seq }, 9).slice(0, 40);
      new DataView(bytes.buffer).setUint32(0, 40, true);
      return bytes;
    };
    let odd: (seq: number) => Uint8Array = cut;
    await using client = await XfrmClient.open(
      new ScriptedKernel(({ seq }) => [saPart({ seq }, 1), odd(seq), saPart({ seq }, 2), done({ seq })]),
    );
    expect(await failure(client.dumpSas())).toMatchObject({ code: 'ERR_ANSWER', request: 'GETSA' });
    odd = (seq) => aevent(seq, 1);
    expect(await failure(client.dumpSas())).toMatchObject({ code: 'ERR_ANSWER', request: 'GETSA' });
    odd = (seq) => saPart({ seq }, 3);
    expect(await client.dumpSas()).toHaveLength(3);
  });

  it('whose end is cut off fails', async () => {
    const end = (seq: number): Uint8Array => {
      const bytes = done({ seq }).slice(0, 16);
      new DataView(bytes.buffer).setUint32(0, 16, true);
      return bytes;
    };
    await using client = await XfrmClient.open(new ScriptedKernel(({ seq }) => [saPart({ seq }, 1), end(seq)]));
    expect(await failure(client.dumpSas())).toMatchObject({ code: 'ERR_ANSWER' });
  });

  it('throws what its reader throws, when it is over', async () => {
    const kernel = new ScriptedKernel((request) => [saPart(request, 1), saPart(request, 2), done(request)]);
    await using transport = await Transport.open(kernel);
    const seen: unknown[] = [];
    const fault = new Error('cannot store it');
    const dump = transport.dump({ kind: 'GETSA', body: null, attributes: {} }, (part) => {
      seen.push(part);
      throw fault;
    });
    expect(await failure(dump)).toBe(fault);
    expect(seen).toHaveLength(1);
  });

  it('lost by an overrun fails; the next works', async () => {
    let silent = true;
    const kernel = new ScriptedKernel((request) =>
      silent ? [saPart(request, 1)] : [saPart(request, 1), done(request)],
    );
    await using client = await XfrmClient.open(kernel);
    const dump = failure(client.dumpSas());
    await settle();
    kernel.socket.overrun();
    expect(await dump).toMatchObject({ code: 'ERR_OVERRUN' });
    silent = false;
    expect(await client.dumpSas()).toHaveLength(1);
  });

  it('pending when the client is closed fails, and so do those that queue behind it', async () => {
    const client = await XfrmClient.open(new ScriptedKernel(() => undefined));
    const dumps = [client.dumpSas(), client.dumpPolicies(), client.dumpSas()].map(failure);
    await settle();
    client.close();
    for (const error of await Promise.all(dumps)) expect(error).toMatchObject({ code: 'ERR_CLOSED' });
  });
});

describe('dumps and requests on one client', () => {
  it('run dumps one after the other, as a kernel carries out one at a time on a socket', async () => {
    const kernel = new ScriptedKernel(() => undefined);
    await using client = await XfrmClient.open(kernel);
    const first = client.dumpSas();
    const second = client.dumpSas();
    await settle();
    const asked = () => kernel.socket.requests as { seq: number }[];
    expect(asked()).toHaveLength(1);
    kernel.socket.deliver(saPart(asked()[0] as { seq: number }, 1));

    // Requests are answered in the middle of a dump.
    const request = client.getAevent({ daddr: { w0: 1, w1: 0, w2: 0, w3: 0 }, spi: 1, proto: 50, family: 2 });
    const { seq } = asked()[1] as { seq: number };
    kernel.socket.deliver(aevent(seq, 8), ack({ seq }));
    expect((await request)?.attributes.replayVal?.oseq).toBe(8);

    kernel.socket.deliver(saPart(asked()[0] as { seq: number }, 2), done(asked()[0] as { seq: number }));
    expect((await first).map(({ body }) => body.id.spi)).toEqual([1, 2]);
    await settle();
    const third = asked()[2] as { seq: number };
    kernel.socket.deliver(saPart(third, 3), done(third));
    expect((await second).map(({ body }) => body.id.spi)).toEqual([3]);
  });

  it('a failed dump does not hold up the next', async () => {
    let status = -22;
    await using client = await XfrmClient.open(new ScriptedKernel((request) => [done(request, status)]));
    const failed = failure(client.dumpSas());
    const next = client.dumpSas();
    expect(await failed).toBeInstanceOf(ClientError);
    expect(await failure(next)).toBeInstanceOf(ClientError);
    status = 0;
    expect(await client.dumpSas()).toEqual([]);
  });

  it.each([
    ['GETSA', 0x100, 'dumpSas'],
    ['GETSA', 0x200, 'dumpSas'],
    ['GETPOLICY', 0x300, 'dumpPolicies'],
  ] as const)(
    'request() refuses %s with flags %i, which the kernel would answer with a dump',
    async (kind, flags, name) => {
      const kernel = new ScriptedKernel();
      await using client = await XfrmClient.open(kernel);
      const error = await failure(client.request({ kind, body: null, attributes: {}, flags }));
      expect(error).toBeInstanceOf(EncodeError);
      expect(String(error)).toContain(name);
      expect(kernel.socket.sent).toEqual([]);
    },
  );
});
