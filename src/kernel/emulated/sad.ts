import { addressBucket } from './kernel-hash.ts';
import { InfoByte, Row, SaState } from './row.ts';
import { HIGH_BYTE, SaRows } from './sa-rows.ts';

const INET6 = 10;
const ORDER_FIRST = 8;
const BUCKETS_FIRST = 16;
/** The kernel's tables do not grow beyond (xfrm_state_hashmax). */
export const HASH_MAX = 0x10_0000;
export const NO_SLOT = -1;

/** A dump under way: where it goes on. */
export interface SadCursor {
  next: number;
}

/**
 * The SA database of one namespace: rows in two hash tables that are chained through them (by SPI; by addresses and reqid for outbound
 * lookups), and the list of all, newest first.
 */
export class Sad extends SaRows {
  /** SAs there are. */
  count = 0;
  /** Buckets as GETSADINFO tells: they double when there are as many SAs and a new one meets another in its bucket. */
  hashSize = 8;
  /** Whether they are to double: a kernel thread does it, when the system call that made them crowded is through. */
  isCrowded = false;
  /** Larval SAs: few, and searched by more than one key. */
  readonly larval = new Set<number>();
  readonly cursors = new Set<SadCursor>();
  #newest = 0;
  /** Twice as many buckets as the other has: each packet in looks here, and another SA in its bucket is a cache line for nothing. */
  #bySpi = new Int32Array(2 * BUCKETS_FIRST);
  #byDst = new Int32Array(BUCKETS_FIRST);
  /** How many SAs each bucket of the kernel's table of addresses has. */
  #kernelBuckets = new Uint32Array(this.hashSize);
  /** By slot, the order in the kernel's chains: an SA with a higher number is found first. Behind the rows: few need it, and seldom. */
  #order = new Uint32Array(ORDER_FIRST);
  #orderLast = 0;

