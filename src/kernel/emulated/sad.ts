import { ByteArena } from './arena.ts';
import { addressBucket } from './kernel-hash.ts';
import { HIGH, InfoByte, LOW, Row, RowBit, SaState } from './row.ts';

/**
 * Encoded attributes as NEWSA shows them: those before LASTUSED, those from the algorithms to SET_MARK_MASK, those behind MTIMER_THRESH.
 * Views of the database's memory, good until it changes.
 */
export interface SaAttributes {
  readonly head: Uint8Array;
  readonly body: Uint8Array;
  readonly tail: Uint8Array;
}

const ROWS_FIRST = 8;
const ESN_HEAD_WORDS = 6;
/** How much larger the rows get when they are full. */
const GROWTH = 1.125;
const BUCKETS_FIRST = 16;
export const NO_SLOT = -1;

/** A dump under way: where it goes on. */
export interface SadCursor {
  next: number;
}

/**
 * The SA database of one namespace: rows in one array, two hash tables chained through the rows (by SPI; by addresses and reqid for
 * outbound lookups), and the list of all, newest first.
 */
export class Sad {
  words: Uint32Array<ArrayBuffer> = new Uint32Array(ROWS_FIRST * Row.WORDS);
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(this.words.buffer);
  view: DataView<ArrayBuffer> = new DataView(this.words.buffer);
  /** SAs there are. */
  count = 0;
  /** Buckets as GETSADINFO tells: they double when there are as many SAs and a new one meets another in its bucket. */
  hashSize = 8;
  /** Larval SAs: few, and searched by more than one key. */
  readonly larval = new Set<number>();
  readonly cursors = new Set<SadCursor>();
  /** What is of variable length: encoded attributes, replay states with a bitmap. */
  readonly arena = new ByteArena();
  readonly #free: number[] = [];
  #used = 0;
  #newest = 0;
  #bySpi = new Int32Array(BUCKETS_FIRST);
  #byDst = new Int32Array(BUCKETS_FIRST);

  /** The word where the row of `slot` starts. */
  row(slot: number): number {
    return slot * Row.WORDS;
  }

  /**
   * Where in the arena's words an SA has its xfrm_replay_state_esn, behind it the one that was last notified; 0: legacy mode, the counters
   * stand in the row.
   */
  esnAt(slot: number): number {
    return this.words[slot * Row.WORDS + Row.ESN_AT] as number;
  }

  /** Words of one of the two. */
  esnWords(slot: number): number {
    const at = this.esnAt(slot);
    return at === 0 ? 0 : ESN_HEAD_WORDS + (this.arena.words[at] as number);
  }

  /** Makes room for a replay state with a bitmap of so many words, all of them zero; returns where it is. */
  makeEsn(slot: number, bmpLen: number): number {
    const words = ESN_HEAD_WORDS + bmpLen;
    const at = this.arena.take(8 * words) / 4;
    this.arena.words.fill(0, at, at + 2 * words);
    this.arena.words[at] = bmpLen;
    this.words[slot * Row.WORDS + Row.ESN_AT] = at;
    return at;
  }

