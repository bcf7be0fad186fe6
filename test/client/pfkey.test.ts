/** What the PF_KEY client does with answers that come at once, late, in pieces, wrong, or never. The kernel is written by the test. */
import { describe, expect, it } from 'vitest';
import { openPfkeyEvents, PfkeyClient } from '../../src/client/index.ts';
import { type Batch, type Kernel, KernelError, type PfkeySocket } from '../../src/kernel/index.ts';
import {
  type AnyPfkeyMessage,
  decodePfkey,
  encodePfkey,
  type PfkeyKind,
  type PfkeyMessageToBe,
} from '../../src/pfkey/index.ts';

type Answer = (request: AnyPfkeyMessage) => readonly Uint8Array[];

/** A kernel whose answers wait in the socket until it is read, as Linux's do. */
class Script implements PfkeySocket {
  readonly receiveBufferBytes = 1;
  readonly sent: AnyPfkeyMessage[] = [];
  closed = false;
  readonly #answer: Answer;
  #waiting: Uint8Array[] = [];
  #receiver: ((batch: Batch) => void) | undefined;
  overrun: () => void = () => {};
  fail: (error: Error) => void = () => {};

  constructor(answer: Answer) {
    this.#answer = answer;
  }

  send(datagram: Uint8Array): void {
    const request = decodePfkey(datagram.slice());
    this.sent.push(request);
    this.#waiting.push(...this.#answer(request));
  }

  receive(handler: ((batch: Batch) => void) | undefined): void {
    this.#receiver = handler;
  }