  /** Puts a row into the tables; the newest of several with one identity is found first. */
  insert(slot: number): void {
    const { words } = this;
    const row = slot * Row.WORDS;
    words[row + Row.NEXT_ALL] = this.#newest;
    words[row + Row.PREVIOUS_ALL] = 0;
    if (this.#newest !== 0) words[(this.#newest - 1) * Row.WORDS + Row.PREVIOUS_ALL] = slot + 1;
    this.#newest = slot + 1;
    this.count++;
    if (slot >= this.#order.length) this.#growOrder();
    this.#order[slot] = ++this.#orderLast;
    this.#link(slot);
    if (this.count > this.#byDst.length) this.#rehash();
    const met = this.#countInKernel(slot, 1) > 1;
    if (met && this.count >= this.hashSize && this.hashSize < HASH_MAX) this.isCrowded = true;
    if (words[row + Row.STATE] === SaState.ACQ) this.larval.add(slot);
  }

  remove(slot: number): void {
    const { words } = this;
    const row = slot * Row.WORDS;
    const next = words[row + Row.NEXT_ALL] as number;
    const previous = words[row + Row.PREVIOUS_ALL] as number;
    for (const cursor of this.cursors) if (cursor.next === slot) cursor.next = next - 1;
    if (previous === 0) this.#newest = next;
    else words[(previous - 1) * Row.WORDS + Row.NEXT_ALL] = next;
    if (next !== 0) words[(next - 1) * Row.WORDS + Row.PREVIOUS_ALL] = previous;
    this.#unlink(this.#bySpi, this.#spiBucket(row), slot, Row.NEXT_SPI);
    this.#unlink(this.#byDst, this.#dstBucket(row), slot, Row.NEXT_DST);
    this.#countInKernel(slot, -1);
    this.larval.delete(slot);
    this.count--;
    this.release(slot);
  }

  /** The SPI of a larval SA has been chosen: it moves to its bucket. `spi` is in network order as a row keeps it. */
  setSpi(slot: number, spi: number): void {
    const row = slot * Row.WORDS;
    this.#unlink(this.#bySpi, this.#spiBucket(row), slot, Row.NEXT_SPI);
    this.words[row + Row.SPI] = spi;
    const bucket = this.#spiBucket(row);
    this.words[row + Row.NEXT_SPI] = this.#bySpi[bucket] as number;
    this.#bySpi[bucket] = slot + 1;
  }

  newest(): number {
    return this.#newest - 1;
  }

  /** The next older one. */
  older(slot: number): number {
    return (this.words[slot * Row.WORDS + Row.NEXT_ALL] as number) - 1;
  }

  /**
   * An SA by its identity; addresses are words as rows keep them, of an IPv4 one only the first counts. `mark` is the request's value ANDed
   * with its mask (xfrm_state.c:__xfrm_state_lookup). NO_SLOT if there is none.
   */
  lookup(
    d0: number,
    d1: number,
    d2: number,
    d3: number,
    spi: number,
    proto: number,
    family: number,
    mark: number,
  ): number {
    const { words } = this;
    for (
      let next = this.#bySpi[spiHash(spi, proto) & (this.#bySpi.length - 1)] as number;
      next !== 0;
      next = words[(next - 1) * Row.WORDS + Row.NEXT_SPI] as number
    ) {
      const row = (next - 1) * Row.WORDS;
      if (words[row + Row.SPI] !== spi || words[row + Row.DADDR] !== d0) continue;
      if (this.proto(next - 1) !== proto || this.family(next - 1) !== family || spi === 0) continue;
      if (family === INET6) {
        if (words[row + Row.DADDR + 1] !== d1 || words[row + Row.DADDR + 2] !== d2) continue;
        if (words[row + Row.DADDR + 3] !== d3) continue;
      }
      if ((mark & (words[row + Row.MARK_MASK] as number)) >>> 0 === words[row + Row.MARK]) return next - 1;
    }
    return NO_SLOT;
  }

  /**
   * Whether an SA has this SPI (network order) and the protocol of `slot`: whatever its address where SPIs are given out `once`, else
   * with the same one.
   */
  spiIsTaken(spi: number, slot: number, once: boolean): boolean {
    const { words } = this;
    // SAs without an SPI are not in the kernel's table.
    if (spi === 0) return false;
    const proto = this.proto(slot);
    const row = slot * Row.WORDS;
    if (!once) {
      const word = (i: number): number => words[row + Row.DADDR + i] as number;
      const family = this.family(slot);
      // A larval SA keeps its mark as it was given (xfrm_state.c:xfrm_alloc_spi).
      const mark = ((words[row + Row.MARK] as number) & (words[row + Row.MARK_MASK] as number)) >>> 0;
      return this.lookup(word(0), word(1), word(2), word(3), spi, proto, family, mark) !== NO_SLOT;
    }
    let next = this.#bySpi[spiHash(spi, proto) & (this.#bySpi.length - 1)] as number;
    for (; next !== 0; next = words[(next - 1) * Row.WORDS + Row.NEXT_SPI] as number) {
      if (words[(next - 1) * Row.WORDS + Row.SPI] === spi && this.proto(next - 1) === proto) return true;
    }
    return false;
  }

  /**
   * The first SA of a chain of outbound candidates; `nextCandidate` goes on. Candidates may differ in everything. `daddr` and `saddr` are
   * where addresses stand in `words`, as rows keep them.
   */
  firstCandidate(words: Uint32Array, daddr: number, saddr: number, reqid: number, family: number): number {
    return (this.#byDst[dstHash(words, daddr, saddr, reqid, family) & (this.#byDst.length - 1)] as number) - 1;
  }

  nextCandidate(slot: number): number {
    return (this.words[slot * Row.WORDS + Row.NEXT_DST] as number) - 1;
  }

  #growOrder(): void {
    const order = new Uint32Array(this.words.length / Row.WORDS);
    order.set(this.#order);
    this.#order = order;
  }

  #spiBucket(row: number): number {
    const proto = this.bytes[4 * row + InfoByte.PROTO] as number;
    return spiHash(this.words[row + Row.SPI] as number, proto) & (this.#bySpi.length - 1);
  }

  #dstBucket(row: number): number {
    const { words } = this;
    const family = this.bytes[4 * row + InfoByte.FAMILY + HIGH_BYTE] as number;
    const reqid = words[row + Row.REQID] as number;
    const hash = dstHash(words, row + Row.DADDR, row + Row.SADDR, reqid, family);
    return hash & (this.#byDst.length - 1);
  }

  #link(slot: number): void {
    const row = slot * Row.WORDS;
    const spi = this.#spiBucket(row);
    this.words[row + Row.NEXT_SPI] = this.#bySpi[spi] as number;
    this.#bySpi[spi] = slot + 1;
    const dst = this.#dstBucket(row);
    this.words[row + Row.NEXT_DST] = this.#byDst[dst] as number;
    this.#byDst[dst] = slot + 1;
  }

  #unlink(table: Int32Array, bucket: number, slot: number, link: number): void {
    const { words } = this;
    let at = table[bucket] as number;
    if (at === slot + 1) {
      table[bucket] = words[slot * Row.WORDS + link] as number;
      return;
    }
    while (at !== 0) {
      const place = (at - 1) * Row.WORDS + link;
      const next = words[place] as number;
      if (next === slot + 1) {
        words[place] = words[slot * Row.WORDS + link] as number;
        return;
      }
      at = next;
    }
  }

  /** Doubles the tables; in each chain the order stays. */
  #rehash(): void {
    const order = this.#slots(this.#bySpi, Row.NEXT_SPI).reverse();
    const outbound = this.#slots(this.#byDst, Row.NEXT_DST).reverse();
    this.#bySpi = new Int32Array(2 * this.#bySpi.length);
    this.#byDst = new Int32Array(2 * this.#byDst.length);
    for (const slot of order) this.#push(this.#bySpi, this.#spiBucket(slot * Row.WORDS), slot, Row.NEXT_SPI);
    for (const slot of outbound) this.#push(this.#byDst, this.#dstBucket(slot * Row.WORDS), slot, Row.NEXT_DST);
  }

  /** All slots of a table, chain by chain. */
  #slots(table: Int32Array, link: number): number[] {
    const slots: number[] = [];
    for (const head of table) {
      for (let next = head; next !== 0; next = this.words[(next - 1) * Row.WORDS + link] as number)
        slots.push(next - 1);
    }
    return slots;
  }

