import { type Batch, type Kernel, KernelError, type PfkeyOpenOptions, type PfkeySocket } from '../kernel/index.ts';
import {
  type AnyPfkeyMessage,
  DecodeError,
  decodePfkey,
  encodePfkey,
  type PfkeyExtensions,
  type PfkeyKind,
  type PfkeyMessage,
  type SadbAlg,
  type Sockaddr,
} from '../pfkey/index.ts';
import { ClientError, kernelRefused } from './errors.ts';

/** A PF_KEY message to the kernel without what the client fills in. */
export interface PfkeyRequest<K extends PfkeyKind = PfkeyKind> {
  readonly kind: K;
  /** `SaType`; left out: of all. */
  readonly satype?: number;
  readonly extensions?: PfkeyExtensions;
}

/** What names an SA in PF_KEY. */
export interface PfkeySaId {
  readonly satype: number;
  readonly spi: number;
  readonly src: Sockaddr;
  readonly dst: Sockaddr;
}

export interface PfkeyOptions {
  /** How long an answer may take, and the pause between two parts of a dump. The kernel answers at once. */
  readonly timeoutMs?: number;
  readonly receiveBufferBytes?: number;
}

const TIMEOUT_MS = 5_000;
const ENOENT = 2;
const ESRCH = 3;

/** Of all clients of this process: the kernel's announcements carry number and process of the request, and reach every socket. */
let lastSeq = 0;

interface Pending {
  readonly kind: PfkeyKind;
  readonly seq: number;
  /** Of a dump: the parts so far. */
  readonly parts: AnyPfkeyMessage[] | undefined;
  readonly settle: (result: AnyPfkeyMessage | ClientError) => void;
  readonly alive: () => void;
}

/** @throws KernelError ERR_NO_PFKEY for a kernel that cannot be reached so, and what `openPfkey` throws */
export async function openPfkeySocket(kernel: Kernel, options: PfkeyOpenOptions = {}): Promise<PfkeySocket> {
  if (kernel.openPfkey === undefined)
    throw new KernelError('ERR_NO_PFKEY', `The kernel '${kernel.name}' has no PF_KEY sockets: use netlink`);
  return kernel.openPfkey(options);
}

/**
 * Requests over PF_KEY and their answers, one at a time. Messages of the kernel that answer nothing are passed over; to hear them use
 * `openPfkeyEvents`.
 */
export class PfkeyClient implements AsyncDisposable {
  readonly #socket: PfkeySocket;
  readonly #timeoutMs: number;
  #pending: Pending | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(socket: PfkeySocket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.receive((batch) => this.#onBatch(batch));
    socket.onOverrun(() =>
      this.#fail('ERR_OVERRUN', 'answers were lost: open the client with a larger receiveBufferBytes'),
    );
    socket.onError((error) => this.#fail('ERR_CLOSED', `the socket failed: ${error.message}`, error));
  }

  static async open(kernel: Kernel, { timeoutMs, receiveBufferBytes }: PfkeyOptions = {}): Promise<PfkeyClient> {
    const options = receiveBufferBytes === undefined ? {} : { receiveBufferBytes };
    return new PfkeyClient(await openPfkeySocket(kernel, options), timeoutMs ?? TIMEOUT_MS);
  }

