import { hostLittleEndian, NLMSG_HDRLEN } from '../netlink/index.ts';

const NEWAE = 0x1e;
const AEVENT_ID = 48;
const LTIME_VAL = 9;
const REPLAY_VAL = 10;
const MARK = 21;
const REPLAY_ESN_VAL = 23;
const IF_ID = 31;
const HIGH = 0x1_0000_0000;

/** Which half of a 64-bit number comes first, in words. */
const LOW_WORD = hostLittleEndian ? 0 : 1;
const HIGH_WORD = 1 - LOW_WORD;

/** What the position of an attribute that is not there is: its fields read as 0. */
const ABSENT = 0;

const NO_BYTES = new ArrayBuffer(NLMSG_HDRLEN + AEVENT_ID + 64);

/**
 * Walks the NEWAE messages of a datagram without allocating. The fields show the message that `next` stopped at; they are read from the
 * buffer when they are asked for, so they are good until the next call of `next` or `reset`, and as long as the buffer is not reused.
 *
 * Messages of other types and malformed ones are passed over and counted in `skipped`.
 *
 * Numbers are read as 16- and 32-bit words of the host, in whose order they are and to which netlink aligns them (NLMSG_ALIGN,
 * NLA_ALIGN): half the work of a DataView. Messages that do not start at a word are copied first.
 */
export class AeventCursor {
  /** True for REPLAY_ESN_VAL, which is what counts if both are there. False: REPLAY_VAL, the bitmap is one word. */
  esn = false;
  /** Messages passed over since `reset`. */
  skipped = 0;

  #source: ArrayBufferLike | undefined;
  #sourceOffset = -1;
  #sourceLength = -1;
  #halves = new Uint16Array(NO_BYTES);
  #words = new Uint32Array(NO_BYTES);
  /** Network order: addresses and SPI. */
  #view = new DataView(NO_BYTES);
  /** What has to be added to a position to have the offset in the caller's buffer. */
  #shift = 0;
  #next = 0;
  #end = 0;
  /** Positions, in words: the fixed part and the payloads of the attributes. */
  #body = NLMSG_HDRLEN >> 2;
  #replay = NLMSG_HDRLEN >> 2;
  /** How many words the attribute has for a bitmap. */
  #room = 1;
  #lifetime = NLMSG_HDRLEN >> 2;
  #mark = ABSENT;
  #ifId = ABSENT;

  /** Starts over at the messages in `bytes[start, end)`. */
  reset(bytes: Uint8Array, start = 0, end: number = bytes.length): this {
    const stop = Math.min(end, bytes.length);
    const from = Math.min(Math.max(start, 0), stop);
    this.skipped = 0;
    if (((bytes.byteOffset | from) & 3) !== 0) {
      this.#look(bytes.slice(from, stop));
      this.#source = undefined;
      this.#shift = from;
      this.#next = 0;
      this.#end = stop - from;
      return this;
    }
    const { buffer, byteOffset, length } = bytes;
    if (buffer !== this.#source || byteOffset !== this.#sourceOffset || length !== this.#sourceLength) {
      this.#look(bytes);
      this.#source = buffer;
      this.#sourceOffset = byteOffset;
      this.#sourceLength = length;
    }
    this.#shift = 0;
    this.#next = from;
    this.#end = stop;
    return this;
  }

