import { Errno, KernelError, syscallError } from '../errors.ts';
import type { Batch, KernelSocket } from '../kernel.ts';
import { MSG_DONTWAIT, NLMSG_HDRLEN, SADB_MSG_BYTES } from './abi.ts';
import type { Libc, Watch } from './libc.ts';
import type { OpenedSocket } from './open.ts';
import { ReceiveSlots } from './slots.ts';

/** Events: the largest that the kernel makes is below 4 KiB. 64 slots bring as much as more would. */
const EVENT_SLOTS = { count: 64, bytes: 8 << 10 };
/** Replies: the kernel fills the parts of a dump up to 32 KiB when it has once seen a receive buffer of that size (netlink_dump). */
const REQUEST_SLOTS = { count: 8, bytes: 64 << 10 };
/** One wake-up reads at most this many times, then the event loop goes on; readiness is level-triggered and comes again. */
const ROUNDS_PER_WAKEUP_MAX = 16;
/** No datagram is charged less than this against the receive buffer: it bounds how many can be waiting. */
const CHARGED_BYTES_MIN = 512;
/** A request to the kernel is never interrupted half-way; if the call is interrupted before it, it is made again. */
const SEND_ATTEMPTS_MAX = 8;

/** What a socket on the real kernel offers beyond the door. */
export interface LinuxKernelSocket extends KernelSocket {
  /** For diagnostics, and to hand to other programs; -1 when closed. */
  readonly fd: number;
  /** The longest datagram that `send` can pass on, from the send buffer that the kernel granted. */
  readonly datagramBytesMax: number;
  /** Datagrams that came from processes instead of the kernel and were dropped. */
  readonly foreignDatagrams: number;
  /** How often ENOBUFS was reported. */
  readonly overruns: number;
}

/** A PF_KEY socket beyond the door. Nobody but the kernel can send to it. */
export type LinuxPfkeySocket = Omit<LinuxKernelSocket, 'portId' | 'foreignDatagrams'>;

/** What sending means in a protocol. */
export interface SocketProtocol {
  readonly name: string;
  /** A datagram that is shorter is not sent. */
  readonly bytesMin: number;
  /** Why the kernel did not take a datagram of so many bytes. */
  readonly failure: (errno: number, bytes: number, bytesMax: number) => KernelError;
}

export const netlinkProtocol: SocketProtocol = {
  name: 'netlink',
  bytesMin: NLMSG_HDRLEN,
  failure: (errno, bytes, bytesMax) =>
    syscallError('sendto', errno, `Cannot send ${bytes} bytes (at most ${bytesMax})`),
};

/** The kernel answers a message that it does not understand, but refuses to take what is none (af_key.c:pfkey_get_base_msg). */
export const pfkeyProtocol: SocketProtocol = {
  name: 'PF_KEY',
  bytesMin: SADB_MSG_BYTES,
  failure(errno, bytes, bytesMax) {
    const isNoMessage = errno === Errno.EINVAL || (errno === Errno.EMSGSIZE && bytes <= bytesMax);
    if (!isNoMessage) return netlinkProtocol.failure(errno, bytes, bytesMax);
    const text = `Cannot send ${bytes} bytes: the kernel does not take them for a PF_KEY message: send one at a time, of a type that it has`;
    return new KernelError('ERR_MALFORMED', text, { errno, syscall: 'sendto' });
  },
};

/**
 * One NETLINK_XFRM or PF_KEY socket.
 *
 * - While it has a handler it keeps the event loop alive, as a net.Socket does; `close` lets go. Without a handler it does not.
 * - What a handler throws does not reach the socket: it is thrown again from a microtask (`uncaughtException`) and reception goes on.
 * - `drain` called from inside the handler returns at once, as the batch in use may not be overwritten; the drain around it goes on.
 * - A fault closes the socket and goes to the error handler; with none it is thrown from a microtask.
 * - An overrun before there is an overrun handler is kept for it.
 */
export class LinuxSocket implements LinuxKernelSocket {
  readonly portId: number;
  readonly receiveBufferBytes: number;
  readonly datagramBytesMax: number;
  readonly #libc: Libc;
  readonly #slots: ReceiveSlots;
  readonly #acceptUserSpaceSenders: boolean;
  readonly #protocol: SocketProtocol;
  readonly #roundsPerDrainMax: number;
  #fd: number;
  #watch: Watch | undefined;
  #draining = false;
  #overruns = 0;
  #overrunUntold = false;
  #receiver: ((batch: Batch) => void) | undefined;
  #overrunHandler: (() => void) | undefined;
  #errorHandler: ((error: Error) => void) | undefined;

  constructor(libc: Libc, opened: OpenedSocket, acceptUserSpaceSenders: boolean, protocol = netlinkProtocol) {
    this.#protocol = protocol;
    this.#libc = libc;
    this.#fd = opened.fd;
    this.#acceptUserSpaceSenders = acceptUserSpaceSenders;
    this.portId = opened.portId;
    this.receiveBufferBytes = opened.receiveBufferBytes;
    this.datagramBytesMax = opened.datagramBytesMax;
    this.#slots = new ReceiveSlots(libc, opened.forEvents ? EVENT_SLOTS : REQUEST_SLOTS);
    this.#roundsPerDrainMax = 1 + Math.ceil(opened.receiveBufferBytes / (CHARGED_BYTES_MIN * this.#slots.sizes.count));
  }

