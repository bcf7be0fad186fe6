import { hostLittleEndian, NLMSG_HDRLEN } from '../netlink/index.ts';

const NEWAE = 0x1e;
const AEVENT_ID = 48;
const LTIME_VAL = 9;
const REPLAY_VAL = 10;
const MARK = 21;
const REPLAY_ESN_VAL = 23;
const IF_ID = 31;
const HIGH = 0x1_0000_0000;

/** A constant of this module: what is imported is not folded into optimised code. */
const little = hostLittleEndian;

/** What the offset of an attribute that is not there points to: fields read as 0. */
const ABSENT = -1;

/**
 * Walks the NEWAE messages of a datagram without allocating. The fields show the message that `next` stopped at; they are read from the
 * buffer when they are asked for, so they are good until the next call of `next` or `reset`, and as long as the buffer is not reused.
 *
 * Messages of other types and malformed ones are passed over and counted in `skipped`.
 */
export class AeventCursor {
  /** Where the current message starts. */
  offset = 0;
  /** True for REPLAY_ESN_VAL, which is what counts if both are there. False: REPLAY_VAL, the bitmap is one word. */
  esn = false;
  /** Words of the bitmap at `bmpOffset`. */
  bmpLen = 0;
  /** Where the bitmap starts in the buffer. */
  bmpOffset = 0;
  /** Messages passed over since `reset`. */
  skipped = 0;

  #source: Uint8Array | undefined;
  #view: DataView = new DataView(new ArrayBuffer(NLMSG_HDRLEN + AEVENT_ID + 64));
  #next = 0;
  #end = 0;
  /** Where the fixed part and the payloads of the attributes start. */
  #body = NLMSG_HDRLEN;
  #replay = NLMSG_HDRLEN;
  #lifetime = NLMSG_HDRLEN;
  #mark = ABSENT;
  #ifId = ABSENT;

  /** Starts over at the messages in `bytes[start, end)`. */
  reset(bytes: Uint8Array, start = 0, end: number = bytes.length): this {
    if (bytes !== this.#source) {
      this.#source = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    this.#next = start;
    this.#end = Math.min(end, bytes.length);
    this.skipped = 0;
    return this;
  }

  /** Moves to the next NEWAE; false at the end. */
  next(): boolean {
    const view = this.#view;
    const end = this.#end;
    let at = this.#next;
    while (end - at >= NLMSG_HDRLEN) {
      const length = view.getUint32(at, little);
      if (length < NLMSG_HDRLEN || length > end - at) break;
      const start = at;
      at += (length + 3) & ~3;
      if (view.getUint16(start + 4, little) === NEWAE && this.#find(view, start, start + length)) {
        this.#next = at;
        return true;
      }
      this.skipped++;
    }
    this.#next = end;
    return false;
  }

  /** The replay bitmap, as a copy: the one thing here that allocates. */
  bitmap(): number[] {
    return Array.from({ length: this.bmpLen }, (_, i) => this.#view.getUint32(this.bmpOffset + 4 * i, little));
  }

  /** Finds the attributes of the NEWAE in `[at, end)`; false if one of them is too short or one that the kernel always sends is missing. */
  #find(view: DataView, at: number, end: number): boolean {
    let o = at + NLMSG_HDRLEN + AEVENT_ID;
    if (o > end) return false;
    let replay = ABSENT;
    let esn = ABSENT;
    let words = 0;
    let lifetime = ABSENT;
    let mark = ABSENT;
    let ifId = ABSENT;
    while (end - o >= 4) {
      const length = view.getUint16(o, little);
      if (length < 4 || length > end - o) break;
      switch (view.getUint16(o + 2, little) & 0x3fff) {
        case REPLAY_VAL:
          if (length < 16) return false;
          replay = o + 4;
          break;
        case REPLAY_ESN_VAL:
          if (length < 28) return false;
          esn = o + 4;
          words = Math.min(view.getUint32(esn, little), (length - 28) >>> 2);
          break;
        case LTIME_VAL:
          if (length < 36) return false;
          lifetime = o + 4;
          break;
        case MARK:
          if (length < 12) return false;
          mark = o + 4;
          break;
        case IF_ID:
          if (length < 8) return false;
          ifId = o + 4;
          break;
      }
      o += (length + 3) & ~3;
    }
    // The kernel always sends both (xfrm_user.c:build_aevent).
    if (lifetime === ABSENT || (replay === ABSENT && esn === ABSENT)) return false;
    this.offset = at;
    this.esn = esn !== ABSENT;
    // The counters of REPLAY_ESN_VAL stand one word further on, behind the length of its bitmap.
    this.#replay = this.esn ? esn + 4 : replay;
    this.bmpLen = this.esn ? words : 1;
    this.bmpOffset = this.esn ? esn + 24 : replay + 8;
    this.#body = at + NLMSG_HDRLEN;
    this.#lifetime = lifetime;
    this.#mark = mark;
    this.#ifId = ifId;
    return true;
  }

  /** The address as four words; of an IPv4 address the first counts. */
  get daddr0(): number {
    return this.#view.getUint32(this.#body);
  }
  get daddr1(): number {
    return this.#view.getUint32(this.#body + 4);
  }
  get daddr2(): number {
    return this.#view.getUint32(this.#body + 8);
  }
  get daddr3(): number {
    return this.#view.getUint32(this.#body + 12);
  }
  get spi(): number {
    return this.#view.getUint32(this.#body + 16);
  }
  get family(): number {
    return this.#view.getUint16(this.#body + 20, little);
  }
  get proto(): number {
    return this.#view.getUint8(this.#body + 22);
  }
  /** XFRM_AE_*. */
  get flags(): number {
    return this.#view.getUint32(this.#body + 40, little);
  }
  get reqid(): number {
    return this.#view.getUint32(this.#body + 44, little);
  }
  get markValue(): number {
    return this.#mark === ABSENT ? 0 : this.#view.getUint32(this.#mark, little);
  }
  get markMask(): number {
    return this.#mark === ABSENT ? 0 : this.#view.getUint32(this.#mark + 4, little);
  }
  get ifId(): number {
    return this.#ifId === ABSENT ? 0 : this.#view.getUint32(this.#ifId, little);
  }
  get oseq(): number {
    return this.#view.getUint32(this.#replay, little);
  }
  get seq(): number {
    return this.#view.getUint32(this.#replay + 4, little);
  }
  get oseqHi(): number {
    return this.esn ? this.#view.getUint32(this.#replay + 8, little) : 0;
  }
  get seqHi(): number {
    return this.esn ? this.#view.getUint32(this.#replay + 12, little) : 0;
  }
  /** In bits; 0 for REPLAY_VAL, which does not say. */
  get replayWindow(): number {
    return this.esn ? this.#view.getUint32(this.#replay + 16, little) : 0;
  }
  /** Lifetime so far; this and the next three are exact up to 2^53. */
  get bytes(): number {
    return this.#u64(this.#lifetime);
  }
  get packets(): number {
    return this.#u64(this.#lifetime + 8);
  }
  /** Seconds since the epoch. */
  get addTime(): number {
    return this.#u64(this.#lifetime + 16);
  }
  get useTime(): number {
    return this.#u64(this.#lifetime + 24);
  }

  #u64(at: number): number {
    const low = this.#view.getUint32(little ? at : at + 4, little);
    const high = this.#view.getUint32(little ? at + 4 : at, little);
    return high * HIGH + low;
  }
}
