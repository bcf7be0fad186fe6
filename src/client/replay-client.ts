import { type Batch, type Kernel, KernelError, type PfkeySocket } from '../kernel/index.ts';
import { EncodeError, hostLittleEndian } from '../netlink/index.ts';
import { type AnyPfkeyMessage, decodePfkey, encodePfkey, type PfkeyExtensions, PfkeyMsg } from '../pfkey/index.ts';
import { AddressFamily, IpProto } from '../xfrm/index.ts';
import type { SaId } from './client.ts';
import { ClientError, kernelRefused } from './errors.ts';
import { openPfkeySocket } from './pfkey.ts';
import { namingExtensions, satypeOfProto } from './pfkey-id.ts';

/** A request of the replay-notification extension (`pfkey/replay-notification.ts`). */
export interface ReplayRequest {
  readonly kind: 'X_REPLAY_GET' | 'X_REPLAY_SET';
  readonly id: SaId;
  /** What is set. */
  readonly extensions?: PfkeyExtensions;
}

export type ReplayResult = { readonly answer: AnyPfkeyMessage } | { readonly error: ClientError };

/** Requests whose answers wait in the receive buffer together. */
const BATCH_MESSAGES = 64;
const TIMEOUT_MS = 5_000;
const RECEIVE_BUFFER_BYTES = 8 << 20;

/** Byte offsets in sadb_msg. */
const Msg = { TYPE: 1, SEQ: 8, PID: 12, SIZE: 16 } as const;

/** The requests of these clients have numbers from here on; those of other PF_KEY clients of this process are below it. */
const SEQ_FIRST = 0x8000_0000;
/** Of all clients of this process. */
let sent = 0;

interface Pending {
  readonly kind: string;
  readonly settle: (result: ReplayResult) => void;
}

/**
 * X_REPLAY_GET and X_REPLAY_SET, many at a time. Answers are told from each other by number; announcements, which reach every PF_KEY socket,
 * are passed over.
 */
export class ReplayClient {
  readonly #socket: PfkeySocket;
  readonly #pending = new Map<number, Pending>();

