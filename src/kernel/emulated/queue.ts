import type { Batch } from '../kernel.ts';

/** sizeof(struct sk_buff) and of the shared info behind the data, as they are charged. */
const SKB_BYTES = 256;
const SHARED_INFO_BYTES = 320;
const CACHE_LINE = 64;
const KMALLOC_MIN = 512;
/** Objects of the cache for small heads. */
const SMALL_HEAD_BYTES = 704;

/** What a datagram of `length` bytes is charged against a receive buffer (skb->truesize): a kmalloc bucket, or a small head, and the sk_buff. */
export function truesizeOf(length: number, smallHead: boolean): number {
  const needed = ((length + CACHE_LINE - 1) & -CACHE_LINE) + SHARED_INFO_BYTES;
  if (smallHead && needed <= SMALL_HEAD_BYTES) return SMALL_HEAD_BYTES + SKB_BYTES;
  let bucket = KMALLOC_MIN;
  while (bucket < needed) bucket *= 2;
  return bucket + SKB_BYTES;
}

/** NLMSG_DEFAULT_SIZE, and what a page of it is charged. */
const DEFAULT_SIZE = 3776;
const DEFAULT_CHARGE = 4096 + SKB_BYTES;

/**
 * What a reply is charged that the kernel builds in a page, not knowing its length: a short one is cut down before it is queued
 * (af_netlink.c:netlink_trim).
 */
export function chargeOfPage(length: number): number {
  const spare = DEFAULT_SIZE - length;
  return 2 * spare < DEFAULT_CHARGE ? DEFAULT_CHARGE : DEFAULT_CHARGE - spare;
}

/** What a datagram of a dump with room for `room` bytes is charged: all of it, however full. */
export function chargeOfDump(room: number): number {
  return room + SHARED_INFO_BYTES + SKB_BYTES;
}

const BYTES_FIRST = 4096;
const DATAGRAMS_FIRST = 16;
/** Queues that were large once let go of their memory when they are empty. */
const BYTES_KEPT = 1 << 20;

/** Datagrams that wait for a reader, one behind the other in one array: a `Batch` as it stands. */
export class DatagramQueue implements Batch {
  buffer: Uint8Array<ArrayBuffer> = new Uint8Array(BYTES_FIRST);
  view: DataView<ArrayBuffer> = new DataView(this.buffer.buffer);
  count = 0;
  offsets = new Uint32Array(DATAGRAMS_FIRST);
  lengths = new Uint32Array(DATAGRAMS_FIRST);
  /** The multicast group of each; 0: unicast. */
  groups = new Uint8Array(DATAGRAMS_FIRST);
  /** What they are charged together. */
  charged = 0;
  #used = 0;

  push(bytes: Uint8Array, length: number, group: number, charge: number): void {
    if (this.#used + length > this.buffer.length) this.#growBytes(length);
    if (this.count === this.offsets.length) this.#growIndex();
    this.buffer.set(bytes.length === length ? bytes : bytes.subarray(0, length), this.#used);
    this.offsets[this.count] = this.#used;
    this.lengths[this.count] = length;
    this.groups[this.count] = group;
    this.count++;
    this.#used = (this.#used + length + 3) & ~3;
    this.charged += charge;
  }

  clear(): void {
    this.count = 0;
    this.charged = 0;
    this.#used = 0;
    if (this.buffer.length <= BYTES_KEPT) return;
    this.buffer = new Uint8Array(BYTES_FIRST);
    this.view = new DataView(this.buffer.buffer);
  }

  #growBytes(length: number): void {
    const larger = new Uint8Array(Math.max(2 * this.buffer.length, this.#used + length));
    larger.set(this.buffer.subarray(0, this.#used));
    this.buffer = larger;
    this.view = new DataView(larger.buffer);
  }

  #growIndex(): void {
    const grown = (old: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> => {
      const larger = new Uint32Array(2 * old.length);
      larger.set(old);
      return larger;
    };
    this.offsets = grown(this.offsets);
    this.lengths = grown(this.lengths);
    const groups = new Uint8Array(2 * this.groups.length);
    groups.set(this.groups);
    this.groups = groups;
  }
}
