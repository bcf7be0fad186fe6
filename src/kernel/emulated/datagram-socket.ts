import { KernelError, syscallError } from '../errors.ts';
import type { Batch, PfkeySocket } from '../kernel.ts';
import { Errno } from './errno.ts';
import { checkErrno, countOf, type FaultScope, Faults, type TypeOf } from './faults.ts';
import type { Host } from './host.ts';
import { DatagramQueue } from './queue.ts';

/** net.core.rmem_default; what SO_RCVBUF reads back at least. */
const RECEIVE_BUFFER_DEFAULT = 212_992;
const RECEIVE_BUFFER_MIN = 2304;
/** The send buffer, less what the kernel keeps of it. */
export const DATAGRAM_BYTES_MAX = 212_992 - 32;
/** One turn hands over at most this many batches, then the event loop goes on. */
const BATCHES_PER_TURN_MAX = 16;
/** A drain hands over as much as a dump of some million SAs; only a handler that sends without end could want more. */
const BATCHES_PER_DRAIN_MAX = 1 << 16;

/** How SO_RCVBUF takes a number: doubled, with a minimum. */
export const receiveBufferOf = (wanted: number): number => Math.max(2 * wanted, RECEIVE_BUFFER_MIN);

/**
 * What sockets of the emulated kernel have in common: a queue of datagrams, how they are handed over, and faults. What they promise beyond
 * the door is as with a real one (kernel/linux/socket.ts).
 */
export abstract class DatagramSocket implements PfkeySocket {
  receiveBufferBytes: number;
  /** Messages that were lost to this socket. */
  drops = 0;
  protected readonly host: Host;
  protected queue = new DatagramQueue();
  #spare = new DatagramQueue();
  readonly #typeOf: TypeOf;
  #receiver: ((batch: Batch) => void) | undefined;
  #overrunHandler: (() => void) | undefined;
  #errorHandler: ((error: Error) => void) | undefined;
  #handing = false;
  #scheduled = false;
  #closed = false;
  /** Faults; undefined, false and 0 without any. */
  #losses: Faults<true> | undefined;
  #held = false;
  #sendErrno = 0;
  #sendsRefused = 0;

  /** `typeOf`: the type of a message, as faults name it. */
  constructor(host: Host, receiveBufferBytes: number | undefined, typeOf: TypeOf) {
    this.host = host;
    this.receiveBufferBytes =
      receiveBufferBytes === undefined ? RECEIVE_BUFFER_DEFAULT : receiveBufferOf(receiveBufferBytes);
    this.#typeOf = typeOf;
  }

