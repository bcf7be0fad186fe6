/** A kernel whose answers a test writes: at once, late, out of order, never, wrong. It has no XFRM of its own. */
import { type Batch, type Kernel, KernelError, type KernelSocket, type OpenOptions } from '../../src/kernel/index.ts';
import { DecodeError, forEachMessage } from '../../src/netlink/index.ts';
import { type AnyXfrmMessage, decodeMessage, encodeMessage, type XfrmMessage } from '../../src/xfrm/index.ts';

/** What the kernel says to one request: datagrams, in order. None: it stays silent. */
export type Answer = (request: AnyXfrmMessage, socket: ScriptedSocket) => readonly Uint8Array[] | undefined;

/** Datagrams of one batch, as recvmmsg(2) would bring them. */
const BATCH_MAX = 8;

export class ScriptedSocket implements KernelSocket {
  readonly portId = 4711;
  readonly receiveBufferBytes = 1 << 20;
  readonly options: OpenOptions;
  /** Every datagram that was sent, as it was. */
  readonly sent: Uint8Array[] = [];
  readonly #answer: Answer;
  #waiting: Uint8Array[] = [];
  #draining = false;
  #closed = false;
  #sendError: KernelError | undefined;
  #receiver: ((batch: Batch) => void) | undefined;
  #onOverrun: (() => void) | undefined;
  #onError: ((error: Error) => void) | undefined;

  constructor(answer: Answer, options: OpenOptions) {
    this.#answer = answer;
    this.options = options;
  }

  /** The messages of every datagram that was sent. */
  get requests(): AnyXfrmMessage[] {
    return this.sent.flatMap((datagram) => split(datagram).map((bytes) => decodeMessage(bytes)));
  }

  get closed(): boolean {
    return this.#closed;
  }