  #look({ buffer, byteOffset, length }: Uint8Array): void {
    this.#halves = new Uint16Array(buffer, byteOffset, length >> 1) as Uint16Array<ArrayBuffer>;
    this.#words = new Uint32Array(buffer, byteOffset, length >> 2) as Uint32Array<ArrayBuffer>;
    this.#view = new DataView(buffer, byteOffset, length) as DataView<ArrayBuffer>;
  }

  /** Moves to the next NEWAE; false at the end. */
  next(): boolean {
    const words = this.#words;
    const halves = this.#halves;
    const end = this.#end;
    let at = this.#next;
    while (end - at >= NLMSG_HDRLEN) {
      const length = words[at >> 2] as number;
      if (length < NLMSG_HDRLEN || length > end - at) break;
      const start = at;
      at += (length + 3) & ~3;
      if (halves[(start + 4) >> 1] === NEWAE && this.#find(halves, start, start + length)) {
        this.#next = at;
        return true;
      }
      this.skipped++;
    }
    this.#next = end;
    return false;
  }

  /** Where the current message starts. */
  get offset(): number {
    return this.#body * 4 - NLMSG_HDRLEN + this.#shift;
  }

  /** Words of the bitmap at `bmpOffset`. */
  get bmpLen(): number {
    return this.esn ? Math.min(this.#words[this.#replay - 1] as number, this.#room) : 1;
  }

  /** Where the bitmap starts in the buffer. */
  get bmpOffset(): number {
    return this.#bitmap * 4 + this.#shift;
  }

  /** The replay bitmap, as a copy: the one thing here that allocates. */
  bitmap(): number[] {
    return Array.from(this.#words.subarray(this.#bitmap, this.#bitmap + this.bmpLen));
  }

  get #bitmap(): number {
    return this.#replay + (this.esn ? 5 : 2);
  }

  /** Finds the attributes of the NEWAE in `[at, end)`; false if one of them is too short or one that the kernel always sends is missing. */
  #find(halves: Uint16Array, at: number, end: number): boolean {
    let o = at + NLMSG_HDRLEN + AEVENT_ID;
    if (o > end) return false;
    let replay = ABSENT;
    let esn = ABSENT;
    let room = 0;
    let lifetime = ABSENT;
    let mark = ABSENT;
    let ifId = ABSENT;
    while (end - o >= 4) {
      const length = halves[o >> 1] as number;
      if (length < 4 || length > end - o) break;
      switch ((halves[(o >> 1) + 1] as number) & 0x3fff) {
        case REPLAY_VAL:
          if (length < 16) return false;
          replay = (o + 4) >> 2;
          break;
        case REPLAY_ESN_VAL:
          if (length < 28) return false;
          esn = (o + 4) >> 2;
          room = (length - 28) >> 2;
          break;
        case LTIME_VAL:
          if (length < 36) return false;
          lifetime = (o + 4) >> 2;
          break;
        case MARK:
          if (length < 12) return false;
          mark = (o + 4) >> 2;
          break;
        case IF_ID:
          if (length < 8) return false;
          ifId = (o + 4) >> 2;
          break;
      }
      o += (length + 3) & ~3;
    }
    // The kernel always sends both (xfrm_user.c:build_aevent).
    if (lifetime === ABSENT || (replay === ABSENT && esn === ABSENT)) return false;
    this.esn = esn !== ABSENT;
    // The counters of REPLAY_ESN_VAL stand one word further on, behind the length of its bitmap.
    this.#replay = this.esn ? esn + 1 : replay;
    this.#room = room;
    this.#body = (at + NLMSG_HDRLEN) >> 2;
    this.#lifetime = lifetime;
    this.#mark = mark;
    this.#ifId = ifId;
    return true;
  }

  /** The address as four words; of an IPv4 address the first counts. */
  get daddr0(): number {
    return this.#view.getUint32(this.#body * 4);
  }
  get daddr1(): number {
    return this.#view.getUint32(this.#body * 4 + 4);
  }
  get daddr2(): number {
    return this.#view.getUint32(this.#body * 4 + 8);
  }
  get daddr3(): number {
    return this.#view.getUint32(this.#body * 4 + 12);
  }
  get spi(): number {
    return this.#view.getUint32(this.#body * 4 + 16);
  }
  get family(): number {
    return this.#halves[this.#body * 2 + 10] as number;
  }
  get proto(): number {
    return this.#view.getUint8(this.#body * 4 + 22);
  }
  /** XFRM_AE_*. */
  get flags(): number {
    return this.#words[this.#body + 10] as number;
  }
  get reqid(): number {
    return this.#words[this.#body + 11] as number;
  }
  get markValue(): number {
    return this.#mark === ABSENT ? 0 : (this.#words[this.#mark] as number);
  }
  get markMask(): number {
    return this.#mark === ABSENT ? 0 : (this.#words[this.#mark + 1] as number);
  }
  get ifId(): number {
    return this.#ifId === ABSENT ? 0 : (this.#words[this.#ifId] as number);
  }
  get oseq(): number {
    return this.#words[this.#replay] as number;
  }
  get seq(): number {
    return this.#words[this.#replay + 1] as number;
  }
  get oseqHi(): number {
    return this.esn ? (this.#words[this.#replay + 2] as number) : 0;
  }
  get seqHi(): number {
    return this.esn ? (this.#words[this.#replay + 3] as number) : 0;
  }
  /** In bits; 0 for REPLAY_VAL, which does not say. */
  get replayWindow(): number {
    return this.esn ? (this.#words[this.#replay + 4] as number) : 0;
  }
  /** Lifetime so far; this and the next three are exact up to 2^53. */
  get bytes(): number {
    return this.#u64(this.#lifetime);
  }
  get packets(): number {
    return this.#u64(this.#lifetime + 2);
  }
  /** Seconds since the epoch. */
  get addTime(): number {
    return this.#u64(this.#lifetime + 4);
  }
  get useTime(): number {
    return this.#u64(this.#lifetime + 6);
  }

  #u64(word: number): number {
    return (this.#words[word + HIGH_WORD] as number) * HIGH + (this.#words[word + LOW_WORD] as number);
  }
}