  /** Carries a datagram out. */
  protected abstract carryOut(datagram: Uint8Array): void;
  /** Leaves all tables; the socket is closed. */
  protected abstract leave(): void;
  /** Whether a dump is under way. */
  protected abstract get isDumping(): boolean;
  /** The dump under way writes on, as far as there is room. */
  protected abstract continueDump(queue: DatagramQueue): void;
  /** The queue has been emptied. */
  protected emptied(_count: number): void {}
  /** Whether an overrun waits to be told, and takes it. */
  protected takeOverrun(): boolean {
    return false;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Datagrams that wait. */
  get waiting(): number {
    return this.queue.count;
  }

  get held(): boolean {
    return this.#held;
  }

  /** SO_RCVBUF. */
  setReceiveBuffer(wanted: number): void {
    this.receiveBufferBytes = receiveBufferOf(wanted);
  }

  send(datagram: Uint8Array): void {
    this.#mustBeOpen('send');
    this.checkDatagram(datagram);
    if (datagram.length > DATAGRAM_BYTES_MAX) {
      throw new KernelError(
        'ERR_TOO_LARGE',
        `Cannot send ${datagram.length} bytes (at most ${DATAGRAM_BYTES_MAX}): send fewer messages in one datagram`,
        { errno: Errno.EMSGSIZE, syscall: 'sendto' },
      );
    }
    const refused = this.refusedSend();
    if (refused !== 0) throw syscallError('sendto', refused, `Cannot send ${datagram.length} bytes`);
    this.carryOut(datagram);
  }

  /** Throws KernelError for what this side would not even send. */
  protected checkDatagram(_datagram: Uint8Array): void {}

  /** The errno of a send that is to fail; 0: it is not. */
  protected refusedSend(): number {
    if (this.#sendsRefused === 0) return 0;
    this.#sendsRefused--;
    return this.#sendErrno;
  }

  receive(handler: ((batch: Batch) => void) | undefined): void {
    this.#mustBeOpen('receive');
    this.#receiver = handler;
    this.schedule();
  }

  drain(): void {
    this.#mustBeOpen('drain');
    for (let i = 0; i < BATCHES_PER_DRAIN_MAX && this.#handOver(); i++);
  }

  onOverrun(handler: () => void): void {
    this.#overrunHandler = handler;
    this.schedule();
  }

  /** An emulated socket fails only when `fail` is called. */
  onError(handler: (error: Error) => void): void {
    this.#errorHandler = handler;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.leave();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /**
   * Loses messages to this socket, without a word and without a trace in `drops`: events, and replies likewise. A netlink dump, once begun,
   * is not struck. @throws KernelError ERR_ARGUMENT
   */
  loseNext(scope: FaultScope = {}): void {
    this.#losses ??= new Faults(this.#typeOf);
    this.#losses.arm(true, scope);
  }

  /** Its owner does not get to read: handlers are not called, and messages pile up until the receive buffer is full. */
  hold(): void {
    this.#held = true;
  }

  /** Ends `hold`: what waits is handed over on the next turn of the event loop. */
  release(): void {
    this.#held = false;
    this.schedule();
  }

  /** The next `count` calls of `send` fail with this errno and nothing is carried out. @throws KernelError ERR_ARGUMENT */
  refuseSends(count = 1, errno: number = Errno.ENOBUFS): void {
    this.#sendErrno = checkErrno(errno);
    this.#sendsRefused = countOf(count);
  }

  /** Ends all of these but an overrun, which cannot be taken back. */
  clearFaults(): void {
    this.#losses = undefined;
    this.#sendsRefused = 0;
    this.release();
  }

  /** A receive fails for good: the socket is closed and its error handler told; without one the error is thrown from a microtask. */
  fail(errno: number = Errno.ENOMEM): void {
    const error = syscallError('recvmmsg', checkErrno(errno), 'Cannot receive from the kernel');
    if (this.#closed) return;
    this.close();
    guarded(() => {
      if (this.#errorHandler === undefined) throw error;
      this.#errorHandler(error);
    });
  }

  /** Everything that can be read now; for readers that want the groups. The batch is valid until the next call. */
  read(): { readonly overrun: boolean; readonly batch: DatagramQueue } {
    const overrun = this.takeOverrun();
    const batch = this.#swap();
    while (this.isDumping) this.continueDump(batch);
    return { overrun, batch };
  }

  /** Whether a test wants this message to be lost. */
  protected isLost(message: Uint8Array, length: number): boolean {
    const losses = this.#losses;
    if (losses === undefined) return false;
    const lost = losses.strike(message.subarray(0, length)) ?? false;
    if (losses.isEmpty) this.#losses = undefined;
    return lost;
  }

  protected schedule(): void {
    if (this.#scheduled || this.#receiver === undefined) return;
    this.#scheduled = true;
    this.host.later(() => {
      this.#scheduled = false;
      for (let i = 0; i < BATCHES_PER_TURN_MAX; i++) if (!this.#handOver()) return;
      this.schedule();
    });
  }

  /** What waits, as a batch; the queue is empty then. */
  #swap(): DatagramQueue {
    const batch = this.queue;
    this.queue = this.#spare;
    this.queue.clear();
    this.#spare = batch;
    this.emptied(batch.count);
    return batch;
  }

  /** Hands over one batch; false if there was nothing to hand over. */
  #handOver(): boolean {
    if (this.#handing || this.#closed || this.#held || this.#receiver === undefined) return false;
    this.#handing = true;
    try {
      if (this.#overrunHandler !== undefined && this.takeOverrun()) {
        guarded(this.#overrunHandler);
        if (this.#closed) return false;
      }
      if (this.queue.count === 0 && !this.isDumping) return false;
      const batch = this.#swap();
      if (this.isDumping) this.continueDump(batch);
      const receiver = this.#receiver;
      guarded(() => receiver(batch));
      return true;
    } finally {
      this.#handing = false;
    }
  }

  #mustBeOpen(call: string): void {
    if (this.#closed) throw new KernelError('ERR_CLOSED', `${call}: this socket is closed: open another one`);
  }
}

/** What a handler throws does not end the socket: it is thrown again from a microtask. */
function guarded(run: () => void): void {
  try {
    run();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