  send(datagram: Uint8Array): void {
    this.#mustBeOpen();
    if (this.#sendError) throw this.#sendError;
    const copy = datagram.slice();
    this.sent.push(copy);
    for (const bytes of split(copy)) {
      const request = readable(bytes);
      const answers = request === undefined ? [nack({ seq: sequenceOf(bytes) }, -EINVAL)] : this.#answer(request, this);
      for (const answer of answers ?? []) this.#waiting.push(answer);
    }
  }

  receive(handler: (batch: Batch) => void): void {
    this.#receiver = handler;
  }

  drain(): void {
    this.#mustBeOpen();
    if (this.#draining) return;
    this.#draining = true;
    try {
      while (this.#waiting.length > 0) this.#hand(this.#waiting.splice(0, BATCH_MAX));
    } finally {
      this.#draining = false;
    }
  }

  onOverrun(handler: () => void): void {
    this.#onOverrun = handler;
  }

  onError(handler: (error: Error) => void): void {
    this.#onError = handler;
  }

  close(): void {
    this.#closed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** Datagrams that come of themselves, now. */
  deliver(...datagrams: Uint8Array[]): void {
    this.#hand(datagrams);
  }

  /** Messages to this socket were lost: those that wait, and the reader is told. */
  overrun(): void {
    this.#waiting = [];
    this.#onOverrun?.();
  }

  /** The socket ends for good. */
  fail(error: Error): void {
    this.#closed = true;
    this.#onError?.(error);
  }

  /** Every send fails so, until it is called without an error. */
  refuseSends(error?: KernelError): void {
    this.#sendError = error;
  }

  /** One batch in memory that is overwritten as soon as the reader returns. */
  #hand(datagrams: readonly Uint8Array[]): void {
    const buffer = new Uint8Array(datagrams.reduce((sum, { length }) => sum + ((length + 7) & ~7), 0));
    const offsets = new Uint32Array(datagrams.length);
    const lengths = new Uint32Array(datagrams.length);
    let at = 0;
    datagrams.forEach((datagram, i) => {
      buffer.set(datagram, at);
      offsets[i] = at;
      lengths[i] = datagram.length;
      at += (datagram.length + 7) & ~7;
    });
    this.#receiver?.({ buffer, view: new DataView(buffer.buffer), count: datagrams.length, offsets, lengths });
    buffer.fill(0xa5);
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new KernelError('ERR_CLOSED', 'this socket is closed: open another one');
  }
}

export class ScriptedKernel implements Kernel {
  readonly name = 'scripted';
  readonly sockets: ScriptedSocket[] = [];
  readonly #answer: Answer;

  constructor(answer: Answer = (request) => [ack(request)]) {
    this.#answer = answer;
  }

  /** The socket that was opened last. */
  get socket(): ScriptedSocket {
    const socket = this.sockets.at(-1);
    if (socket === undefined) throw new Error('no socket was opened');
    return socket;
  }

  async open(options: OpenOptions = {}): Promise<ScriptedSocket> {
    const socket = new ScriptedSocket(this.#answer, options);
    this.sockets.push(socket);
    return socket;
  }
}

const EINVAL = 22;

const sequenceOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true);

function readable(bytes: Uint8Array): AnyXfrmMessage | undefined {
  try {
    return decodeMessage(bytes);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function split(datagram: Uint8Array): Uint8Array[] {
  const messages: Uint8Array[] = [];
  const end = forEachMessage(datagram, (at, length) => messages.push(datagram.subarray(at, at + length)));
  if (end !== datagram.length) throw new Error(`a datagram of ${datagram.length} bytes whose messages end at ${end}`);
  return messages;
}

const CAPPED = 0x100;
const ACK_TLVS = 0x200;
const MULTI = 2;

export interface Extack {
  readonly msg?: string;
  readonly offs?: number;
}

/** NLMSG_ERROR with a negative `error`, or 0. */
export function nack({ seq }: { readonly seq: number }, error: number, extack: Extack = {}): Uint8Array {
  const flags = CAPPED | (Object.keys(extack).length > 0 ? ACK_TLVS : 0);
  const request = { length: 16, type: 0, flags: 5, seq, pid: 0 };
  const body = { error, request };
  return encodeMessage({ kind: 'ERROR', flags, seq, pid: 4711, body, echo: new Uint8Array(0), attributes: extack });
}

export const ack = (request: { readonly seq: number }): Uint8Array => nack(request, 0);

export function done({ seq }: { readonly seq: number }, status = 0, attributes: Extack = {}): Uint8Array {
  return encodeMessage({ kind: 'DONE', flags: MULTI, seq, pid: 4711, body: { status }, attributes });
}

const noAddress = { w0: 0, w1: 0, w2: 0, w3: 0 };
const saId = { daddr: { ...noAddress, w0: 0x0a000002 }, spi: 0x100, family: 2, proto: 50 };

/** An aevent that can be told from others by its `oseq`. */
export function aevent(seq: number, oseq: number, flags = 0): Uint8Array {
  const message: XfrmMessage<'NEWAE'> = {
    kind: 'NEWAE',
    flags: 0,
    seq,
    pid: 0,
    body: { saId, saddr: noAddress, flags, reqid: 7 },
    attributes: {
      replayVal: { oseq, seq: 0, bitmap: 0 },
      ltimeVal: { bytes: 0n, packets: BigInt(oseq), addTime: 0n, useTime: 0n },
      ...((flags & 1) === 0 ? {} : { replayThresh: 2 }),
      ...((flags & 8) === 0 ? {} : { etimerThresh: 10 }),
    },
  };
  return encodeMessage(message);
}

const noLimits = {
  softByteLimit: 0n,
  hardByteLimit: 0n,
  softPacketLimit: 0n,
  hardPacketLimit: 0n,
  softAddExpiresSeconds: 0n,
  hardAddExpiresSeconds: 0n,
  softUseExpiresSeconds: 0n,
  hardUseExpiresSeconds: 0n,
};

const selector = {
  daddr: noAddress,
  saddr: noAddress,
  dport: 0,
  dportMask: 0,
  sport: 0,
  sportMask: 0,
  family: 2,
  prefixlenD: 0,
  prefixlenS: 0,
  proto: 0,
  ifindex: 0,
  user: 0,
};

/** An SA with this SPI, as a part of a dump. */
export function saPart({ seq }: { readonly seq: number }, spi: number): Uint8Array {
  return encodeMessage({
    kind: 'NEWSA',
    flags: MULTI,
    seq,
    pid: 4711,
    body: {
      sel: selector,
      id: { daddr: saId.daddr, spi, proto: 50 },
      saddr: noAddress,
      lft: noLimits,
      curlft: { bytes: 0n, packets: 0n, addTime: 0n, useTime: 0n },
      stats: { replayWindow: 0, replay: 0, integrityFailed: 0 },
      seq: 0,
      reqid: 7,
      family: 2,
      mode: 1,
      replayWindow: 32,
      flags: 0,
    },
    attributes: {},
  });
}