  drain(): void {
    for (const datagram of this.#waiting.splice(0)) this.bring(datagram);
  }

  bring(datagram: Uint8Array): void {
    const buffer = Uint8Array.from(datagram);
    const view = new DataView(buffer.buffer);
    this.#receiver?.({ buffer, view, count: 1, offsets: Uint32Array.of(0), lengths: Uint32Array.of(buffer.length) });
  }

  onOverrun(handler: () => void): void {
    this.overrun = handler;
  }

  onError(handler: (error: Error) => void): void {
    this.fail = handler;
  }

  close(): void {
    this.closed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

const kernelOf = (socket: PfkeySocket): Kernel => ({
  name: 'scripted',
  open: () => Promise.reject(new Error('no netlink here')),
  openPfkey: async () => socket,
});

async function opened(answer: Answer, timeoutMs = 1000) {
  const socket = new Script(answer);
  return { socket, client: await PfkeyClient.open(kernelOf(socket), { timeoutMs }) };
}

const message = (kind: PfkeyKind, fields: Partial<Omit<PfkeyMessageToBe, 'kind'>> = {}): Uint8Array =>
  encodePfkey({ kind, errno: 0, satype: 3, seq: 0, pid: process.pid, extensions: {}, ...fields });
const sa = (spi: number) => ({ sa: { spi, replay: 0, state: 1, auth: 0, encrypt: 0, flags: 0 } });
const part = (seq: number, spi: number): Uint8Array => message('DUMP', { seq, extensions: sa(spi) });
const echo = ({ kind, seq }: AnyPfkeyMessage, errno = 0): Uint8Array => message(kind as PfkeyKind, { seq, errno });

describe('a request', () => {
  it('is answered by the message with its kind, number and process', async () => {
    const { client, socket } = await opened((request) => [
      message('ADD', { seq: request.seq + 1 }),
      message('ADD', { seq: request.seq, pid: process.pid + 1 }),
      message('DELETE', { seq: request.seq }),
      message('ADD', { seq: request.seq, extensions: sa(7) }),
      message('ADD', { seq: request.seq, extensions: sa(8) }),
    ]);
    const answer = await client.request({ kind: 'ADD', satype: 3, extensions: sa(7) });
    expect(answer.extensions.sa?.spi).toBe(7);
    expect(socket.sent).toMatchObject([{ kind: 'ADD', satype: 3, errno: 0, pid: process.pid }]);
  });

  it('has a number that no other client of the process uses', async () => {
    const [one, other] = [await opened((request) => [echo(request)]), await opened((request) => [echo(request)])];
    await one.client.request({ kind: 'FLUSH' });
    await other.client.request({ kind: 'FLUSH' });
    await one.client.request({ kind: 'FLUSH' });
    const seqs = [...one.socket.sent, ...other.socket.sent].map(({ seq }) => seq);
    expect(new Set(seqs).size).toBe(3);
  });

  it('that the kernel refuses fails with its errno; GET of nothing is no failure', async () => {
    const { client } = await opened((request) => [echo(request, request.kind === 'GET' ? 3 : 17)]);
    await expect(client.request({ kind: 'ADD' })).rejects.toMatchObject({ code: 'ERR_KERNEL', errno: 17 });
    const end = { family: 2, port: 0, address: { w0: 1, w1: 0, w2: 0, w3: 0 } };
    expect(await client.get({ satype: 3, spi: 1, src: end, dst: end })).toBeUndefined();
  });

  it.each([
    ['nothing comes', () => [], 'ERR_TIMEOUT'],
    ['it cannot be read', () => [new Uint8Array(16)], 'ERR_ANSWER'],
  ] as const)('fails if %s, and the next one is sent nevertheless', async (_, answer, code) => {
    let broken = true;
    const { client } = await opened((request) => (broken ? answer() : [echo(request)]), 20);
    await expect(client.request({ kind: 'FLUSH' })).rejects.toMatchObject({ code });
    broken = false;
    expect(await client.request({ kind: 'FLUSH' })).toMatchObject({ kind: 'FLUSH' });
  });

  it('fails when the socket does, is closed, or runs over', async () => {
    const failed = await opened(() => []);
    const waiting = failed.client.request({ kind: 'FLUSH' });
    await new Promise(setImmediate);
    failed.socket.fail(new Error('gone'));
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_CLOSED' });

    const closed = await opened(() => []);
    const left = closed.client.request({ kind: 'FLUSH' });
    await new Promise(setImmediate);
    closed.client.close();
    await expect(left).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    expect(closed.socket.closed).toBe(true);

    const over = await opened(() => []);
    const lost = over.client.request({ kind: 'FLUSH' });
    await new Promise(setImmediate);
    over.socket.overrun();
    await expect(lost).rejects.toMatchObject({ code: 'ERR_OVERRUN' });
  });

  it('that is not taken fails with the cause', async () => {
    const cause = new KernelError('ERR_MALFORMED', 'no message', { errno: 22 });
    const { client } = await opened(() => {
      throw cause;
    });
    await expect(client.request({ kind: 'X_REPLAY_GET' })).rejects.toMatchObject({ code: 'ERR_SEND', cause });
  });
});

describe('a dump', () => {
  it('is its parts up to number 0, whatever is announced between them', async () => {
    const { client } = await opened(() => [part(1, 10), message('ADD', { seq: 2 }), part(2, 11), part(0, 12)]);
    expect((await client.dump(3)).map(({ extensions }) => extensions.sa?.spi)).toEqual([10, 11, 12]);
  });

  it('may be empty, and is not if the kernel says otherwise', async () => {
    let errno = 2;
    const { client } = await opened((request) => [echo(request, errno)]);
    expect(await client.dump()).toEqual([]);
    expect(await client.dumpPolicies()).toEqual([]);
    errno = 16;
    await expect(client.dump()).rejects.toMatchObject({ code: 'ERR_KERNEL', errno: 16 });
  });

  it('of which a part is missing fails', async () => {
    const { client } = await opened(() => [part(1, 10), part(3, 12), part(0, 13)]);
    await expect(client.dump()).rejects.toMatchObject({ code: 'ERR_OVERRUN' });
  });

  it('waits for the one before it', async () => {
    const { client, socket } = await opened(() => []);
    const [first, second] = [client.dump(), client.dump()];
    await new Promise(setImmediate);
    expect(socket.sent.length).toBe(1);
    socket.bring(part(0, 1));
    expect((await first).length).toBe(1);
    await new Promise(setImmediate);
    expect(socket.sent.length).toBe(2);
    socket.bring(part(0, 2));
    expect((await second)[0]?.extensions.sa?.spi).toBe(2);
  });
});

describe('events', () => {
  it('are what comes, without the answers to REGISTER', async () => {
    const socket = new Script((request) => [echo(request)]);
    await using stream = await openPfkeyEvents(kernelOf(socket), { register: [2, 3] });
    expect(socket.sent.map(({ kind, satype }) => [kind, satype])).toEqual([
      ['REGISTER', 2],
      ['REGISTER', 3],
    ]);
    socket.bring(message('REGISTER', { seq: 5, pid: 1 }));
    socket.bring(message('EXPIRE', { extensions: sa(9) }));
    socket.bring(new Uint8Array(16));
    const events = stream[Symbol.asyncIterator]();
    expect((await events.next()).value).toMatchObject({ type: 'message', message: { kind: 'REGISTER', pid: 1 } });
    expect((await events.next()).value).toMatchObject({ type: 'message', message: { kind: 'EXPIRE' } });
    expect((await events.next()).value).toMatchObject({ type: 'malformed', error: { code: 'ERR_VERSION' } });
  });

  it('are not to be had where the kernel refuses to register', async () => {
    const socket = new Script((request) => [echo(request, 105)]);
    await expect(openPfkeyEvents(kernelOf(socket), { register: [3] })).rejects.toMatchObject({ errno: 105 });
    expect(socket.closed).toBe(true);
  });
});

it('a kernel without PF_KEY says so', async () => {
  const { openPfkey: _, ...kernel } = kernelOf(new Script(() => []));
  await expect(PfkeyClient.open(kernel)).rejects.toMatchObject({ code: 'ERR_NO_PFKEY' });
  await expect(openPfkeyEvents(kernel)).rejects.toMatchObject({ code: 'ERR_NO_PFKEY' });
});
