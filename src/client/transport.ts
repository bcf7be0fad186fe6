import { type Batch, type Kernel, KernelError, type KernelSocket } from '../kernel/index.ts';
import { hostLittleEndian, NLMSG_HDRLEN, NlmsgType } from '../netlink/index.ts';
import { type AnyXfrmMessage, decodeMessage } from '../xfrm/index.ts';
import { ClientError, kernelRefused } from './errors.ts';
import { encodeDump, encodeRequest, type Request, sequenceAfter } from './request.ts';

/** How a request of a batch ended. */
export interface Result {
  readonly reply?: AnyXfrmMessage;
  readonly error?: ClientError;
}

export interface TransportOptions {
  /** How long an answer may take. The kernel answers at once; this bounds what should not happen. */
  readonly timeoutMs?: number;
  readonly receiveBufferBytes?: number;
  /** The number of the first request, else 1. Announcements of what a request has done carry its number. */
  readonly firstSeq?: number;
}

/** Messages in one sendmsg(2): more gains nothing (the answers wait in the receive buffer meanwhile). */
export const BATCH_MESSAGES = 64;
/** Bytes in one sendmsg(2), unless a single message is larger: below any send buffer. */
export const BATCH_BYTES = 128 * 1024;
const TIMEOUT_MS = 5_000;
/** nlmsghdr and nlmsgerr: the least that an acknowledgement has. */
const ACK_BYTES = 36;
/** NLMSG_MIN_TYPE: types below it are netlink's own. */
const FAMILY_TYPE_MIN = 0x10;

interface Pending {
  readonly kind: string;
  readonly settle: (result: Result) => void;
  /** Of a dump alone. */
  readonly parts: PartReceiver | undefined;
  reply: AnyXfrmMessage | undefined;
}

interface PartReceiver {
  part(message: AnyXfrmMessage): void;
  /** A part that cannot be read. The kernel goes on with the dump, and takes no other one on this socket before its end. */
  broken(error: ClientError): void;
}

/**
 * Requests and their answers over one socket, matched by sequence number. The kernel carries a request out inside the send, so a
 * request usually has its answer before `send` returns; nothing relies on it.
 */
export class Transport implements AsyncDisposable {
  readonly #socket: KernelSocket;
  readonly #pending = new Map<number, Pending>();
  readonly #timeoutMs: number;
  #seq: number;
  #closed = false;
  /** A kernel carries out one dump at a time on a socket (af_netlink.c:__netlink_dump_start, EBUSY): dumps queue here. */
  #lastDump: Promise<void> = Promise.resolve();

