import type { Batch, Kernel, KernelSocket } from '../kernel/index.ts';
import { DecodeError, hostLittleEndian, NLMSG_HDRLEN, NlmF, NlmsgType } from '../netlink/index.ts';
import { type AnyXfrmMessage, decodeMessage, encodeMessage, type XfrmKind, type XfrmMessage } from '../xfrm/index.ts';
import { ClientError, kernelRefused } from './errors.ts';

/** A message to the kernel without what the transport fills in. */
export type Request<K extends XfrmKind = XfrmKind> = K extends XfrmKind
  ? Pick<XfrmMessage<K>, 'kind' | 'body' | 'attributes'> & { flags?: number }
  : never;

/** How a request of a batch ended. */
export interface Result {
  readonly reply?: AnyXfrmMessage;
  readonly error?: ClientError;
}

export interface TransportOptions {
  /** How long an answer may take. The kernel answers at once; this bounds what should not happen. */
  readonly timeoutMs?: number;
  readonly receiveBufferBytes?: number;
}

/** Messages in one sendmsg(2): more gains nothing (the answers wait in the receive buffer meanwhile). */
const BATCH_MESSAGES = 64;
/** Bytes in one sendmsg(2): below any send buffer. */
const BATCH_BYTES = 128 * 1024;
const TIMEOUT_MS = 5_000;

interface Pending {
  readonly kind: string;
  readonly settle: (result: Result) => void;
  readonly onPart: ((message: AnyXfrmMessage) => void) | undefined;
  reply: AnyXfrmMessage | undefined;
}

/**
 * Requests and their answers over one socket, matched by sequence number. The kernel carries a request out inside the send, so a
 * request usually has its answer before `send` returns; nothing relies on it.
 */
export class Transport implements AsyncDisposable {
  readonly #socket: KernelSocket;
  readonly #pending = new Map<number, Pending>();
  readonly #timeoutMs: number;
  #seq = 0;
  #closed = false;

  private constructor(socket: KernelSocket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.receive((batch) => this.#onBatch(batch));
    socket.onOverrun(() => this.#failAll('ERR_OVERRUN', 'answers were lost, the receive buffer is too small'));
    socket.onError((error) => this.#failAll('ERR_CLOSED', `the socket failed: ${error.message}`));
  }

  static async open(kernel: Kernel, options: TransportOptions = {}): Promise<Transport> {
    const { receiveBufferBytes } = options;
    const socket = await kernel.open(receiveBufferBytes === undefined ? {} : { receiveBufferBytes });
    return new Transport(socket, options.timeoutMs ?? TIMEOUT_MS);
  }

  get portId(): number {
    return this.#socket.portId;
  }

  /** Carries out one request; the reply, if it has one. @throws ClientError */
  async request(request: Request): Promise<AnyXfrmMessage | undefined> {
    const [result] = await this.batch([request]);
    if (result?.error) throw result.error;
    return result?.reply;
  }

  /** Carries out many requests, many in one send. Results come in the order of the requests; failures are results, not exceptions. */
  async batch(requests: readonly Request[]): Promise<Result[]> {
    const results = new Array<Result>(requests.length);
    for (let start = 0; start < requests.length; ) {
      const chunk: Uint8Array[] = [];
      const seqs: number[] = [];
      let bytes = 0;
      let settled = 0;
      let whenSettled: (() => void) | undefined;
      for (let i = start; i < requests.length && chunk.length < BATCH_MESSAGES && bytes < BATCH_BYTES; i++) {
        const request = requests[i] as Request;
        const seq = this.#nextSeq();
        const message = encodeMessage({
          ...request,
          flags: (request.flags ?? 0) | NlmF.REQUEST | NlmF.ACK,
          seq,
          pid: 0,
        } as AnyXfrmMessage);
        chunk.push(message);
        seqs.push(seq);
        bytes += message.length;
        const settle = (result: Result): void => {
          results[i] = result;
          settled++;
          whenSettled?.();
        };
        this.#pending.set(seq, { kind: request.kind, settle, onPart: undefined, reply: undefined });
      }
      this.#send(join(chunk, bytes), seqs);
      if (settled < chunk.length) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(
            () => this.#fail(seqs, 'ERR_TIMEOUT', `no answer within ${this.#timeoutMs} ms`),
            this.#timeoutMs,
          );
          whenSettled = () => {
            if (settled < chunk.length) return;
            clearTimeout(timer);
            resolve();
          };
          whenSettled();
        });
      }
      start += chunk.length;
    }
    return results;
  }

