import { KernelError, syscallError } from '../errors.ts';
import type { Batch, KernelSocket } from '../kernel.ts';
import { writeAck } from './ack.ts';
import { listenForAevents } from './aevent.ts';
import { type Receiver, receive as receiveDatagram } from './dispatch.ts';
import { type Dump, startDump } from './dump.ts';
import { Errno } from './errno.ts';
import { checkErrno, countOf, type FaultScope, Faults } from './faults.ts';
import { GROUP_MAX } from './host.ts';
import type { Listener, Namespace } from './namespace.ts';
import { chargeOfDump, chargeOfPage, DatagramQueue, truesizeOf } from './queue.ts';
import { Request, type Requester } from './request.ts';

/** net.core.rmem_default; what SO_RCVBUF reads back at least; send buffer, less what the kernel keeps of it. */
const RECEIVE_BUFFER_DEFAULT = 212_992;
const RECEIVE_BUFFER_MIN = 2304;
const DATAGRAM_BYTES_MAX = 212_992 - 32;
const NLMSG_HDRLEN = 16;
/** Room in a datagram of a dump: before the reader has shown the size of its buffer, and at most (netlink_dump). */
const DUMP_ROOM_FIRST = 3776;
const DUMP_ROOM_MAX = 32_448;
/** One turn hands over at most this many batches, then the event loop goes on. */
const BATCHES_PER_TURN_MAX = 16;
/** A drain hands over as much as a dump of some million SAs; only a handler that sends without end could want more. */
const BATCHES_PER_DRAIN_MAX = 1 << 16;

/** Options of SOL_NETLINK that a socket of the door does not name. */
export interface NetlinkOptions {
  /** NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_NO_ENOBUFS. */
  capAck: boolean;
  extAck: boolean;
  noEnobufs: boolean;
}

export interface SocketFacts {
  readonly portId: number;
  readonly groups: number;
  readonly receiveBufferBytes: number | undefined;
  /** Opened with CAP_NET_ADMIN. */
  readonly privileged: boolean;
}

/** A socket as it stands. */
export interface SocketSnapshot {
  readonly portId: number;
  /** Multicast groups (`XfrmGroup`). */
  readonly groups: readonly number[];
  readonly receiveBufferBytes: number;
  /** Datagrams that wait, and what the kernel charges them against the receive buffer. */
  readonly waiting: number;
  readonly chargedBytes: number;
  /** Messages lost so far for want of room or of memory. */
  readonly drops: number;
  /** Loses everything until what waits has been read. */
  readonly congested: boolean;
  /** ENOBUFS waits to be read. */
  readonly overrun: boolean;
  /** A dump is under way. */
  readonly dumping: boolean;
  /** By `hold`. */
  readonly held: boolean;
}

/** How SO_RCVBUF takes a number: doubled, with a minimum. */
export const receiveBufferOf = (wanted: number): number => Math.max(2 * wanted, RECEIVE_BUFFER_MIN);

/** One NETLINK_XFRM socket of the emulated kernel; what it promises beyond the door is as with a real one (kernel/linux/socket.ts). */
export class EmulatedSocket implements KernelSocket, Listener, Requester, Receiver {
  readonly portId: number;
  readonly options: NetlinkOptions = { capAck: false, extAck: false, noEnobufs: false };
  receiveBufferBytes: number;
  groups = 0;
  /** Messages that were lost to this socket. */
  drops = 0;
  privileged: boolean;
  readonly #ns: Namespace;
  readonly #request: Request;
  #queue = new DatagramQueue();
  #spare = new DatagramQueue();
  /** Drops everything until the queue has been emptied (NETLINK_S_CONGESTED). */
  #congested = false;
  /** ENOBUFS waits to be read. */
  #overrun = false;
  #dump: Dump | undefined;
  #dumpRoom = DUMP_ROOM_FIRST;
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

