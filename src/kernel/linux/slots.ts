import type { Batch } from '../kernel.ts';
import { Iovec, Mmsghdr, MSG_DONTWAIT, MSG_TRUNC, SockaddrNl } from './abi.ts';
import type { Libc } from './libc.ts';

export interface SlotSizes {
  /** Datagrams a recvmmsg(2) can bring. */
  count: number;
  /** The longest datagram that fits. A multiple of 8, so that every datagram is aligned. */
  bytes: number;
}

/**
 * Where recvmmsg(2) puts datagrams. All memory is allocated here, once. Each array is on an ArrayBuffer of its own (the Buffer pool is
 * shared, and small typed arrays may be moved), and each is held by a field as long as the slots live: `#headers` holds addresses of
 * `#names` and `#iovecs`, which V8 does not see as references.
 */
export class ReceiveSlots {
  readonly sizes: SlotSizes;
  readonly #libc: Libc;
  readonly #batch: { -readonly [K in keyof Batch]: Batch[K] };
  readonly #names: Uint32Array<ArrayBuffer>;
  readonly #iovecs: BigUint64Array<ArrayBuffer>;
  readonly #headers: Uint32Array<ArrayBuffer>;
  #foreignDatagrams = 0;
  #truncatedBytes = 0;

  constructor(libc: Libc, sizes: SlotSizes) {
    const { count, bytes } = sizes;
    const data = new ArrayBuffer(count * bytes);
    this.#libc = libc;
    this.sizes = sizes;
    this.#names = new Uint32Array(new ArrayBuffer(count * SockaddrNl.bytes));
    this.#iovecs = new BigUint64Array(new ArrayBuffer(count * Iovec.bytes));
    this.#headers = new Uint32Array(new ArrayBuffer(count * Mmsghdr.bytes));
    this.#batch = {
      buffer: new Uint8Array(data),
      view: new DataView(data),
      count: 0,
      offsets: new Uint32Array(count),
      lengths: new Uint32Array(count),
    };
    this.#link();
  }

  /** The datagrams that the last `receive` has let through. */
  get batch(): Batch {
    return this.#batch;
  }

  /** How many datagrams came from processes instead of the kernel and were dropped. */
  get foreignDatagrams(): number {
    return this.#foreignDatagrams;
  }

  /** The whole length of the datagram at which the last `receive` stopped because it did not fit; 0 if all fitted. */
  get truncatedBytes(): number {
    return this.#truncatedBytes;
  }

  /**
   * Reads what is there, at most one datagram a slot, without waiting; fills `batch`. Returns how many datagrams were read, dropped ones
   * included, or -1.
   *
   * A datagram is dropped if its sender has a port id, i.e. is not the kernel: root can send to the XFRM groups from user space. This comes
   * before the check for truncation, so that no process can end our socket with an oversized datagram.
   */
  receive(fd: number, acceptUserSpaceSenders: boolean): number {
    const headers = this.#headers;
    const batch = this.#batch;
    // As an input flag MSG_TRUNC makes the kernel report the whole length of what did not fit.
    const read = this.#libc.recvmmsg(fd, headers, this.sizes.count, MSG_DONTWAIT | MSG_TRUNC, null);
    let accepted = 0;
    this.#truncatedBytes = 0;
    for (let i = 0, at = 0; i < read; i++, at += Mmsghdr.words) {
      headers[at + Mmsghdr.nameLengthWord] = SockaddrNl.bytes;
      if (!acceptUserSpaceSenders && this.#names[i * SockaddrNl.words + SockaddrNl.portIdWord] !== 0) {
        this.#foreignDatagrams++;
        continue;
      }
      const length = headers[at + Mmsghdr.lengthWord] as number;
      if (((headers[at + Mmsghdr.flagsWord] as number) & MSG_TRUNC) !== 0) {
        this.#truncatedBytes = length;
        break;
      }
      batch.offsets[accepted] = i * this.sizes.bytes;
      batch.lengths[accepted] = length;
      accepted++;
    }
    batch.count = accepted;
    return read;
  }

  #link(): void {
    const { count, bytes } = this.sizes;
    const headers = new BigUint64Array(this.#headers.buffer);
    const data = this.#libc.addressOf(this.#batch.buffer);
    const names = this.#libc.addressOf(this.#names);
    const iovecs = this.#libc.addressOf(this.#iovecs);
    for (let i = 0; i < count; i++) {
      this.#iovecs[i * Iovec.words64 + Iovec.baseWord64] = data + BigInt(i * bytes);
      this.#iovecs[i * Iovec.words64 + Iovec.lengthWord64] = BigInt(bytes);
      headers[i * Mmsghdr.words64 + Mmsghdr.nameWord64] = names + BigInt(i * SockaddrNl.bytes);
      headers[i * Mmsghdr.words64 + Mmsghdr.iovWord64] = iovecs + BigInt(i * Iovec.bytes);
      headers[i * Mmsghdr.words64 + Mmsghdr.iovCountWord64] = 1n;
      this.#headers[i * Mmsghdr.words + Mmsghdr.nameLengthWord] = SockaddrNl.bytes;
    }
  }
}