  private constructor(socket: KernelSocket, timeoutMs: number, seq: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    this.#seq = seq;
    socket.receive((batch) => this.#onBatch(batch));
    socket.onOverrun(() =>
      this.#failAll(
        'ERR_OVERRUN',
        'answers were lost, though the request may have been carried out: open the client with a larger receiveBufferBytes',
      ),
    );
    socket.onError((error) => this.#failAll('ERR_CLOSED', `the socket failed: ${error.message}`, error));
  }

  static async open(kernel: Kernel, options: TransportOptions = {}): Promise<Transport> {
    const { receiveBufferBytes } = options;
    const socket = await kernel.open(receiveBufferBytes === undefined ? {} : { receiveBufferBytes });
    return new Transport(socket, options.timeoutMs ?? TIMEOUT_MS, (options.firstSeq ?? 1) - 1);
  }

  get portId(): number {
    return this.#socket.portId;
  }

  /** Carries out one request; the reply, if it has one. @throws ClientError, or EncodeError if there are no bytes for it */
  async request(request: Request): Promise<AnyXfrmMessage | undefined> {
    const [result] = await this.batch([request]);
    if (result?.error) throw result.error.code === 'ERR_REQUEST' ? result.error.cause : result.error;
    return result?.reply;
  }

  /**
   * Carries out many requests, many in one send. Results come in the order of the requests; failures are results, not exceptions. A
   * request that cannot be encoded or must not be sent (`ERR_REQUEST`) does not hold up the others.
   */
  async batch(requests: readonly Request[]): Promise<Result[]> {
    const results = new Array<Result>(requests.length);
    for (let next = 0; next < requests.length; ) next = await this.#sendSome(requests, next, results);
    return results;
  }

  /** Carries out what goes into one send, from `start` on. Returns where it stopped. */
  async #sendSome(requests: readonly Request[], start: number, results: Result[]): Promise<number> {
    const messages: Uint8Array[] = [];
    const seqs: number[] = [];
    let bytes = 0;
    let settled = 0;
    let whenSettled: (() => void) | undefined;
    let next = start;
    for (; next < requests.length && messages.length < BATCH_MESSAGES; next++) {
      const index = next;
      const request = requests[index] as Request;
      const seq = sequenceAfter(this.#seq, this.#pending);
      let message: Uint8Array;
      try {
        message = encodeRequest(request, seq, this.#socket.portId);
      } catch (error) {
        const text = `not sent: ${textOf(error)}`;
        results[index] = { error: new ClientError('ERR_REQUEST', String(request?.kind), text, { cause: error }) };
        continue;
      }
      const space = align4(message.length);
      if (messages.length > 0 && bytes + space > BATCH_BYTES) break;
      this.#seq = seq;
      messages.push(message);
      seqs.push(seq);
      bytes += space;
      const settle = (result: Result): void => {
        results[index] = result;
        settled++;
        whenSettled?.();
      };
      this.#pending.set(seq, { kind: request.kind, settle, parts: undefined, reply: undefined });
    }
    if (messages.length === 0) return next;
    this.#send(join(messages, bytes), seqs);
    if (settled < messages.length) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(
          () => this.#fail(seqs, 'ERR_TIMEOUT', `no answer within ${this.#timeoutMs} ms`),
          this.#timeoutMs,
        );
        whenSettled = () => {
          if (settled < messages.length) return;
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return next;
  }

  /**
   * Carries out a dump; `onPart` gets each message of it. Dumps of one client run one after the other. What `onPart` throws is thrown
   * here when the dump is over. @throws ClientError, or EncodeError
   */
  dump(request: Request, onPart: (message: AnyXfrmMessage) => void): Promise<void> {
    const dump = this.#lastDump.then(() => this.#dump(request, onPart));
    this.#lastDump = dump.catch(() => undefined);
    return dump;
  }

  async #dump(request: Request, onPart: (message: AnyXfrmMessage) => void): Promise<void> {
    const seq = sequenceAfter(this.#seq, this.#pending);
    const bytes = encodeDump(request, seq);
    this.#seq = seq;
    const faults: unknown[] = [];
    const { error } = await new Promise<Result>((resolve) => {
      const timer = setTimeout(
        () => this.#fail([seq], 'ERR_TIMEOUT', `the dump stalled for ${this.#timeoutMs} ms`),
        this.#timeoutMs,
      );
      const settle = (result: Result): void => {
        clearTimeout(timer);
        resolve(result);
      };
      const parts: PartReceiver = {
        part(message) {
          timer.refresh();
          if (faults.length > 0) return;
          try {
            onPart(message);
          } catch (fault) {
            faults.push(fault);
          }
        },
        broken(fault) {
          timer.refresh();
          if (faults.length === 0) faults.push(fault);
        },
      };
      this.#pending.set(seq, { kind: request.kind, settle, parts, reply: undefined });
      this.#send(bytes, [seq]);
    });
    if (faults.length > 0) throw faults[0];
    if (error) throw error;
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

  #send(datagram: Uint8Array, seqs: readonly number[]): void {
    if (this.#closed) {
      this.#fail(seqs, 'ERR_CLOSED', 'the client is closed: open another one');
      return;
    }
    try {
      this.#socket.send(datagram);
    } catch (cause) {
      const code = cause instanceof KernelError && cause.code === 'ERR_CLOSED' ? 'ERR_CLOSED' : 'ERR_SEND';
      this.#fail(seqs, code, `not sent: ${textOf(cause)}`, cause);
      return;
    }
    try {
      this.#socket.drain();
    } catch (cause) {
      this.#fail(seqs, 'ERR_CLOSED', `sent, but the answer cannot be read: ${textOf(cause)}`, cause);
    }
  }

  #onBatch(batch: Batch): void {
    for (let i = 0; i < batch.count; i++) {
      let at = batch.offsets[i] as number;
      const end = at + (batch.lengths[i] as number);
      while (end - at >= NLMSG_HDRLEN) {
        const length = batch.view.getUint32(at, hostLittleEndian);
        if (length < NLMSG_HDRLEN || length > end - at) break;
        this.#onMessage(batch, at, length);
        at += align4(length);
      }
    }
  }

  #onMessage({ buffer, view }: Batch, at: number, length: number): void {
    const seq = view.getUint32(at + 8, hostLittleEndian);
    const pending = this.#pending.get(seq);
    if (pending === undefined) return; // an answer that came after its deadline
    const type = view.getUint16(at + 4, hostLittleEndian);
    const { kind, parts, reply } = pending;
    // Most answers are plain acknowledgements; those are not decoded.
    if (type === NlmsgType.ERROR && length >= ACK_BYTES && !parts) {
      if (view.getInt32(at + NLMSG_HDRLEN, hostLittleEndian) === 0) {
        this.#pending.delete(seq);
        pending.settle(reply === undefined ? {} : { reply });
        return;
      }
    }
    let message: AnyXfrmMessage;
    try {
      message = decodeMessage(buffer, at);
    } catch (cause) {
      const error = new ClientError('ERR_ANSWER', kind, `cannot read the answer: ${textOf(cause)}`, { cause });
      if (parts && type >= FAMILY_TYPE_MIN) parts.broken(error);
      else this.#take(seq)?.settle({ error });
      return;
    }
    if (message.kind === 'ERROR' || message.kind === 'DONE') {
      this.#take(seq)?.settle(ending(pending, message));
    } else if (parts) {
      parts.part(message);
    } else {
      pending.reply = message;
    }
  }

  #take(seq: number): Pending | undefined {
    const pending = this.#pending.get(seq);
    this.#pending.delete(seq);
    return pending;
  }