  #giveEsn(slot: number): void {
    const at = this.esnAt(slot);
    if (at !== 0) this.arena.give(4 * at, 8 * this.esnWords(slot));
  }

  attributes(slot: number): SaAttributes {
    const row = slot * Row.WORDS;
    const { words } = this;
    const { bytes } = this.arena;
    const head = words[row + Row.ATTRIBUTES_AT] as number;
    const body = head + ((words[row + Row.ATTRIBUTES_ENDS] as number) & 0xff) * 4;
    const tail = head + ((words[row + Row.ATTRIBUTES_ENDS] as number) >>> 8) * 4;
    const end = head + (words[row + Row.ATTRIBUTES_SIZE] as number);
    return { head: bytes.subarray(head, body), body: bytes.subarray(body, tail), tail: bytes.subarray(tail, end) };
  }

  /** Keeps a copy of the attributes in place of those before. */
  setAttributes(slot: number, { head, body, tail }: SaAttributes): void {
    const row = slot * Row.WORDS;
    const size = head.length + body.length + tail.length;
    const at = size === 0 ? 0 : this.arena.take(size);
    const { bytes } = this.arena;
    bytes.set(head, at);
    bytes.set(body, at + head.length);
    bytes.set(tail, at + head.length + body.length);
    this.#giveAttributes(row);
    this.words[row + Row.ATTRIBUTES_AT] = at;
    this.words[row + Row.ATTRIBUTES_ENDS] = (head.length / 4) | (((head.length + body.length) / 4) << 8);
    this.words[row + Row.ATTRIBUTES_SIZE] = size;
  }

  #giveAttributes(row: number): void {
    const size = this.words[row + Row.ATTRIBUTES_SIZE] as number;
    if (size !== 0) this.arena.give(this.words[row + Row.ATTRIBUTES_AT] as number, size);
    this.words[row + Row.ATTRIBUTES_SIZE] = 0;
  }

  dir(slot: number): number {
    return ((this.words[slot * Row.WORDS + Row.BITS] as number) >>> RowBit.DIR_SHIFT) & 3;
  }

  setDir(slot: number, dir: number): void {
    const at = slot * Row.WORDS + Row.BITS;
    this.words[at] = ((this.words[at] as number) & ~(3 << RowBit.DIR_SHIFT)) | (dir << RowBit.DIR_SHIFT);
  }

  state(slot: number): number {
    return this.words[slot * Row.WORDS + Row.STATE] as number;
  }

  has(slot: number, bit: number): boolean {
    return ((this.words[slot * Row.WORDS + Row.BITS] as number) & bit) !== 0;
  }

  setBit(slot: number, bit: number, on: boolean): void {
    const at = slot * Row.WORDS + Row.BITS;
    const bits = this.words[at] as number;
    this.words[at] = on ? bits | bit : bits & ~bit;
  }

  proto(slot: number): number {
    return this.bytes[slot * Row.WORDS * 4 + InfoByte.PROTO] as number;
  }

  mode(slot: number): number {
    return this.bytes[slot * Row.WORDS * 4 + InfoByte.MODE] as number;
  }

  flags(slot: number): number {
    return this.bytes[slot * Row.WORDS * 4 + InfoByte.FLAGS] as number;
  }

  replayWindow(slot: number): number {
    return this.bytes[slot * Row.WORDS * 4 + InfoByte.REPLAY_WINDOW] as number;
  }

  family(slot: number): number {
    // AF_INET and AF_INET6 are below 256: the byte that holds them is the low one of the host's order.
    return this.bytes[slot * Row.WORDS * 4 + InfoByte.FAMILY + (LOW === 0 ? 0 : 1)] as number;
  }

  isDying(slot: number): boolean {
    return this.has(slot, RowBit.DYING);
  }

  /** A zeroed row that is in no table yet. */
  allocate(): number {
    const slot = this.#free.pop() ?? this.#used++;
    if ((slot + 1) * Row.WORDS > this.words.length) this.#grow();
    const row = slot * Row.WORDS;
    this.words.fill(0, row, row + Row.WORDS);
    return slot;
  }

  /** Gives back a row that is in no table. */
  release(slot: number): void {
    this.#giveAttributes(slot * Row.WORDS);
    this.#giveEsn(slot);
    this.words[slot * Row.WORDS + Row.STATE] = SaState.DEAD;
    this.#free.push(slot);
  }

  /** Puts a row into the tables; the newest of several with one identity is found first. */
  insert(slot: number): void {
    const { words } = this;
    const row = slot * Row.WORDS;
    words[row + Row.NEXT_ALL] = this.#newest;
    words[row + Row.PREVIOUS_ALL] = 0;
    if (this.#newest !== 0) words[(this.#newest - 1) * Row.WORDS + Row.PREVIOUS_ALL] = slot + 1;
    this.#newest = slot + 1;
    this.count++;
    this.#link(slot);
    if (this.count > this.#bySpi.length) this.#rehash();
    if (this.count >= this.hashSize && this.#collides(slot)) this.#growAsTheKernel();
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
      if (family !== 2) {
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
      const mark = words[row + Row.MARK] as number;
      return this.lookup(word(0), word(1), word(2), word(3), spi, proto, family, mark) !== NO_SLOT;
    }
    let next = this.#bySpi[spiHash(spi, proto) & (this.#bySpi.length - 1)] as number;
    for (; next !== 0; next = words[(next - 1) * Row.WORDS + Row.NEXT_SPI] as number) {
      if (words[(next - 1) * Row.WORDS + Row.SPI] === spi && this.proto(next - 1) === proto) return true;
    }
    return false;
  }

  /** The first SA of a chain of outbound candidates; `nextCandidate` goes on. Candidates may differ in everything. */
  firstCandidate(d0: number, s0: number, reqid: number, family: number): number {
    return (this.#byDst[dstHash(d0, s0, reqid, family) & (this.#byDst.length - 1)] as number) - 1;
  }

  nextCandidate(slot: number): number {
    return (this.words[slot * Row.WORDS + Row.NEXT_DST] as number) - 1;
  }

  #grow(): void {
    const rows = Math.ceil((GROWTH * this.words.length) / Row.WORDS);
    const larger = new Uint32Array(rows * Row.WORDS);
    larger.set(this.words);
    this.words = larger;
    this.bytes = new Uint8Array(larger.buffer);
    this.view = new DataView(larger.buffer);
  }

  #spiBucket(row: number): number {
    const proto = this.bytes[4 * row + InfoByte.PROTO] as number;
    return spiHash(this.words[row + Row.SPI] as number, proto) & (this.#bySpi.length - 1);
  }

  #dstBucket(row: number): number {
    const { words } = this;
    const family = this.bytes[4 * row + InfoByte.FAMILY + HIGH_BYTE] as number;
    const hash = dstHash(
      words[row + Row.DADDR] as number,
      words[row + Row.SADDR] as number,
      words[row + Row.REQID] as number,
      family,
    );
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

  /** Whether the kernel's table of addresses has another SA in the bucket of this one (xfrm_state.c:xfrm_hash_grow_check). */
  #collides(slot: number): boolean {
    const bucket = this.#kernelBucket(slot);
    for (let other = this.newest(); other >= 0; other = this.older(other)) {
      if (other !== slot && this.#kernelBucket(other) === bucket) return true;
    }
    return false;
  }

  #kernelBucket(slot: number): number {
    const base = slot * Row.WORDS * 4;
    const reqid = this.words[slot * Row.WORDS + Row.REQID] as number;
    const { DADDR, SADDR } = InfoByte;
    return addressBucket(this.view, base + DADDR, base + SADDR, reqid, this.family(slot), this.hashSize);
  }

  /** The kernel moves chains from their front to the front of new ones: of several SAs with one identity the oldest is first then. */
  #growAsTheKernel(): void {
    this.hashSize *= 2;
    const order = this.#slots(this.#bySpi, Row.NEXT_SPI);
    const outbound = this.#slots(this.#byDst, Row.NEXT_DST);
    this.#bySpi.fill(0);
    this.#byDst.fill(0);
    for (const slot of order) this.#push(this.#bySpi, this.#spiBucket(slot * Row.WORDS), slot, Row.NEXT_SPI);
    for (const slot of outbound) this.#push(this.#byDst, this.#dstBucket(slot * Row.WORDS), slot, Row.NEXT_DST);
  }
}

const HIGH_BYTE = HIGH === 1 ? 0 : 1;

function spiHash(spi: number, proto: number): number {
  return mix(spi ^ proto);
}

function dstHash(d0: number, s0: number, reqid: number, family: number): number {
  return mix(d0 ^ Math.imul(s0, 0x9e37_79b1) ^ Math.imul(reqid, 0x85eb_ca6b) ^ family);
}

function mix(word: number): number {
  let h = Math.imul(word ^ (word >>> 16), 0x7feb_352d);
  h = Math.imul(h ^ (h >>> 15), 0x846c_a68b);
  return (h ^ (h >>> 16)) >>> 0;
}
