import { SaFlag } from '../../xfrm/index.ts';
import { ByteArena } from './arena.ts';
import { encodedAttribute, pack, packedMax, unpack } from './encoded.ts';
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
/** The last family with a selector of its own that all SAs share which select nothing else. */
const SHARED_FAMILY_MAX = 10;
/** More than a datagram can bring, an authentication algorithm counted twice. */
const ATTRIBUTES_WORDS_MAX = 1 << 16;
const attributesPlain = new Uint32Array(ATTRIBUTES_WORDS_MAX);
const attributesBytes = new Uint8Array(attributesPlain.buffer);
const attributesPacked = new Uint32Array(packedMax(attributesPlain.length));
/** How much larger the rows get when they are full. */
const GROWTH = 1.125;

/** The SAs of one namespace, each a row of one array with a number of its own, its slot; whether one can be found is the affair of `Sad`. */
export class SaRows {
  words: Uint32Array<ArrayBuffer> = new Uint32Array(ROWS_FIRST * Row.WORDS);
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(this.words.buffer);
  view: DataView<ArrayBuffer> = new DataView(this.words.buffer);
  /** Who keeps something of an SA under its slot: called when the SA has changed or is gone. */
  readonly watchers = new Set<(slot: number) => void>();
  /** What is of variable length: encoded attributes, long replay states, selectors that select something. */
  readonly arena = new ByteArena();
  /** By family: the place of the selector that takes in all of that family. */
  readonly #sharedSelectors = new Map<number, number>();
  readonly #free: number[] = [];
  #used = 0;

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

  #grow(): void {
    const rows = Math.ceil((GROWTH * this.words.length) / Row.WORDS);
    const larger = new Uint32Array(rows * Row.WORDS);
    larger.set(this.words);
    this.words = larger;
    this.bytes = new Uint8Array(larger.buffer);
    this.view = new DataView(larger.buffer);
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

/** Of a 16-bit number the byte that holds values below 256. */
export const HIGH_BYTE = HIGH === 1 ? 0 : 1;