  #fail(seqs: Iterable<number>, code: FailureCode, text: string, cause?: unknown): void {
    for (const seq of seqs) {
      const pending = this.#take(seq);
      pending?.settle({ error: new ClientError(code, pending.kind, text, { cause }) });
    }
  }

  #failAll(code: FailureCode, text: string, cause?: unknown): void {
    this.#fail([...this.#pending.keys()], code, text, cause);
  }
}

type FailureCode = 'ERR_TIMEOUT' | 'ERR_OVERRUN' | 'ERR_CLOSED' | 'ERR_SEND';

/** What a message that ends an exchange says: a refusal, the end of a dump, or nothing that such a request is answered with. */
function ending(
  { kind, parts }: Pending,
  message: Extract<AnyXfrmMessage, { readonly kind: 'ERROR' | 'DONE' }>,
): Result {
  const status = message.kind === 'ERROR' ? message.body.error : message.body.status;
  const { msg, offs } = message.attributes;
  if (status < 0) return { error: kernelRefused(kind, -status, msg, offs) };
  if (status === 0 && message.kind === 'DONE' && parts) return {};
  return {
    error: new ClientError('ERR_ANSWER', kind, `answered with ${message.kind} ${status}, which ends nothing here`),
  };
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const align4 = (length: number): number => (length + 3) & ~3;

/** Messages back to back, each at a multiple of 4 bytes (NLMSG_ALIGN). */
function join(messages: readonly Uint8Array[], bytes: number): Uint8Array {
  if (messages.length === 1) return messages[0] as Uint8Array;
  const datagram = new Uint8Array(bytes);
  let o = 0;
  for (const message of messages) {
    datagram.set(message, o);
    o += align4(message.length);
  }
  return datagram;
}