  /** Carries out a dump; `onPart` gets each message of it. @throws ClientError */
  async dump(request: Request, onPart: (message: AnyXfrmMessage) => void): Promise<void> {
    const seq = this.#nextSeq();
    const flags = (request.flags ?? 0) | NlmF.REQUEST | NlmF.DUMP;
    const bytes = encodeMessage({ ...request, flags, seq, pid: 0 } as AnyXfrmMessage);
    const result = await new Promise<Result>((resolve) => {
      const timer = setTimeout(
        () => this.#fail([seq], 'ERR_TIMEOUT', `the dump stalled for ${this.#timeoutMs} ms`),
        this.#timeoutMs,
      );
      const settle = (result: Result): void => {
        clearTimeout(timer);
        resolve(result);
      };
      const part = (message: AnyXfrmMessage): void => {
        timer.refresh();
        onPart(message);
      };
      this.#pending.set(seq, { kind: request.kind, settle, onPart: part, reply: undefined });
      this.#send(bytes, [seq]);
    });
    if (result.error) throw result.error;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    this.#failAll('ERR_CLOSED', 'the client was closed');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #nextSeq(): number {
    this.#seq = (this.#seq + 1) >>> 0 || 1;
    return this.#seq;
  }

  #send(datagram: Uint8Array, seqs: readonly number[]): void {
    if (this.#closed) {
      this.#fail(seqs, 'ERR_CLOSED', 'the client is closed');
      return;
    }
    try {
      this.#socket.send(datagram);
      this.#socket.drain();
    } catch (error) {
      for (const seq of seqs) this.#take(seq)?.settle({ error: asClientError(error) });
    }
  }

  #onBatch(batch: Batch): void {
    for (let i = 0; i < batch.count; i++) {
      let at = batch.offsets[i] as number;
      const end = at + (batch.lengths[i] as number);
      while (end - at >= NLMSG_HDRLEN) {
        const length = batch.view.getUint32(at, hostLittleEndian);
        if (length < NLMSG_HDRLEN || length > end - at) break;
        this.#onMessage(batch, at);
        at += (length + 3) & ~3;
      }
    }
  }

  #onMessage({ buffer, view }: Batch, at: number): void {
    const seq = view.getUint32(at + 8, hostLittleEndian);
    const pending = this.#pending.get(seq);
    if (pending === undefined) return; // an answer that came after its deadline
    const type = view.getUint16(at + 4, hostLittleEndian);
    // Most answers are plain acknowledgements; those are not decoded.
    if (type === NlmsgType.ERROR && view.getInt32(at + NLMSG_HDRLEN, hostLittleEndian) === 0) {
      this.#pending.delete(seq);
      pending.settle(pending.reply === undefined ? {} : { reply: pending.reply });
      return;
    }
    let message: AnyXfrmMessage;
    try {
      message = decodeMessage(buffer, at);
    } catch (cause) {
      const text = cause instanceof DecodeError ? cause.message : String(cause);
      this.#take(seq)?.settle({
        error: new ClientError('ERR_ANSWER', pending.kind, `cannot read the answer: ${text}`, { cause }),
      });
      return;
    }
    if (message.kind === 'ERROR' || message.kind === 'DONE') {
      const errno = -(message.kind === 'ERROR' ? message.body.error : message.body.status);
      const { msg, offs } = message.attributes;
      this.#take(seq)?.settle(errno > 0 ? { error: kernelRefused(pending.kind, errno, msg, offs) } : {});
    } else if (pending.onPart) {
      pending.onPart(message);
    } else {
      pending.reply = message;
    }
  }

  #take(seq: number): Pending | undefined {
    const pending = this.#pending.get(seq);
    this.#pending.delete(seq);
    return pending;
  }

  #fail(seqs: Iterable<number>, code: 'ERR_TIMEOUT' | 'ERR_OVERRUN' | 'ERR_CLOSED', text: string): void {
    for (const seq of seqs) {
      const pending = this.#take(seq);
      pending?.settle({ error: new ClientError(code, pending.kind, text) });
    }
  }

  #failAll(code: 'ERR_OVERRUN' | 'ERR_CLOSED', text: string): void {
    this.#fail([...this.#pending.keys()], code, text);
  }
}

function asClientError(error: unknown): ClientError {
  const cause = error as Error;
  return new ClientError('ERR_CLOSED', 'send', cause.message, { cause });
}

/** Messages back to back; each encoded message is a multiple of 4 bytes or the last one. */
function join(messages: readonly Uint8Array[], bytes: number): Uint8Array {
  if (messages.length === 1) return messages[0] as Uint8Array;
  const datagram = new Uint8Array(bytes);
  let o = 0;
  for (const message of messages) {
    datagram.set(message, o);
    o += message.length;
  }
  return datagram;
}