  constructor(ns: Namespace, facts: SocketFacts) {
    this.#ns = ns;
    this.portId = facts.portId;
    this.privileged = facts.privileged;
    this.receiveBufferBytes =
      facts.receiveBufferBytes === undefined ? RECEIVE_BUFFER_DEFAULT : receiveBufferOf(facts.receiveBufferBytes);
    this.#request = new Request(ns, this);
    ns.sockets.set(this.portId, this);
    this.setGroups(facts.groups);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Sets the memberships, bit n-1 for group n, and the machine's mask of listeners with them. */
  setGroups(groups: number): void {
    const { host, members } = this.#ns;
    for (let group = 1; group <= GROUP_MAX; group++) {
      const bit = 1 << (group - 1);
      const change = Number((groups & bit) !== 0) - Number((this.groups & bit) !== 0);
      host.listeners[group] = (host.listeners[group] as number) + change;
    }
    listenForAevents(host);
    this.groups = groups >>> 0;
    if (this.groups === 0) members.delete(this);
    else members.add(this);
  }

  /** SO_RCVBUF. */
  setReceiveBuffer(wanted: number): void {
    this.receiveBufferBytes = receiveBufferOf(wanted);
  }

  send(datagram: Uint8Array): void {
    this.#mustBeOpen('send');
    if (datagram.length < NLMSG_HDRLEN) {
      throw new KernelError(
        'ERR_ARGUMENT',
        `A datagram of ${datagram.length} bytes has no netlink header: the kernel would drop it unanswered`,
      );
    }
    if (datagram.length > DATAGRAM_BYTES_MAX) {
      throw new KernelError(
        'ERR_TOO_LARGE',
        `Cannot send ${datagram.length} bytes (at most ${DATAGRAM_BYTES_MAX}): send fewer messages in one datagram`,
        { errno: Errno.EMSGSIZE, syscall: 'sendto' },
      );
    }
    const refused = this.#refusedSend();
    if (refused !== 0) throw syscallError('sendto', refused, `Cannot send ${datagram.length} bytes`);
    receiveDatagram(this.#request, datagram, this);
  }

  #refusedSend(): number {
    if (this.#sendsRefused === 0) return 0;
    this.#sendsRefused--;
    return this.#sendErrno;
  }

  /**
   * As `send`, of a thread with or without CAP_NET_ADMIN, with the errno of a real send as its result. Where no address is named, who
   * opened the socket must have had the right, too.
   */
  sendAs(datagram: Uint8Array, sender: { readonly privileged: boolean; readonly addressed: boolean }): number {
    if (datagram.length === 0) return Errno.ENODATA;
    if (datagram.length > DATAGRAM_BYTES_MAX) return Errno.EMSGSIZE;
    const refused = this.#refusedSend();
    if (refused !== 0) return refused;
    const before = this.privileged;
    this.privileged = sender.privileged && (sender.addressed || before);
    try {
      receiveDatagram(this.#request, datagram, this);
    } finally {
      this.privileged = before;
    }
    return 0;
  }

  receive(handler: ((batch: Batch) => void) | undefined): void {
    this.#mustBeOpen('receive');
    this.#receiver = handler;
    this.#schedule();
  }

  drain(): void {
    this.#mustBeOpen('drain');
    for (let i = 0; i < BATCHES_PER_DRAIN_MAX && this.#handOver(); i++);
  }

  onOverrun(handler: () => void): void {
    this.#overrunHandler = handler;
    this.#schedule();
  }

  /** An emulated socket fails only when `fail` is called. */
  onError(handler: (error: Error) => void): void {
    this.#errorHandler = handler;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#dump?.end();
    this.#dump = undefined;
    this.setGroups(0);
    this.#ns.sockets.delete(this.portId);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /**
   * Loses messages to this socket, without a word and without a trace in `drops`: events, and replies likewise. A dump, once begun, is not
   * struck. @throws KernelError ERR_ARGUMENT
   */
  loseNext(scope: FaultScope = {}): void {
    this.#losses ??= new Faults();
    this.#losses.arm(true, scope);
  }

  /**
   * One message is lost, and the kernel says so: as if one had come that did not fit. Until what waits has been read everything else is
   * lost too.
   */
  overrun(): void {
    if (!this.#closed) this.#lost();
  }

  /** Its owner does not get to read: handlers are not called, and messages pile up until the receive buffer is full. */
  hold(): void {
    this.#held = true;
  }

  /** Ends `hold`: what waits is handed over on the next turn of the event loop. */
  release(): void {
    this.#held = false;
    this.#schedule();
  }

  /** The next `count` calls of `send` fail with this errno and nothing is carried out. @throws KernelError ERR_ARGUMENT */
  refuseSends(count = 1, errno: number = Errno.ENOBUFS): void {
    this.#sendErrno = checkErrno(errno);
    this.#sendsRefused = countOf(count);
  }

  /** Ends all of these but `overrun`, which cannot be taken back. */
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
    const overrun = this.#overrun;
    this.#overrun = false;
    const batch = this.#swap();
    while (this.#dump !== undefined) this.#fillDump(batch);
    return { overrun, batch };
  }

  /** Datagrams that wait. */
  get waiting(): number {
    return this.#queue.count;
  }

  snapshot(): SocketSnapshot {
    const { portId, receiveBufferBytes, drops } = this;
    const groups = Array.from({ length: GROUP_MAX }, (_, i) => i + 1);
    return {
      portId,
      groups: groups.filter((group) => (this.groups & (1 << (group - 1))) !== 0),
      receiveBufferBytes,
      waiting: this.#queue.count,
      chargedBytes: this.#queue.charged,
      drops,
      congested: this.#congested,
      overrun: this.#overrun,
      dumping: this.#dump !== undefined,
      held: this.#held,
    };
  }

  deliver(bytes: Uint8Array, length: number, group: number): void {
    this.#enqueue(bytes, length, group, truesizeOf(length, this.#ns.host.profile.smallHead));
  }

  #enqueue(bytes: Uint8Array, length: number, group: number, charge: number): void {
    if (this.#losses !== undefined && this.#isLost(bytes.subarray(0, length))) return;
    const { charged } = this.#queue;
    const fits = charged === 0 || charged + charge <= this.receiveBufferBytes;
    if (this.#congested || !fits) {
      this.#lost();
      return;
    }
    this.#queue.enqueue(bytes, length, group, charge);
    this.#schedule();
  }

  #isLost(message: Uint8Array): boolean {
    const losses = this.#losses as Faults<true>;
    const lost = losses.strike(message) ?? false;
    if (losses.isEmpty) this.#losses = undefined;
    return lost;
  }

  reply(): void {
    const { writer } = this.#ns.host;
    this.deliver(writer.bytes, writer.at, 0);
  }

  replyOfPage(): void {
    const { writer } = this.#ns.host;
    this.#enqueue(writer.bytes, writer.at, 0, chargeOfPage(writer.at));
  }

  acknowledge(r: Request, errno: number): void {
    writeAck(r, errno, { portId: this.portId, capAck: this.options.capAck, extAck: this.options.extAck });
    this.reply();
  }

  dump(r: Request): number {
    if (this.#dump !== undefined) return Errno.EBUSY;
    const { bytes, view, at, length, type, seq } = r;
    const extAck = this.options.extAck;
    this.#dump = startDump({ ns: this.#ns, portId: this.portId, extAck, bytes, view, at, length, type, seq });
    this.#fillDump(this.#queue);
    this.#schedule();
    return 0;
  }

  /** The next datagram of the dump under way; it goes on only where there is room. */
  #fillDump(queue: DatagramQueue): void {
    const { writer } = this.#ns.host;
    const room = this.#dumpRoom;
    const isLast = this.#dump?.next(room) ?? true;
    queue.enqueue(writer.bytes, writer.at, 0, chargeOfDump(room));
    if (!isLast) return;
    this.#dump?.end();
    this.#dump = undefined;
  }

  /** netlink_overrun: told once, until the queue has been emptied. */
  #lost(): void {
    this.drops++;
    if (this.options.noEnobufs || this.#congested) return;
    this.#congested = true;
    this.#overrun = true;
    this.#schedule();
  }

  /** What waits, as a batch; the queue is empty then. */
  #swap(): DatagramQueue {
    const batch = this.#queue;
    this.#queue = this.#spare;
    this.#queue.clear();
    this.#spare = batch;
    this.#congested = false;
    if (batch.count > 0) this.#dumpRoom = DUMP_ROOM_MAX;
    return batch;
  }

  #schedule(): void {
    if (this.#scheduled || this.#receiver === undefined) return;
    this.#scheduled = true;
    this.#ns.host.later(() => {
      this.#scheduled = false;
      for (let i = 0; i < BATCHES_PER_TURN_MAX; i++) if (!this.#handOver()) return;
      this.#schedule();
    });
  }

  /** Hands over one batch; false if there was nothing to hand over. */
  #handOver(): boolean {
    if (this.#handing || this.#closed || this.#held || this.#receiver === undefined) return false;
    this.#handing = true;
    try {
      if (this.#overrun && this.#overrunHandler !== undefined) {
        this.#overrun = false;
        // Whoever reads the error with nothing behind it has emptied the queue (af_netlink.c:netlink_rcv_wake).
        if (this.#queue.count === 0) this.#congested = false;
        guarded(this.#overrunHandler);
        if (this.#closed) return false;
      }
      if (this.#queue.count === 0 && this.#dump === undefined) return false;
      const batch = this.#swap();
      if (this.#dump !== undefined) this.#fillDump(batch);
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