  #push(table: Int32Array, bucket: number, slot: number, link: number): void {
    this.words[slot * Row.WORDS + link] = table[bucket] as number;
    table[bucket] = slot + 1;
  }

  /** Counts an SA in its bucket of the kernel's table of addresses, and says how many there are now (xfrm_state.c:xfrm_hash_grow_check). */
  #countInKernel(slot: number, change: 1 | -1): number {
    const bucket = this.#kernelBucket(slot);
    const count = (this.#kernelBuckets[bucket] as number) + change;
    this.#kernelBuckets[bucket] = count;
    return count;
  }

  #kernelBucket(slot: number): number {
    const base = slot * Row.WORDS * 4;
    const reqid = this.words[slot * Row.WORDS + Row.REQID] as number;
    const { DADDR, SADDR } = InfoByte;
    return addressBucket(this.view, base + DADDR, base + SADDR, reqid, this.family(slot), this.hashSize);
  }

  /**
   * The kernel takes its chains of addresses, the last first, and moves each SA to the front of its new chains, that by SPI too
   * (xfrm_state.c:xfrm_hash_resize). Of several SAs with one identity the oldest is first then, if they were in one chain.
   */
  growAsTheKernel(): void {
    this.isCrowded = false;
    const slots: number[] = [];
    const buckets = new Uint32Array(this.words.length / Row.WORDS);
    for (let slot = this.newest(); slot >= 0; slot = this.older(slot)) {
      slots.push(slot);
      buckets[slot] = this.#kernelBucket(slot);
    }
    const first = (a: number, b: number, by: Uint32Array): number => (by[b] as number) - (by[a] as number);
    slots.sort((a, b) => first(a, b, buckets) || first(a, b, this.#order));
    this.hashSize *= 2;
    this.#kernelBuckets = new Uint32Array(this.hashSize);
    this.#bySpi.fill(0);
    this.#byDst.fill(0);
    this.#orderLast = 0;
    for (const slot of slots) {
      this.#countInKernel(slot, 1);
      this.#order[slot] = ++this.#orderLast;
      this.#push(this.#bySpi, this.#spiBucket(slot * Row.WORDS), slot, Row.NEXT_SPI);
      this.#push(this.#byDst, this.#dstBucket(slot * Row.WORDS), slot, Row.NEXT_DST);
    }
  }
}

function spiHash(spi: number, proto: number): number {
  return mix(spi ^ proto);
}

function dstHash(words: Uint32Array, daddr: number, saddr: number, reqid: number, family: number): number {
  let h = Math.imul(reqid, 0x85eb_ca6b) ^ family;
  // The other words of an IPv4 address may hold anything.
  const count = family === 2 ? 1 : 4;
  for (let i = 0; i < count; i++) {
    h = Math.imul(h ^ (words[daddr + i] as number), 0x9e37_79b1);
    h = Math.imul(h ^ (h >>> 15) ^ (words[saddr + i] as number), 0xc2b2_ae35);
  }
  return mix(h);
}

function mix(word: number): number {
  let h = Math.imul(word ^ (word >>> 16), 0x7feb_352d);
  h = Math.imul(h ^ (h >>> 15), 0x846c_a68b);
  return (h ^ (h >>> 16)) >>> 0;
}
