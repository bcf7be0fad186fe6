import { KernelError } from '../errors.ts';
import type { KernelSocket } from '../kernel.ts';
import { writeAck } from './ack.ts';
import { listenForAevents } from './aevent.ts';
import { DATAGRAM_BYTES_MAX, DatagramSocket } from './datagram-socket.ts';
import { type Receiver, receive as receiveDatagram } from './dispatch.ts';
import { type Dump, startDump } from './dump.ts';
import { Errno } from './errno.ts';
import { netlinkType } from './faults.ts';
import { GROUP_MAX } from './host.ts';
import type { Listener, SocketSnapshot } from './listener.ts';
import type { Namespace } from './namespace.ts';
import { chargeOfDump, chargeOfPage, type DatagramQueue, truesizeOf } from './queue.ts';
import { Request, type Requester } from './request.ts';

const NLMSG_HDRLEN = 16;
/** Room in a datagram of a dump: before the reader has shown the size of its buffer, and at most (netlink_dump). */
const DUMP_ROOM_FIRST = 3776;
const DUMP_ROOM_MAX = 32_448;

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

/** One NETLINK_XFRM socket of the emulated kernel. */
export class EmulatedSocket extends DatagramSocket implements KernelSocket, Listener, Requester, Receiver {
  readonly portId: number;
  readonly options: NetlinkOptions = { capAck: false, extAck: false, noEnobufs: false };
  groups = 0;
  privileged: boolean;
  readonly #ns: Namespace;
  readonly #request: Request;
  /** Drops everything until the queue has been emptied (NETLINK_S_CONGESTED). */
  #congested = false;
  /** ENOBUFS waits to be read. */
  #overrun = false;
  #dump: Dump | undefined;
  #dumpRoom = DUMP_ROOM_FIRST;

  constructor(ns: Namespace, facts: SocketFacts) {
    super(ns.host, facts.receiveBufferBytes, netlinkType);
    this.#ns = ns;
    this.portId = facts.portId;
    this.privileged = facts.privileged;
    this.#request = new Request(ns, this);
    ns.sockets.set(this.portId, this);
    this.setGroups(facts.groups);
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

  protected override checkDatagram(datagram: Uint8Array): void {
    if (datagram.length >= NLMSG_HDRLEN) return;
    throw new KernelError(
      'ERR_ARGUMENT',
      `A datagram of ${datagram.length} bytes has no netlink header: the kernel would drop it unanswered`,
    );
  }

  protected carryOut(datagram: Uint8Array): void {
    receiveDatagram(this.#request, datagram, this);
  }

  /**
   * As `send`, of a thread with or without CAP_NET_ADMIN, with the errno of a real send as its result. Where no address is named, who
   * opened the socket must have had the right, too.
   */
  sendAs(datagram: Uint8Array, sender: { readonly privileged: boolean; readonly addressed: boolean }): number {
    if (datagram.length === 0) return Errno.ENODATA;
    if (datagram.length > DATAGRAM_BYTES_MAX) return Errno.EMSGSIZE;
    const refused = this.refusedSend();
    if (refused !== 0) return refused;
    const before = this.privileged;
    this.privileged = sender.privileged && (sender.addressed || before);
    try {
      this.carryOut(datagram);
    } finally {
      this.privileged = before;
    }
    return 0;
  }

  protected leave(): void {
    this.#endDump();
    this.setGroups(0);
    this.#ns.sockets.delete(this.portId);
  }

  #endDump(): void {
    this.#dump?.end();
    this.#dump = undefined;
  }

  /**
   * One message is lost, and the kernel says so: as if one had come that did not fit. Until what waits has been read everything else is
   * lost too.
   */
  overrun(): void {
    if (!this.isClosed) this.#lost();
  }

  snapshot(): SocketSnapshot {
    const { portId, receiveBufferBytes, drops } = this;
    const groups = Array.from({ length: GROUP_MAX }, (_, i) => i + 1);
    return {
      portId,
      groups: groups.filter((group) => (this.groups & (1 << (group - 1))) !== 0),
      receiveBufferBytes,
      waiting: this.queue.count,
      chargedBytes: this.queue.charged,
      drops,
      congested: this.#congested,
      overrun: this.#overrun,
      dumping: this.#dump !== undefined,
      held: this.held,
    };
  }

  deliver(bytes: Uint8Array, length: number, group: number): void {
    this.#enqueue(bytes, length, group, truesizeOf(length, this.host.profile.smallHead));
  }

  #enqueue(bytes: Uint8Array, length: number, group: number, charge: number): void {
    if (this.isLost(bytes, length)) return;
    const { charged } = this.queue;
    const fits = charged === 0 || charged + charge <= this.receiveBufferBytes;
    if (this.#congested || !fits) {
      this.#lost();
      return;
    }
    this.queue.enqueue(bytes, length, group, charge);
    this.schedule();
  }

  reply(): void {
    const { writer } = this.host;
    this.deliver(writer.bytes, writer.at, 0);
  }

  replyOfPage(): void {
    const { writer } = this.host;
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
    this.continueDump(this.queue);
    this.schedule();
    return 0;
  }

  protected get isDumping(): boolean {
    return this.#dump !== undefined;
  }

  /** The next datagram; it goes on only where there is room. */
  protected continueDump(queue: DatagramQueue): void {
    const { writer } = this.host;
    const room = this.#dumpRoom;
    const isLast = this.#dump?.next(room) ?? true;
    queue.enqueue(writer.bytes, writer.at, 0, chargeOfDump(room));
    if (isLast) this.#endDump();
  }

  /** netlink_overrun: told once, until the queue has been emptied. */
  #lost(): void {
    this.drops++;
    if (this.options.noEnobufs || this.#congested) return;
    this.#congested = true;
    this.#overrun = true;
    this.schedule();
  }

  protected override takeOverrun(): boolean {
    if (!this.#overrun) return false;
    this.#overrun = false;
    // Whoever reads the error with nothing behind it has emptied the queue (af_netlink.c:netlink_rcv_wake).
    if (this.queue.count === 0) this.#congested = false;
    return true;
  }

  protected override emptied(count: number): void {
    this.#congested = false;
    if (count > 0) this.#dumpRoom = DUMP_ROOM_MAX;
  }
}
