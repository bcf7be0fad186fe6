import { hostLittleEndian, NLMSG_HDRLEN } from '../netlink/index.ts';

const NEWAE = 0x1e;
const AEVENT_ID = 48;
const LTIME_VAL = 9;
const REPLAY_VAL = 10;
const MARK = 21;
const REPLAY_ESN_VAL = 23;
const IF_ID = 31;
const HIGH = 0x1_0000_0000;

/**
 * Walks the NEWAE messages of a datagram without allocating: the fields of this one object hold the message that `next` stopped at.
 * Numbers are copies, so they stay; `bmpOffset` points into the buffer and is good only as long as the buffer is.
 *
 * Messages of other types and malformed ones are passed over and counted in `skipped`.
 */
export class AeventCursor {
  spi = 0;
  family = 0;
  proto = 0;
  daddr0 = 0;
  daddr1 = 0;
  daddr2 = 0;
  daddr3 = 0;
  /** XFRM_AE_*. */
  flags = 0;
  reqid = 0;
  markValue = 0;
  markMask = 0;
  ifId = 0;
  oseq = 0;
  oseqHi = 0;
  seq = 0;
  seqHi = 0;
  /** True for REPLAY_ESN_VAL: `bmpLen` words stand at `bmpOffset`. False: REPLAY_VAL, the bitmap is one word at `bmpOffset`. */
  esn = false;
  replayWindow = 0;
  bmpLen = 0;
  bmpOffset = 0;
  /** Lifetime so far; exact up to 2^53. */
  bytes = 0;
  packets = 0;
  /** Seconds since the epoch. */
  addTime = 0;
  useTime = 0;
  /** Where the current message starts. */
  offset = 0;
  /** Messages passed over since `reset`. */
  skipped = 0;

  #source: Uint8Array | undefined;
  #view: DataView = new DataView(new ArrayBuffer(0));
  #next = 0;
  #end = 0;

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
    while (this.#end - this.#next >= NLMSG_HDRLEN) {
      const at = this.#next;
      const length = view.getUint32(at, hostLittleEndian);
      if (length < NLMSG_HDRLEN || length > this.#end - at) break;
      this.#next = at + ((length + 3) & ~3);
      if (view.getUint16(at + 4, hostLittleEndian) === NEWAE && this.#read(view, at, at + length)) return true;
      this.skipped++;
    }
    this.#next = this.#end;
    return false;
  }

  #read(view: DataView, at: number, end: number): boolean {
    const body = at + NLMSG_HDRLEN;
    let o = body + AEVENT_ID;
    if (o > end) return false;
    this.offset = at;
    this.daddr0 = view.getUint32(body);
    this.daddr1 = view.getUint32(body + 4);
    this.daddr2 = view.getUint32(body + 8);
    this.daddr3 = view.getUint32(body + 12);
    this.spi = view.getUint32(body + 16);
    this.family = view.getUint16(body + 20, hostLittleEndian);
    this.proto = view.getUint8(body + 22);
    this.flags = view.getUint32(body + 40, hostLittleEndian);
    this.reqid = view.getUint32(body + 44, hostLittleEndian);
    this.markValue = 0;
    this.markMask = 0;
    this.ifId = 0;
    let replay = false;
    let lifetime = false;
    while (end - o >= 4) {
      const length = view.getUint16(o, hostLittleEndian);
      if (length < 4 || length > end - o) break;
      const p = o + 4;
      switch (view.getUint16(o + 2, hostLittleEndian) & 0x3fff) {
        case REPLAY_VAL:
          if (length < 16) return false;
          this.oseq = view.getUint32(p, hostLittleEndian);
          this.seq = view.getUint32(p + 4, hostLittleEndian);
          this.oseqHi = 0;
          this.seqHi = 0;
          this.esn = false;
          this.replayWindow = 0;
          this.bmpLen = 1;
          this.bmpOffset = p + 8;
          replay = true;
          break;
        case REPLAY_ESN_VAL:
          if (length < 28) return false;
          this.bmpLen = view.getUint32(p, hostLittleEndian);
          if (this.bmpLen > (length - 28) >>> 2) return false;
          this.oseq = view.getUint32(p + 4, hostLittleEndian);
          this.seq = view.getUint32(p + 8, hostLittleEndian);
          this.oseqHi = view.getUint32(p + 12, hostLittleEndian);
          this.seqHi = view.getUint32(p + 16, hostLittleEndian);
          this.replayWindow = view.getUint32(p + 20, hostLittleEndian);
          this.esn = true;
          this.bmpOffset = p + 24;
          replay = true;
          break;
        case LTIME_VAL:
          if (length < 36) return false;
          this.bytes = this.#u64(view, p);
          this.packets = this.#u64(view, p + 8);
          this.addTime = this.#u64(view, p + 16);
          this.useTime = this.#u64(view, p + 24);
          lifetime = true;
          break;
        case MARK:
          if (length < 12) return false;
          this.markValue = view.getUint32(p, hostLittleEndian);
          this.markMask = view.getUint32(p + 4, hostLittleEndian);
          break;
        case IF_ID:
          if (length < 8) return false;
          this.ifId = view.getUint32(p, hostLittleEndian);
          break;
      }
      o += (length + 3) & ~3;
    }
    // The kernel always sends both (xfrm_user.c:build_aevent).
    return replay && lifetime;
  }

  #u64(view: DataView, at: number): number {
    const low = view.getUint32(hostLittleEndian ? at : at + 4, hostLittleEndian);
    const high = view.getUint32(hostLittleEndian ? at + 4 : at, hostLittleEndian);
    return high * HIGH + low;
  }
}