  /** Carries out one request; its answer. Not for dumps. @throws ClientError, or EncodeError */
  async request<K extends PfkeyKind>(request: PfkeyRequest<K>): Promise<PfkeyMessage<K>> {
    return (await this.#inTurn(request, undefined)) as PfkeyMessage<K>;
  }

  /** One SA with its keys; undefined if there is none. */
  async get({ satype, spi, src, dst }: PfkeySaId): Promise<PfkeyMessage<'GET'> | undefined> {
    const address = (sockaddr: Sockaddr) => ({ proto: 0, prefixlen: sockaddr.family === 2 ? 32 : 128, sockaddr });
    const sa = { spi, replay: 0, state: 0, auth: 0, encrypt: 0, flags: 0 };
    const extensions = { sa, addressSrc: address(src), addressDst: address(dst) };
    try {
      return await this.request({ kind: 'GET', satype, extensions });
    } catch (error) {
      if (error instanceof ClientError && error.errno === ESRCH) return undefined;
      throw error;
    }
  }

  /** The SAs of a type, or all, newest first. AEAD algorithms, ESN, marks and counters of sequence numbers are not in PF_KEY. */
  async dump(satype = 0): Promise<PfkeyMessage<'DUMP'>[]> {
    return (await this.#dump({ kind: 'DUMP', satype })) as PfkeyMessage<'DUMP'>[];
  }

  async dumpPolicies(): Promise<PfkeyMessage<'X_SPDDUMP'>[]> {
    return (await this.#dump({ kind: 'X_SPDDUMP' })) as PfkeyMessage<'X_SPDDUMP'>[];
  }

  /**
   * The algorithms that the kernel has. The socket is registered from then on: the kernel takes this process for a key manager of that
   * type of SA, and asks it for SAs that are wanted.
   */
  async register(satype: number): Promise<{ readonly auth: readonly SadbAlg[]; readonly encrypt: readonly SadbAlg[] }> {
    const { extensions } = await this.request({ kind: 'REGISTER', satype });
    return { auth: extensions.supportedAuth?.algs ?? [], encrypt: extensions.supportedEncrypt?.algs ?? [] };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    this.#fail('ERR_CLOSED', 'the client was closed');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async #dump(request: PfkeyRequest): Promise<AnyPfkeyMessage[]> {
    const parts: AnyPfkeyMessage[] = [];
    try {
      await this.#inTurn(request, parts);
    } catch (error) {
      // Nothing to dump (xfrm_state.c:xfrm_state_walk).
      if (error instanceof ClientError && error.errno === ENOENT && parts.length === 0) return [];
      throw error;
    }
    return parts;
  }

  /** The kernel takes one dump at a time on a socket (EBUSY), and its announcements could pass for answers to several requests. */
  #inTurn(request: PfkeyRequest, parts: AnyPfkeyMessage[] | undefined): Promise<AnyPfkeyMessage> {
    const turn = this.#last.then(() => this.#exchange(request, parts));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #exchange(request: PfkeyRequest, parts: AnyPfkeyMessage[] | undefined): Promise<AnyPfkeyMessage> {
    const { kind, satype = 0, extensions = {} } = request;
    lastSeq = (lastSeq + 1) >>> 0 || 1;
    const seq = lastSeq;
    const bytes = encodePfkey({ kind, errno: 0, satype, seq, pid: process.pid, extensions });
    const result = await new Promise<AnyPfkeyMessage | ClientError>((resolve) => {
      const late = (): void => this.#fail('ERR_TIMEOUT', `no answer within ${this.#timeoutMs} ms`);
      const timer = setTimeout(late, this.#timeoutMs);
      const settle = (settled: AnyPfkeyMessage | ClientError): void => {
        clearTimeout(timer);
        resolve(settled);
      };
      this.#pending = { kind, seq, parts, settle, alive: () => timer.refresh() };
      this.#send(bytes);
    });
    if (result instanceof ClientError) throw result;
    return result;
  }

  #send(bytes: Uint8Array): void {
    try {
      this.#socket.send(bytes);
      this.#socket.drain();
    } catch (cause) {
      const isClosed = cause instanceof KernelError && cause.code === 'ERR_CLOSED';
      this.#fail(isClosed ? 'ERR_CLOSED' : 'ERR_SEND', `not sent: ${(cause as Error).message}`, cause);
    }
  }

  #onBatch({ buffer, offsets, lengths, count }: Batch): void {
    for (let i = 0; i < count; i++) {
      const start = offsets[i] as number;
      // Most of what comes while nothing is asked is of no interest.
      if (this.#pending === undefined) return;
      try {
        this.#onMessage(decodePfkey(buffer.subarray(start, start + (lengths[i] as number))));
      } catch (cause) {
        if (!(cause instanceof DecodeError)) throw cause;
        this.#fail('ERR_ANSWER', `cannot read what came: ${cause.message}`, cause);
      }
    }
  }

  #onMessage(message: AnyPfkeyMessage): void {
    const pending = this.#pending;
    if (pending === undefined || message.kind !== pending.kind || message.pid !== process.pid) return;
    const { kind, parts, settle } = pending;
    // The parts of a dump have numbers of their own: 1, 2, 3, and the last one 0.
    const isPart = parts !== undefined && message.errno === 0;
    if (!isPart && message.seq !== pending.seq) return;
    if (message.errno !== 0) {
      this.#pending = undefined;
      settle(kernelRefused(kind, message.errno));
      return;
    }
    if (parts === undefined) {
      this.#pending = undefined;
      settle(message);
      return;
    }
    parts.push(message);
    if (message.seq === 0) {
      this.#pending = undefined;
      settle(message);
    } else if (message.seq !== parts.length) {
      this.#fail('ERR_OVERRUN', `parts of the dump were lost: part ${message.seq} came as number ${parts.length}`);
    } else pending.alive();
  }

  #fail(
    code: 'ERR_TIMEOUT' | 'ERR_OVERRUN' | 'ERR_CLOSED' | 'ERR_SEND' | 'ERR_ANSWER',
    text: string,
    cause?: unknown,
  ): void {
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.settle(new ClientError(code, pending.kind, text, { cause }));
  }
}