  get fd(): number {
    return this.#fd;
  }

  get foreignDatagrams(): number {
    return this.#slots.foreignDatagrams;
  }

  get overruns(): number {
    return this.#overruns;
  }

  /**
   * The kernel takes a datagram as a whole or not at all, and never makes a sender to it wait. EINTR is tried again. EAGAIN, ENOBUFS and
   * ENOMEM are thrown (ERR_SYSCALL): nothing was carried out, and the caller may send the same datagram again. Replies that find no room in
   * the receive buffer are no failure of `send`: the requests were carried out, and the overrun handler is told.
   */
  send(datagram: Uint8Array): void {
    this.#mustBeOpen('send');
    if (datagram.length < this.#protocol.bytesMin) {
      throw new KernelError(
        'ERR_ARGUMENT',
        `A datagram of ${datagram.length} bytes has no ${this.#protocol.name} header: no answer would come`,
      );
    }
    let errno: number = Errno.EINTR;
    for (let attempt = 0; attempt < SEND_ATTEMPTS_MAX && errno === Errno.EINTR; attempt++) {
      // Without an address the datagram goes to the kernel.
      if (this.#libc.sendto(this.#fd, datagram, datagram.length, MSG_DONTWAIT, null, 0) >= 0) return;
      errno = this.#libc.errno();
    }
    throw this.#protocol.failure(errno, datagram.length, this.datagramBytesMax);
  }

  receive(handler: ((batch: Batch) => void) | undefined): void {
    this.#mustBeOpen('receive');
    this.#receiver = handler;
    if (handler !== undefined) {
      this.#watch ??= this.#libc.watch(this.#fd, this.#ready);
      return;
    }
    // A descriptor that is watched and not read would wake the event loop without end.
    this.#watch?.close();
    this.#watch = undefined;
  }

  drain(): void {
    this.#mustBeOpen('drain');
    this.#read(this.#roundsPerDrainMax);
  }

  onOverrun(handler: () => void): void {
    this.#overrunHandler = handler;
    if (this.#overrunUntold) queueMicrotask(() => this.#tellOverrun());
  }

  onError(handler: (error: Error) => void): void {
    this.#errorHandler = handler;
  }

  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    this.#watch?.close();
    this.#watch = undefined;
    this.#libc.close(fd);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** Nothing may be thrown from here, or koffi never calls again. */
  readonly #ready = (status: number): void => {
    try {
      this.#read(ROUNDS_PER_WAKEUP_MAX);
      // An overrun shows as POLLERR, upon which libuv stops watching (uv__poll_io). The read above has cleared the error.
      if (status < 0) this.#watch?.restart();
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  };

  #read(roundsMax: number): void {
    if (this.#draining) return;
    this.#draining = true;
    try {
      for (let round = 0; round < roundsMax && this.#receiver !== undefined && this.#readOnce(); round++);
    } finally {
      this.#draining = false;
    }
  }

  /** One recvmmsg(2) and its batch. False: nothing more is waiting, or the socket is closed. */
  #readOnce(): boolean {
    const slots = this.#slots;
    const read = slots.receive(this.#fd, this.#acceptUserSpaceSenders);
    if (read < 0) return this.#readFailed(this.#libc.errno());
    if (slots.batch.count > 0) {
      try {
        this.#receiver?.(slots.batch);
      } catch (error) {
        throwLater(error);
      }
    }
    if (this.#fd < 0) return false;
    if (slots.truncatedBytes > 0) {
      this.#fail(
        new KernelError(
          'ERR_TRUNCATED',
          `A ${this.#protocol.name} datagram of ${slots.truncatedBytes} bytes did not fit into ${slots.sizes.bytes}: its end is lost; open the socket again and resynchronise`,
        ),
      );
      return false;
    }
    return read === slots.sizes.count;
  }

  #readFailed(errno: number): boolean {
    switch (errno) {
      case Errno.EAGAIN:
        return false;
      case Errno.EINTR:
        return true;
      case Errno.ENOBUFS:
        // netlink_overrun: reported once, ahead of what is queued; until the queue is empty the kernel drops all further events.
        this.#overruns++;
        this.#overrunUntold = true;
        this.#tellOverrun();
        return this.#fd >= 0;
      default:
        this.#fail(syscallError('recvmmsg', errno, 'Cannot receive from the kernel'));
        return false;
    }
  }

  #tellOverrun(): void {
    if (!this.#overrunUntold || this.#overrunHandler === undefined) return;
    this.#overrunUntold = false;
    try {
      this.#overrunHandler();
    } catch (error) {
      throwLater(error);
    }
  }

  #fail(fault: Error): void {
    this.close();
    if (this.#errorHandler === undefined) {
      throwLater(fault);
      return;
    }
    try {
      this.#errorHandler(fault);
    } catch (error) {
      throwLater(error);
    }
  }

  #mustBeOpen(call: string): void {
    if (this.#fd < 0) throw new KernelError('ERR_CLOSED', `${call}: this socket is closed: open another one`);
  }
}

function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
