import { KernelError, syscallError } from '../../errors.ts';
import type { PfkeyOpenOptions } from '../../kernel.ts';
import { DATAGRAM_BYTES_MAX, DatagramSocket } from '../datagram-socket.ts';
import { Errno } from '../errno.ts';
import type { TypeOf } from '../faults.ts';
import type { Namespace } from '../namespace.ts';
import { type DatagramQueue, truesizeOf } from '../queue.ts';
import { type PfkeySender, receivePfkey } from './dispatch.ts';
import type { PfkeyDump } from './dump.ts';
import { Msg } from './layout.ts';
import type { PfkeySocketSnapshot } from './sockets.ts';

/** What the kernel allocates beyond the length of a message. */
const SPARE_BYTES = 16;

const pfkeyType: TypeOf = (message) => message[Msg.TYPE] as number;

/**
 * One PF_KEY socket of the emulated kernel. As on Linux, messages that it has no room for are lost without a word, unless it was opened with
 * `tellOverruns`, which only this kernel has.
 */
export class EmulatedPfkeySocket extends DatagramSocket implements PfkeySender {
  registered = 0;
  promiscuous = false;
  readonly #ns: Namespace;
  #dump: PfkeyDump | undefined;
  /** The last part of the dump that was written: sent when it is known whether another follows. */
  #part: Uint8Array | undefined;
  #parts = 0;
  /** Where messages go while a reader is at it. */
  #reading: DatagramQueue | undefined;
  readonly #tellsOverruns: boolean;
  #overrun = false;

  constructor(ns: Namespace, { receiveBufferBytes, tellOverruns = false }: PfkeyOpenOptions = {}) {
    super(ns.host, receiveBufferBytes, pfkeyType);
    this.#ns = ns;
    this.#tellsOverruns = tellOverruns;
    ns.pfkey.add(this);
  }

  protected override checkDatagram(datagram: Uint8Array): void {
    if (datagram.length >= Msg.SIZE) return;
    const text = `A datagram of ${datagram.length} bytes has no PF_KEY header: no answer would come`;
    throw new KernelError('ERR_ARGUMENT', text);
  }

  protected carryOut(datagram: Uint8Array): void {
    const errno = receivePfkey(this.#ns, this, datagram);
    if (errno === 0) return;
    const text = `Cannot send ${datagram.length} bytes`;
    if (errno !== Errno.EINVAL && errno !== Errno.EMSGSIZE) throw syscallError('sendto', errno, text);
    const why = 'the kernel does not take them for a PF_KEY message: send one at a time, of a type that it has';
    throw new KernelError('ERR_MALFORMED', `${text}: ${why}`, { errno, syscall: 'sendto' });
  }

  /** As `send`, with the errno of a real send as its result. */
  sendNow(datagram: Uint8Array): number {
    if (datagram.length > DATAGRAM_BYTES_MAX) return Errno.EMSGSIZE;
    return this.refusedSend() || receivePfkey(this.#ns, this, datagram);
  }

  deliver(bytes: Uint8Array, length: number): boolean {
    if (this.isLost(bytes, length)) return true;
    const queue = this.#reading ?? this.queue;
    if (this.#reading === undefined && queue.charged > this.receiveBufferBytes) {
      this.drops++;
      this.#overrun = this.#tellsOverruns;
      return false;
    }
    queue.enqueue(bytes, length, 0, truesizeOf(length + SPARE_BYTES, this.host.profile.smallHead));
    this.schedule();
    return true;
  }

  /** Starts a dump and writes as much of it as there is room for; 0, or the errno. */
  startDump(open: () => PfkeyDump | number): number {
    if (this.#dump !== undefined) return Errno.EBUSY;
    const dump = open();
    if (typeof dump === 'number') return dump;
    this.#dump = dump;
    this.#parts = 0;
    return this.#writeDump(this.queue);
  }

  /** 0, also if there is no more room; else the errno with which the dump has ended. */
  #writeDump(queue: DatagramQueue): number {
    const hasRoom = (): boolean => 3 * queue.charged <= 2 * this.receiveBufferBytes;
    const { pfkeyWriter: writer } = this.host;
    while (this.#dump !== undefined && hasRoom()) {
      const errno = this.#dump.next(this.#parts + 1);
      const before = this.#part;
      if (errno === undefined) {
        this.#parts++;
        this.#part = writer.bytes.slice(0, writer.at);
      } else {
        this.#endDump();
        if (before !== undefined) {
          before.fill(0, Msg.SEQ, Msg.SEQ + 4);
          // A negative number, as the kernel writes it.
          before[Msg.ERRNO] = -errno & 0xff;
        }
      }
      if (before !== undefined) this.#ns.pfkey.broadcast(before, before.length, this);
      if (errno !== undefined) return errno;
    }
    return 0;
  }

  #endDump(): void {
    this.#dump?.end();
    this.#dump = undefined;
    this.#part = undefined;
  }

  protected override takeOverrun(): boolean {
    const overrun = this.#overrun;
    this.#overrun = false;
    return overrun;
  }

  protected get isDumping(): boolean {
    return this.#dump !== undefined;
  }

  protected continueDump(queue: DatagramQueue): void {
    this.#reading = queue;
    // What is in the batch has been read.
    queue.charged = 0;
    this.#writeDump(queue);
    this.#reading = undefined;
  }

  protected leave(): void {
    this.#endDump();
    this.#ns.pfkey.remove(this);
  }

  snapshot(): PfkeySocketSnapshot {
    const kinds = Array.from({ length: 32 }, (_, i) => i);
    return {
      registered: kinds.filter((kind) => (this.registered & (1 << kind)) !== 0),
      promiscuous: this.promiscuous,
      receiveBufferBytes: this.receiveBufferBytes,
      waiting: this.queue.count,
      chargedBytes: this.queue.charged,
      drops: this.drops,
      dumping: this.isDumping,
      held: this.held,
    };
  }
}
