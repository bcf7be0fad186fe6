import { SaFlag } from '../../xfrm/index.ts';
import { ByteArena } from './arena.ts';
import { encodedAttribute, pack, packedMax, unpack } from './encoded.ts';
import { addressBucket } from './kernel-hash.ts';
import { Esn, Legacy, ReplayMode } from './replay.ts';
import { EsnAt, HIGH, InfoByte, LOW, REPLAY_BITMAP_WORDS, Row, RowBit, SaState } from './row.ts';
import { Sel } from './selector.ts';

/** Encoded attributes as NEWSA shows them: those before LASTUSED, those from the algorithms to SET_MARK_MASK, those behind MTIMER_THRESH. */
export interface SaAttributes {
  readonly head: Uint8Array;
  readonly body: Uint8Array;
  readonly tail: Uint8Array;
}

const ROWS_FIRST = 8;
const ENCAP = 4;
const INET6 = 10;
/** The last family with a selector of its own that all SAs share which select nothing else. */
const SHARED_FAMILY_MAX = 10;
/** More than a datagram can bring, an authentication algorithm counted twice. */
const ATTRIBUTES_WORDS_MAX = 1 << 16;
const attributesPlain = new Uint32Array(ATTRIBUTES_WORDS_MAX);
const attributesBytes = new Uint8Array(attributesPlain.buffer);
const attributesPacked = new Uint32Array(packedMax(attributesPlain.length));
/** How much larger the rows get when they are full. */
const GROWTH = 1.125;
const BUCKETS_FIRST = 16;
/** The kernel's tables do not grow beyond (xfrm_state_hashmax). */
export const HASH_MAX = 0x10_0000;
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
  /** Whether they are to double: a kernel thread does it, when the system call that made them crowded is through. */
  isCrowded = false;
  /** Larval SAs: few, and searched by more than one key. */
  readonly larval = new Set<number>();
  readonly cursors = new Set<SadCursor>();
  /** Who keeps something of an SA under its slot: called when the SA has changed or is gone. */
  readonly watchers = new Set<(slot: number) => void>();
  /** What is of variable length: encoded attributes, long replay states, selectors that select something. */
  readonly arena = new ByteArena();
  /** By family: the place of the selector that takes in all of that family. */
  readonly #sharedSelectors = new Map<number, number>();
  readonly #free: number[] = [];
  #used = 0;
  #newest = 0;
  /** Twice as many buckets as the other has: each packet in looks here, and another SA in its bucket is a cache line for nothing. */
  #bySpi = new Int32Array(2 * BUCKETS_FIRST);
  #byDst = new Int32Array(BUCKETS_FIRST);
  /** How many SAs each bucket of the kernel's table of addresses has. */
  #kernelBuckets = new Uint32Array(this.hashSize);
  /** By slot, the order in the kernel's chains: an SA with a higher number is found first. Behind the rows: few need it, and seldom. */
  #order = new Uint32Array(ROWS_FIRST);
  #orderLast = 0;

  /** The word where the row of `slot` starts. */
  row(slot: number): number {
    return slot * Row.WORDS;
  }

  /** Whether an SA has an xfrm_replay_state_esn; else an xfrm_replay_state. */
  hasBitmap(slot: number): boolean {
    return this.words[slot * Row.WORDS + Row.ESN_AT] !== EsnAt.LEGACY;
  }

  replayMode(slot: number): ReplayMode {
    if (!this.hasBitmap(slot)) return ReplayMode.LEGACY;
    return (this.flags(slot) & SaFlag.ESN) !== 0 ? ReplayMode.ESN : ReplayMode.BMP;
  }

  /** The array in which an SA has its replay state. */
  replayWords(slot: number): Uint32Array<ArrayBuffer> {
    return (this.words[slot * Row.WORDS + Row.ESN_AT] as number) <= EsnAt.ROW ? this.words : this.arena.words;
  }

  /** Where in that array it is. */
  replayAt(slot: number): number {
    const at = this.words[slot * Row.WORDS + Row.ESN_AT] as number;
    return at <= EsnAt.ROW ? slot * Row.WORDS + Row.REPLAY : at;
  }

  /** How many words of it there are. */
  replayLength(slot: number): number {
    return this.hasBitmap(slot)
      ? Esn.BMP + (this.replayWords(slot)[this.replayAt(slot) + Esn.BMP_LEN] as number)
      : Legacy.WORDS;
  }

  /** Where in that array what was last notified of it is. */
  sentAt(slot: number): number {
    const at = this.words[slot * Row.WORDS + Row.ESN_AT] as number;
    return at <= EsnAt.ROW ? slot * Row.WORDS + Row.SENT : at + this.replayLength(slot);
  }

  /** Gives an SA an xfrm_replay_state_esn with a bitmap of so many words, all of them zero. */
  makeEsn(slot: number, bmpLen: number): void {
    const row = slot * Row.WORDS;
    if (bmpLen <= REPLAY_BITMAP_WORDS) {
      this.words[row + Row.ESN_AT] = EsnAt.ROW;
      this.words[row + Row.REPLAY] = bmpLen;
      return;
    }
    const bytes = 8 * (Esn.BMP + bmpLen);
    const at = this.arena.take(bytes) / 4;
    this.arena.words.fill(0, at, at + bytes / 4);
    this.arena.words[at] = bmpLen;
    this.words[row + Row.ESN_AT] = at;
  }

  #giveEsn(slot: number): void {
    const at = this.words[slot * Row.WORDS + Row.ESN_AT] as number;
    if (at > EsnAt.ROW) this.arena.give(4 * at, 8 * this.replayLength(slot));
  }

  /** Where in the arena's bytes an SA has its xfrm_selector. */
  selectorAt(slot: number): number {
    return 4 * (this.words[slot * Row.WORDS + Row.SELECTOR_AT] as number);
  }

  selector(slot: number): Uint8Array {
    const at = this.selectorAt(slot);
    return this.arena.bytes.subarray(at, at + Sel.SIZE);
  }

  /** Keeps a copy of an xfrm_selector in place of the one before. Those that select nothing but a family are one for all SAs. */
  setSelector(slot: number, selector: Uint8Array): void {
    const family = sharedFamily(selector);
    let at = this.#sharedSelectors.get(family);
    if (at === undefined) {
      const copy = selector.slice();
      at = this.arena.take(Sel.SIZE) / 4;
      this.arena.bytes.set(copy, 4 * at);
      if (family !== NO_FAMILY) this.#sharedSelectors.set(family, at);
    }
    this.#giveSelector(slot);
    this.words[slot * Row.WORDS + Row.SELECTOR_AT] = at;
  }

  #giveSelector(slot: number): void {
    const at = this.selectorAt(slot);
    if (at === 0 || sharedFamily(this.selector(slot)) !== NO_FAMILY) return;
    this.arena.give(at, Sel.SIZE);
  }

  /** A copy of the attributes. */
  attributes(slot: number): SaAttributes {
    const at = this.words[slot * Row.WORDS + Row.ATTRIBUTES_AT] as number;
    if (at === 0) return { head: new Uint8Array(0), body: new Uint8Array(0), tail: new Uint8Array(0) };
    const lengths = this.arena.words[at + 1] as number;
    const head = lengths & 0xff;
    const body = head + (lengths >>> 16);
    const tail = body + ((lengths >>> 8) & 0xff);
    const words = new Uint32Array(tail);
    unpack(this.arena.words, at + 2, words, tail);
    const part = (from: number, to: number): Uint8Array => new Uint8Array(words.buffer, 4 * from, 4 * (to - from));
    return { head: part(0, head), body: part(head, body), tail: part(body, tail) };
  }

  /** Whether there are attributes behind MTIMER_THRESH: those of directions and CPUs. */
  hasTail(slot: number): boolean {
    const at = this.words[slot * Row.WORDS + Row.ATTRIBUTES_AT] as number;
    return at !== 0 && ((this.arena.words[at + 1] as number) & 0xff00) !== 0;
  }

  /** Keeps a copy of the attributes in place of those before: how long, how long their parts are, then their words as `pack` leaves them. */
  setAttributes(slot: number, { head, body, tail }: SaAttributes): void {
    const row = slot * Row.WORDS;
    attributesBytes.set(head);
    attributesBytes.set(body, head.length);
    attributesBytes.set(tail, head.length + body.length);
    const length = (head.length + body.length + tail.length) / 4;
    this.#giveAttributes(slot);
    const encap = encodedAttribute(body, ENCAP);
    this.setBit(slot, RowBit.ENCAP, encap >= 0);
    this.words[row + Row.ENCAP] = encap < 0 ? 0 : encapWord(body, encap);
    if (length === 0) return;
    const packed = pack(attributesPlain, length, attributesPacked);
    const at = this.arena.take(4 * (2 + packed)) / 4;
    const { words } = this.arena;
    words[at] = packed;
    words[at + 1] = (head.length / 4) | ((tail.length / 4) << 8) | ((body.length / 4) << 16);
    words.set(attributesPacked.subarray(0, packed), at + 2);
    // Keys are to be in one place.
    attributesPlain.fill(0, 0, length);
    attributesPacked.fill(0, 0, packed);
    this.words[row + Row.ATTRIBUTES_AT] = at;
  }

  #giveAttributes(slot: number): void {
    const row = slot * Row.WORDS;
    const at = this.words[row + Row.ATTRIBUTES_AT] as number;
    if (at !== 0) this.arena.give(4 * at, 4 * (2 + (this.arena.words[at] as number)));
    this.words[row + Row.ATTRIBUTES_AT] = 0;
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

  /** A row that is in no table yet, and all else of `slot`. */
  clone(slot: number): number {
    const clone = this.allocate();
    const [from, to] = [slot * Row.WORDS, clone * Row.WORDS];
    this.words.copyWithin(to, from, from + Row.WORDS);
    for (const link of [Row.NEXT_SPI, Row.NEXT_DST, Row.NEXT_ALL, Row.PREVIOUS_ALL]) this.words[to + link] = 0;
    // What stands outside the row is copied, not shared.
    this.words[to + Row.ATTRIBUTES_AT] = 0;
    this.words[to + Row.SELECTOR_AT] = 0;
    this.setAttributes(clone, this.attributes(slot));
    this.setSelector(clone, this.selector(slot));
    const at = this.words[from + Row.ESN_AT] as number;
    if (at > EsnAt.ROW) {
      this.makeEsn(clone, this.arena.words[at] as number);
      this.arena.words.copyWithin(this.replayAt(clone), at, at + 2 * this.replayLength(slot));
    }
    return clone;
  }

  /** Something of an SA has changed that its packets depend on, or it is gone. */
  changed(slot: number): void {
    for (const watcher of this.watchers) watcher(slot);
  }

  /** Gives back a row that is in no table. */
  release(slot: number): void {
    this.changed(slot);
    this.#giveAttributes(slot);
    this.#giveSelector(slot);
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

  #grow(): void {
    const rows = Math.ceil((GROWTH * this.words.length) / Row.WORDS);
    const larger = new Uint32Array(rows * Row.WORDS);
    larger.set(this.words);
    this.words = larger;
    this.bytes = new Uint8Array(larger.buffer);
    this.view = new DataView(larger.buffer);
    const order = new Uint32Array(rows);
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
    const buckets = new Uint32Array(this.#used);
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

const NO_FAMILY = -1;

/** The family of a selector that says nothing else; NO_FAMILY of others. */
function sharedFamily(selector: Uint8Array): number {
  const family = selector[Sel.FAMILY + HIGH_BYTE] as number;
  if (family > SHARED_FAMILY_MAX) return NO_FAMILY;
  for (let i = 0; i < Sel.SIZE; i++) {
    if (selector[i] !== 0 && i !== Sel.FAMILY + HIGH_BYTE) return NO_FAMILY;
  }
  return family;
}

function encapWord(body: Uint8Array, at: number): number {
  const type = body[at + HIGH_BYTE] as number;
  return (type << 16) | ((body[at + 2] as number) << 8) | (body[at + 3] as number);
}

const HIGH_BYTE = HIGH === 1 ? 0 : 1;

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
