/**
 * The door: how everything above reaches a kernel. Bytes in, bytes out, in batches both ways. Whoever holds a `Kernel` cannot tell
 * whether Linux or the emulation answers.
 */

/** Datagrams read in one go. They share one buffer, which is valid only during the call that hands it over. */
export interface Batch {
  readonly buffer: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  /** How many datagrams there are. Entries of `offsets` and `lengths` beyond it are stale. */
  readonly count: number;
  /** Where each datagram starts in `buffer`. */
  readonly offsets: Uint32Array;
  /** How many bytes each datagram has. */
  readonly lengths: Uint32Array;
}

/** An event is charged about 1 KiB: this holds a burst of 100,000 and more, a second or so of a busy gateway. */
const EVENT_RECEIVE_BUFFER_BYTES = 64 << 20;
/** Acknowledgements of some thousand requests, or what the kernel prepares ahead of a dump. */
const REQUEST_RECEIVE_BUFFER_BYTES = 8 << 20;

/** `receiveBufferBytes` of sockets that were opened without it. */
export const defaultReceiveBuffer = (forEvents: boolean): number =>
  forEvents ? EVENT_RECEIVE_BUFFER_BYTES : REQUEST_RECEIVE_BUFFER_BYTES;

export interface OpenOptions {
  /** Multicast groups to join (`XfrmGroup`, 1 to 32). None: a socket for requests. */
  groups?: Iterable<number>;
  /** Receive buffer in bytes, else 64 MiB for events and 8 MiB for requests; forced beyond `rmem_max` where the kernel allows it. */
  receiveBufferBytes?: number;
}

export interface KernelSocket extends AsyncDisposable {
  /** The netlink port id that the kernel gave this socket. */
  readonly portId: number;
  /** What the kernel granted, as SO_RCVBUF reads back. */
  readonly receiveBufferBytes: number;
  /**
   * Sends one datagram of one or more netlink messages, as one sendmsg(2). The kernel carries the requests out before it returns:
   * replies are then waiting. Throws `KernelError`.
   */
  send(datagram: Uint8Array): void;
  /**
   * Whoever is to get the datagrams; one handler, which a further call replaces. Datagrams that wait while there is no handler are kept,
   * as far as the receive buffer goes: `receive(undefined)` holds a socket up whose reader does not keep pace.
   * What the handler throws does not end the socket: it is thrown again from a microtask.
   */
  receive(handler: ((batch: Batch) => void) | undefined): void;
  /**
   * Hands over, before it returns, what is waiting now. Without it the same happens on the next turn of the event loop. Called from
   * inside the handler it does nothing: the batch is still in use. Throws `KernelError` ERR_CLOSED.
   */
  drain(): void;
  /** ENOBUFS: messages to this socket were lost. Called before the datagrams that had arrived earlier are handed over. */
  onOverrun(handler: () => void): void;
  /** A fault that ends the socket, such as a receive that fails for good. */
  onError(handler: (error: Error) => void): void;
  close(): void;
}

/**
 * A PF_KEY socket, which is a KernelSocket but for this: it has no port id (`sadb_msg_pid` says who asked, and the sender chooses it);
 * one `send` takes one message; a datagram is one message; there are no groups: what happens to SAs and policies reaches every socket,
 * ACQUIRE and EXPIRE those that have sent REGISTER. `send` throws ERR_MALFORMED for what the kernel does not take for a message, and
 * answers everything else with a message.
 *
 * Linux does not tell a PF_KEY socket that its receive buffer ran over: its `onOverrun` is never called (but see `PfkeyOpenOptions`). A dump
 * waits for room instead.
 */
export type PfkeySocket = Omit<KernelSocket, 'portId'>;

export interface PfkeyOpenOptions {
  /** Receive buffer in bytes, else 64 MiB; forced beyond `rmem_max` where the kernel allows it. */
  receiveBufferBytes?: number;
  /** Messages that there was no room for are told by `onOverrun`. Linux has no such thing: it refuses (ERR_ARGUMENT). */
  tellOverruns?: boolean;
}

export interface Kernel {
  /** For messages and status: 'linux', 'emulated', 'unix'. */
  readonly name: string;
  /** Another one whenever a kernel starts anew, without its SAs. Absent: that of this machine (/proc/sys/kernel/random/boot_id). */
  readonly bootId?: string;
  open(options?: OpenOptions): Promise<KernelSocket>;
  /**
   * Opens a PF_KEY socket. Absent: this kernel cannot be reached by PF_KEY. Rejects with `KernelError`, ERR_NO_PFKEY where the machine has
   * none and ERR_PERMISSION without CAP_NET_ADMIN.
   */
  openPfkey?(options?: PfkeyOpenOptions): Promise<PfkeySocket>;
}
