/** Requests over one socket: acknowledgements, refusals, batches, deadlines, losses. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ClientError, newAevent, type Request, type SaId, XfrmClient } from '../../src/client/index.ts';
import { sequenceAfter } from '../../src/client/request.ts';
import { BATCH_BYTES, BATCH_MESSAGES, Transport } from '../../src/client/transport.ts';
import { KernelError } from '../../src/kernel/index.ts';
import { EncodeError } from '../../src/netlink/index.ts';
import { usersaInfo } from '../../src/xfrm/index.ts';
import { ack, aevent, nack, ScriptedKernel } from './scripted-kernel.ts';

const id: SaId = { daddr: { w0: 0x0a000002, w1: 0, w2: 0, w3: 0 }, spi: 0x100, proto: 50, family: 2 };
const setCounter = (oseq: number): Request => newAevent(id, { replayVal: { oseq, seq: 0, bitmap: 0 } });
const flush: Request = { kind: 'FLUSHSA', body: { proto: 0 }, attributes: {} };
const counters = (count: number): Request[] => Array.from({ length: count }, (_, i) => setCounter(i));

const ESRCH = 3;
const EINVAL = 22;

async function failure(promise: Promise<unknown>): Promise<ClientError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ClientError);
  return error as ClientError;
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  // No deadline outlives what it was for.
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

describe('one request', () => {
  it.each<[string, Request]>([
    [
      'an ALLOCSPI for the SPI 0',
      { kind: 'ALLOCSPI', body: { info: usersaInfo.zero(), min: 0, max: 0 }, attributes: {} },
    ],
    ['a NEWSPDINFO', { kind: 'NEWSPDINFO', body: { flags: 0 }, attributes: { ipv4Hthresh: { lbits: 24, rbits: 24 } } }],
  ])('is not sent as a kernel was seen to stop or hang in a run with it: %s', async (_, request) => {
    const kernel = new ScriptedKernel();
    await using client = await XfrmClient.open(kernel);
    await expect(client.request(request)).rejects.toBeInstanceOf(EncodeError);
    expect(kernel.socket.requests).toEqual([]);
  });

  it('is sent with REQUEST and ACK, a sequence number and the port id of its socket', async () => {
    const kernel = new ScriptedKernel();
    await using client = await XfrmClient.open(kernel, { receiveBufferBytes: 123_456 });
    await client.request(setCounter(5));
    expect(kernel.socket.options).toEqual({ receiveBufferBytes: 123_456 });
    expect(kernel.socket.requests).toMatchObject([
      { kind: 'NEWAE', flags: 0x105, seq: 1, pid: kernel.socket.portId, attributes: { replayVal: { oseq: 5 } } },
    ]);
  });

  it('resolves with its reply once the acknowledgement is there', async () => {
    await using client = await XfrmClient.open(new ScriptedKernel(({ seq }) => [aevent(seq, 42), ack({ seq })]));
    const reply = await client.getAevent(id);
    expect(reply?.attributes.replayVal?.oseq).toBe(42);
    expect(await client.getAevent(id, { thresholds: true })).toMatchObject({ attributes: { replayVal: { oseq: 42 } } });
  });

  it('that the kernel refuses carries errno, the words of the kernel, the offset and what was asked for', async () => {
    const kernel = new ScriptedKernel((request) => [nack(request, -EINVAL, { msg: 'no such thing', offs: 64 })]);
    await using client = await XfrmClient.open(kernel);
    expect(await failure(client.setAevent(id, { replayThresh: 5 }))).toMatchObject({
      code: 'ERR_KERNEL',
      request: 'NEWAE',
      errno: EINVAL,
      extack: 'no such thing',
      offset: 64,
      message: 'NEWAE: EINVAL, no such thing',
    });
  });

  it('that is refused without words says what the errno means', async () => {
    await using client = await XfrmClient.open(new ScriptedKernel((request) => [nack(request, -1)]));
    const error = await failure(client.flushSas());
    expect(error).toMatchObject({ code: 'ERR_KERNEL', errno: 1, extack: '', offset: undefined });
    expect(error.message).toContain('CAP_NET_ADMIN');
  });

  it.each([
    ['an SA', ESRCH, (client: XfrmClient) => client.getSa(id)],
    ['counters', ESRCH, (client: XfrmClient) => client.getAevent(id)],
    ['counters with thresholds', ESRCH, (client: XfrmClient) => client.getAevent(id, { thresholds: true })],
    ['a policy', 2, (client: XfrmClient) => client.getPolicy({ index: 8, dir: 0 })],
  ])('for %s that is not there gives undefined, and any other refusal an error', async (_, errno, get) => {
    let answer = -errno;
    await using client = await XfrmClient.open(new ScriptedKernel((request) => [nack(request, answer)]));
    expect(await get(client)).toBeUndefined();
    answer = -EINVAL;
    expect(await failure(get(client))).toMatchObject({ code: 'ERR_KERNEL', errno: EINVAL });
  });

  it('answered with something else says so', async () => {
    await using client = await XfrmClient.open(new ScriptedKernel(({ seq }) => [aevent(seq, 1), ack({ seq })]));
    expect(await failure(client.getSa(id))).toMatchObject({ code: 'ERR_ANSWER', request: 'GETSA' });
    await using silent = await XfrmClient.open(new ScriptedKernel());
    expect(await failure(silent.getSa(id))).toMatchObject({ code: 'ERR_ANSWER', request: 'GETSA' });
  });
});

describe('NEWAE', () => {
  it('sends of an aevent only what NEWAE sets: newer kernels refuse the rest', async () => {
    const kernel = new ScriptedKernel();
    await using client = await XfrmClient.open(kernel);
    const mark = { value: 5, mask: 0xff };
    const read = { replayVal: { oseq: 1, seq: 2, bitmap: 3 }, saDir: 2, ifId: 9, saPcpu: 0 };
    await client.setAevent({ ...id, mark }, read);
    const [request] = kernel.socket.requests;
    expect(request).toMatchObject({ attributes: { replayVal: read.replayVal, mark } });
    expect(Object.keys((request as { attributes: object }).attributes)).toHaveLength(2);
  });
});

describe('a batch', () => {
  it('of none sends nothing', async () => {
    const kernel = new ScriptedKernel();
    await using client = await XfrmClient.open(kernel);
    expect(await client.batch([])).toEqual([]);
    expect(kernel.socket.sent).toEqual([]);
  });

  it('keeps the order, whichever requests fail', async () => {
    const kernel = new ScriptedKernel((request) => {
      const oseq = request.kind === 'NEWAE' ? (request.attributes.replayVal?.oseq ?? 0) : 0;
      return oseq % 3 === 1 ? [nack(request, -ESRCH)] : [aevent(request.seq, oseq), ack(request)];
    });
    await using client = await XfrmClient.open(kernel);
    const results = await client.batch(counters(200));
    expect(results).toHaveLength(200);
    results.forEach(({ reply, error }, i) => {
      if (i % 3 === 1) expect(error).toMatchObject({ code: 'ERR_KERNEL', errno: ESRCH });
      else expect(reply).toMatchObject({ attributes: { replayVal: { oseq: i } } });
    });
  });

  it('keeps the order when answers come late and backwards', async () => {
    const kernel = new ScriptedKernel(() => undefined);
    await using client = await XfrmClient.open(kernel);
    const batch = client.batch(counters(10));
    const asked = kernel.socket.requests;
    expect(asked).toHaveLength(10);
    for (const { seq } of asked.toReversed()) kernel.socket.deliver(aevent(seq, seq * 10), ack({ seq }));
    const results = await batch;
    expect(
      results.map(({ reply }) => (reply?.kind === 'NEWAE' ? reply.attributes.replayVal?.oseq : undefined)),
    ).toEqual(asked.map(({ seq }) => seq * 10));
  });

  it(`goes out ${BATCH_MESSAGES} messages to a send`, async () => {
    const kernel = new ScriptedKernel();
    await using client = await XfrmClient.open(kernel);
    const results = await client.batch(counters(2 * BATCH_MESSAGES + 1));
    expect(results.every(({ error }) => error === undefined)).toBe(true);
    const each = (kernel.socket.sent[2] as Uint8Array).length;
    expect(kernel.socket.sent.map(({ length }) => length / each)).toEqual([BATCH_MESSAGES, BATCH_MESSAGES, 1]);
  });

  it('never makes a datagram larger than its limit, unless one message is', async () => {
    const kernel = new ScriptedKernel();
    await using client = await XfrmClient.open(kernel);
    const big = (keyBytes: number): Request => ({
      ...flush,
      attributes: { algAead: { name: 'x', keyLen: keyBytes * 8, icvLen: 128, key: new Uint8Array(keyBytes) } },
    });
    await client.batch([60_000, 60_000, 60_000, 10, 60_000, 60_000].map(big));
    expect(kernel.socket.requests).toHaveLength(6);
    expect(kernel.socket.sent).toHaveLength(3);
    expect(Math.max(...kernel.socket.sent.map(({ length }) => length))).toBeLessThanOrEqual(BATCH_BYTES);
  });

  it('starts each message at a multiple of four bytes', async () => {
    const kernel = new ScriptedKernel();
    await using client = await XfrmClient.open(kernel);
    // What a decoded message carries aside may have any length.
    const odd = { ...flush, rest: { tail: new Uint8Array([0, 0, 0, 0, 1]) } } as Request;
    const results = await client.batch([odd, odd, setCounter(1)]);
    expect(results).toEqual([{}, {}, {}]);
    expect(kernel.socket.requests.map(({ kind }) => kind)).toEqual(['FLUSHSA', 'FLUSHSA', 'NEWAE']);
  });

  it('with a request that has no bytes carries out the others, and nothing stays pending', async () => {
    const kernel = new ScriptedKernel();
    await using client = await XfrmClient.open(kernel);
    const wrong = setCounter(-1);
    const nothing = undefined as unknown as Request;
    const results = await client.batch([setCounter(1), wrong, setCounter(2), nothing]);
    expect(results[0]).toEqual({});
    expect(results[1]?.error).toMatchObject({ code: 'ERR_REQUEST', request: 'NEWAE' });
    expect(results[1]?.error?.cause).toBeInstanceOf(EncodeError);
    expect(results[2]).toEqual({});
    expect(results[3]?.error).toMatchObject({ code: 'ERR_REQUEST' });
    expect(kernel.socket.requests).toHaveLength(2);
    await expect(client.request(wrong)).rejects.toBeInstanceOf(EncodeError);
    expect((await client.batch([wrong, wrong])).map(({ error }) => error?.code)).toEqual([
      'ERR_REQUEST',
      'ERR_REQUEST',
    ]);
  });

  it('whose datagram the kernel does not take fails as a whole, with the cause; a later one works', async () => {
    const kernel = new ScriptedKernel();
    await using client = await XfrmClient.open(kernel);
    const cause = new KernelError('ERR_SYSCALL', 'no memory', { errno: 105, syscall: 'sendto' });
    kernel.socket.refuseSends(cause);
    const results = await client.batch([setCounter(1), flush, setCounter(3)]);
    expect(results.map(({ error }) => [error?.code, error?.request, error?.cause])).toEqual([
      ['ERR_SEND', 'NEWAE', cause],
      ['ERR_SEND', 'FLUSHSA', cause],
      ['ERR_SEND', 'NEWAE', cause],
    ]);
    kernel.socket.refuseSends();
    expect(await client.batch([setCounter(1)])).toEqual([{}]);
  });
});

describe('no answer', () => {
  it('within the time allowed fails the request, and a late answer is no answer to another one', async () => {
    let silent = true;
    const kernel = new ScriptedKernel(({ seq }) => (silent ? undefined : [aevent(seq, seq), ack({ seq })]));
    await using client = await XfrmClient.open(kernel, { timeoutMs: 1000 });
    const first = failure(client.getAevent(id));
    await vi.advanceTimersByTimeAsync(999);
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(await first).toMatchObject({ code: 'ERR_TIMEOUT', request: 'GETAE' });
    expect((await first).message).toContain('1000 ms');
    silent = false;
    kernel.socket.deliver(aevent(1, 999), ack({ seq: 1 }));
    expect((await client.getAevent(id))?.attributes.replayVal?.oseq).toBe(2);
  });

  it('to some of a batch fails those alone', async () => {
    const kernel = new ScriptedKernel((request) => (request.seq % 2 === 0 ? undefined : [ack(request)]));
    await using client = await XfrmClient.open(kernel, { timeoutMs: 1000 });
    const batch = client.batch(counters(5));
    await vi.advanceTimersByTimeAsync(1000);
    expect((await batch).map(({ error }) => error?.code)).toEqual([
      undefined,
      'ERR_TIMEOUT',
      undefined,
      'ERR_TIMEOUT',
      undefined,
    ]);
  });

  it('because answers were lost fails what is pending; later requests work', async () => {
    let silent = true;
    const kernel = new ScriptedKernel((request) => (silent ? undefined : [ack(request)]));
    await using client = await XfrmClient.open(kernel);
    const one = failure(client.request(setCounter(1)));
    const many = client.batch(counters(3));
    kernel.socket.overrun();
    expect(await one).toMatchObject({ code: 'ERR_OVERRUN', request: 'NEWAE' });
    expect((await many).map(({ error }) => error?.code)).toEqual(['ERR_OVERRUN', 'ERR_OVERRUN', 'ERR_OVERRUN']);
    silent = false;
    expect(await client.batch(counters(3))).toEqual([{}, {}, {}]);
  });

  it('because the client was closed, before or meanwhile', async () => {
    const kernel = new ScriptedKernel(() => undefined);
    const client = await XfrmClient.open(kernel);
    const pending = failure(client.request(setCounter(1)));
    client.close();
    client.close();
    expect(kernel.socket.closed).toBe(true);
    expect(await pending).toMatchObject({ code: 'ERR_CLOSED', request: 'NEWAE' });
    expect(await failure(client.request(flush))).toMatchObject({ code: 'ERR_CLOSED', request: 'FLUSHSA' });
    expect(await failure(client.dumpSas())).toMatchObject({ code: 'ERR_CLOSED', request: 'GETSA' });
  });

  it('because the socket failed: what is pending and what comes later', async () => {
    const kernel = new ScriptedKernel(() => undefined);
    await using client = await XfrmClient.open(kernel);
    const pending = failure(client.request(setCounter(1)));
    const cause = new Error('gone');
    kernel.socket.fail(cause);
    expect(await pending).toMatchObject({ code: 'ERR_CLOSED', cause });
    expect(await failure(client.request(flush))).toMatchObject({ code: 'ERR_CLOSED', request: 'FLUSHSA' });
  });
});

describe('an answer that cannot be read', () => {
  const header = (length: number, type: number, seq: number, bytes = length): Uint8Array => {
    const datagram = new Uint8Array(bytes);
    const view = new DataView(datagram.buffer);
    view.setUint32(0, length, true);
    view.setUint16(4, type, true);
    view.setUint32(8, seq, true);
    return datagram;
  };

  it.each([
    ['an error without its errno', (seq: number) => header(16, 2, seq)],
    ['an error cut off', (seq: number) => header(32, 2, seq)],
    ['an aevent cut off', (seq: number) => header(40, 0x1e, seq)],
    ['an end of a dump', (seq: number) => header(20, 3, seq)],
    ['a success that is none', (seq: number) => nack({ seq }, 5)],
  ])('fails its request: %s', async (_, answer) => {
    await using client = await XfrmClient.open(new ScriptedKernel(({ seq }) => [answer(seq)]));
    expect(await failure(client.request(setCounter(1)))).toMatchObject({ code: 'ERR_ANSWER', request: 'NEWAE' });
  });

  it.each([
    ['too short for a header', new Uint8Array(7)],
    ['with a length of nothing', header(0, 2, 1, 36)],
    ['longer than what came', header(400, 2, 1, 36)],
    ['of nobody', ack({ seq: 77 })],
    ['empty', new Uint8Array(0)],
  ])('does not disturb the others: a datagram %s', async (_, garbage) => {
    await using client = await XfrmClient.open(new ScriptedKernel((request) => [garbage, ack(request)]));
    expect(await client.batch(counters(3))).toEqual([{}, {}, {}]);
  });
});

describe('sequence numbers', () => {
  it('leave out 0 and what is pending', () => {
    expect(sequenceAfter(1, new Set())).toBe(2);
    expect(sequenceAfter(0xffffffff, new Set())).toBe(1);
    expect(sequenceAfter(0xfffffffe, new Set([0xffffffff, 1, 2, 4]))).toBe(3);
  });

  it('wrap while a request still waits, without 0', async () => {
    const waiting = new Set<number>([0xffffffff]);
    const kernel = new ScriptedKernel((request) => (waiting.has(request.seq) ? undefined : [ack(request)]));
    await using first = await Transport.open(kernel, { firstSeq: 0xffffffff });
    const pending = first.request(setCounter(0));
    expect(await first.batch(counters(3))).toEqual([{}, {}, {}]);
    expect(kernel.socket.requests.map(({ seq }) => seq)).toEqual([0xffffffff, 1, 2, 3]);
    kernel.socket.deliver(ack({ seq: 0xffffffff }));
    expect(await pending).toBeUndefined();
  });

  it('keep answers apart for requests that run at the same time', async () => {
    const kernel = new ScriptedKernel(() => undefined);
    await using client = await XfrmClient.open(kernel);
    const all = Array.from({ length: 100 }, () => client.getAevent(id));
    const seqs = kernel.socket.requests.map(({ seq }) => seq);
    expect(new Set(seqs).size).toBe(100);
    for (const seq of [...seqs].sort((a, b) => (a % 7) - (b % 7)))
      kernel.socket.deliver(aevent(seq, seq), ack({ seq }));
    expect((await Promise.all(all)).map((found) => found?.attributes.replayVal?.oseq)).toEqual(seqs);
  });
});
