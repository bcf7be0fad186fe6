import { Datagrams } from '../datagrams.ts';

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

/** Datagrams that wait for a reader, and what they are charged. */
export class DatagramQueue extends Datagrams {
  /** The multicast group of each; 0: unicast. */
  groups: Uint8Array = new Uint8Array(0);
  /** What they are charged together. */
  charged = 0;

  enqueue(bytes: Uint8Array, length: number, group: number, charge: number): void {
    this.push(bytes, length);
    if (this.count > this.groups.length) this.#growGroups();
    this.groups[this.count - 1] = group;
    this.charged += charge;
  }

  override clear(): void {
    super.clear();
    this.charged = 0;
  }

  #growGroups(): void {
    const larger = new Uint8Array(this.offsets.length);
    larger.set(this.groups);
    this.groups = larger;
  }
}