  private constructor(socket: PfkeySocket) {
    this.#socket = socket;
    socket.receive((batch) => this.#onBatch(batch));
    socket.onOverrun(() =>
      this.#failAll('ERR_OVERRUN', 'answers were lost, though the request may have been carried out'),
    );
    socket.onError((cause) => this.#failAll('ERR_CLOSED', `the socket failed: ${cause.message}`, cause));
  }

  /** @throws KernelError ERR_NO_PFKEY for a kernel without PF_KEY or without the extension, and what `openPfkey` throws */
  static async open(kernel: Kernel): Promise<ReplayClient> {
    const client = new ReplayClient(
      await openPfkeySocket(kernel, { receiveBufferBytes: RECEIVE_BUFFER_BYTES, tellOverruns: true }),
    );
    // There is no such SA, which only a kernel with the extension says.
    const nobody = { daddr: { w0: 0, w1: 0, w2: 0, w3: 0 }, spi: 0, family: AddressFamily.INET, proto: IpProto.ESP };
    const [result] = await client.batch([{ kind: 'X_REPLAY_GET', id: nobody }]);
    if (result !== undefined && 'error' in result && result.error.errno === ESRCH) return client;
    client.close();
    throw new KernelError(
      'ERR_NO_PFKEY',
      `The kernel '${kernel.name}' has no replay notifications over PF_KEY: use netlink`,
    );
  }

  /** Whether the request of this number, as an announcement has it, is one of this process's such clients. */
  isOwn(seq: number, pid: number): boolean {
    return pid === process.pid && seq >= SEQ_FIRST;
  }

  /** Results in the order of the requests; a failure is a result, not an exception. */
  async batch(requests: readonly ReplayRequest[]): Promise<ReplayResult[]> {
    const results = new Array<ReplayResult>(requests.length);
    for (let i = 0; i < requests.length; i += BATCH_MESSAGES)
      await this.#sendSome(requests.slice(i, i + BATCH_MESSAGES), i, results);
    return results;
  }

  async #sendSome(requests: readonly ReplayRequest[], from: number, results: ReplayResult[]): Promise<void> {
    let open = requests.length;
    let whenSettled: (() => void) | undefined;
    const seqs = requests.map((request, i) => {
      const seq = SEQ_FIRST + (sent++ % SEQ_FIRST);
      const settle = (result: ReplayResult): void => {
        results[from + i] = result;
        if (--open === 0) whenSettled?.();
      };
      this.#pending.set(seq, { kind: request.kind, settle });
      this.#send(request, seq);
      return seq;
    });
    if (open === 0) return;
    try {
      this.#socket.drain();
    } catch (cause) {
      this.#failAll('ERR_CLOSED', `sent, but the answer cannot be read: ${(cause as Error).message}`, cause);
    }
    if (open === 0) return;
    await new Promise<void>((resolve) => {
      const late = (): void => {
        for (const seq of seqs) this.#fail(seq, 'ERR_TIMEOUT', `no answer within ${TIMEOUT_MS} ms`);
      };
      const timer = setTimeout(late, TIMEOUT_MS);
      whenSettled = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #send(request: ReplayRequest, seq: number): void {
    let bytes: Uint8Array;
    try {
      bytes = encoded(request, seq);
    } catch (cause) {
      this.#fail(seq, 'ERR_REQUEST', `not sent: ${(cause as Error).message}`, cause);
      return;
    }
    try {
      this.#socket.send(bytes);
    } catch (cause) {
      const isClosed = cause instanceof KernelError && cause.code === 'ERR_CLOSED';
      this.#fail(seq, isClosed ? 'ERR_CLOSED' : 'ERR_SEND', `not sent: ${(cause as Error).message}`, cause);
    }
  }

  close(): void {
    this.#socket.close();
    this.#failAll('ERR_CLOSED', 'the client was closed');
  }

  #onBatch({ buffer, view, offsets, lengths, count }: Batch): void {
    for (let i = 0; i < count; i++) {
      const at = offsets[i] as number;
      const length = lengths[i] as number;
      const type = length < Msg.SIZE ? 0 : view.getUint8(at + Msg.TYPE);
      if (type !== PfkeyMsg.X_REPLAY_GET && type !== PfkeyMsg.X_REPLAY_SET) continue;
      const seq = view.getUint32(at + Msg.SEQ, hostLittleEndian);
      const pending = view.getUint32(at + Msg.PID, hostLittleEndian) === process.pid ? this.#take(seq) : undefined;
      pending?.settle(resultOf(pending.kind, buffer.subarray(at, at + length)));
    }
  }

  #take(seq: number): Pending | undefined {
    const pending = this.#pending.get(seq);
    this.#pending.delete(seq);
    return pending;
  }

  #fail(seq: number, code: ClientError['code'], text: string, cause?: unknown): void {
    const pending = this.#take(seq);
    pending?.settle({ error: new ClientError(code, pending.kind, text, { cause }) });
  }

  #failAll(code: ClientError['code'], text: string, cause?: unknown): void {
    for (const seq of [...this.#pending.keys()]) this.#fail(seq, code, text, cause);
  }
}

const ESRCH = 3;

/** @throws EncodeError for an SA that PF_KEY cannot name, and for values that it cannot say */
function encoded({ kind, id, extensions = {} }: ReplayRequest, seq: number): Uint8Array {
  const satype = satypeOfProto(id.proto);
  if (satype === undefined) throw new EncodeError('id.proto', `is ${id.proto}: PF_KEY has no such SAs`);
  if (id.mark !== undefined) throw new EncodeError('id.mark', 'is there: PF_KEY cannot name an SA that has a mark');
  const header = { errno: 0, satype, seq, pid: process.pid };
  return encodePfkey({ kind, ...header, extensions: { ...namingExtensions(id), ...extensions } });
}

function resultOf(kind: string, bytes: Uint8Array): ReplayResult {
  try {
    const answer = decodePfkey(bytes);
    return answer.errno === 0 ? { answer } : { error: kernelRefused(kind, answer.errno) };
  } catch (cause) {
    return {
      error: new ClientError('ERR_ANSWER', kind, `cannot read the answer: ${(cause as Error).message}`, { cause }),
    };
  }
}
