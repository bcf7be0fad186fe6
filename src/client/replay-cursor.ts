import type { Batch } from '../kernel/index.ts';
import { hostLittleEndian } from '../netlink/index.ts';
import { PfkeyExt, PfkeyMsg, PfkeyReplayMode, ReplayReason } from '../pfkey/index.ts';
import { AddressFamily, AeFlag } from '../xfrm/index.ts';
import { protoOfSatype } from './pfkey-id.ts';

const little = hostLittleEndian;
const WORD = 8;
const HIGH = 0x1_0000_0000;

/** Byte offsets in sadb_msg. */
const Msg = { TYPE: 1, SATYPE: 3, SEQ: 8, PID: 12, SIZE: 16 } as const;
/** Of the extensions, from their start: the value that is read, and the least length. */
const Sa = { SPI: 4, SIZE: 16 } as const;
const Address = { FAMILY: 8, IPV4: 12, IPV4_SIZE: 24, IPV6: 16, IPV6_SIZE: 36 } as const;
const Lifetime = { ALLOCATIONS: 4, BYTES: 8, ADD_TIME: 16, USE_TIME: 24, SIZE: 32 } as const;
const State = { MODE: 4, OSEQ: 8, SEQ: 16, BMP_LEN: 28, PACKETS_HIGH: 32, BITMAP: 40 } as const;
const Reason = { REASON: 4, SIZE: 8 } as const;

const ABSENT = -1;
/** Which half of a 64-bit number comes first. */
const LOW_AT = little ? 0 : 4;

/**
 * Reads an X_REPLAY_NOTIFY without decoding it, in the way and with the words of `AeventCursor`: what takes counters from netlink takes them
 * from PF_KEY too. There is one message in a datagram. The fields are good until the next call of `reset`, and as long as the buffer is not
 * reused. PF_KEY knows no marks.
 */
export class ReplayCursor {
  readonly markValue = 0;
  readonly markMask = 0;
  #view = new DataView(new ArrayBuffer(Msg.SIZE));
  #start = 0;
  #end = 0;
  #isNew = false;
  #sa = ABSENT;
  #dst = ABSENT;
  #lifetime = ABSENT;
  #state = ABSENT;
  #reason = ABSENT;

  /** Starts over at the message in `[start, end)`. */
  reset({ view }: Pick<Batch, 'view'>, start: number, end: number): this {
    this.#view = view;
    this.#start = start;
    this.#end = end;
    this.#isNew = true;
    return this;
  }

  /** True once, if it is a notification that has all that it must have. */
  next(): boolean {
    const isNew = this.#isNew;
    this.#isNew = false;
    return isNew && this.#find();
  }

  #find(): boolean {
    const view = this.#view;
    if (this.#end - this.#start < Msg.SIZE || view.getUint8(this.#start + Msg.TYPE) !== PfkeyMsg.X_REPLAY_NOTIFY)
      return false;
    this.#sa = this.#dst = this.#lifetime = this.#state = this.#reason = ABSENT;
    for (let at = this.#start + Msg.SIZE; this.#end - at >= WORD; ) {
      const length = WORD * view.getUint16(at, little);
      if (length === 0 || length > this.#end - at) return false;
      switch (view.getUint16(at + 2, little)) {
        case PfkeyExt.sa:
          if (length >= Sa.SIZE) this.#sa = at;
          break;
        case PfkeyExt.addressDst:
          if (this.#isAddress(at, length)) this.#dst = at;
          break;
        case PfkeyExt.lifetimeCurrent:
          if (length >= Lifetime.SIZE) this.#lifetime = at;
          break;
        case PfkeyExt.replayState:
          if (length >= State.BITMAP && length >= State.BITMAP + 4 * view.getUint32(at + State.BMP_LEN, little))
            this.#state = at;
          break;
        case PfkeyExt.replayReason:
          if (length >= Reason.SIZE) this.#reason = at;
          break;
      }
      at += length;
    }
    return [this.#sa, this.#dst, this.#lifetime, this.#state, this.#reason].every((at) => at !== ABSENT);
  }

  #isAddress(at: number, length: number): boolean {
    if (length < Address.IPV4_SIZE) return false;
    const family = this.#view.getUint16(at + Address.FAMILY, little);
    return family === AddressFamily.INET || (family === AddressFamily.INET6 && length >= Address.IPV6_SIZE);
  }

  /** Of who has set the state; 0 in other notifications. */
  get requestSeq(): number {
    return this.#view.getUint32(this.#start + Msg.SEQ, little);
  }
  get requestPid(): number {
    return this.#view.getUint32(this.#start + Msg.PID, little);
  }
  /** XFRM_AE_*: CU where somebody has set the state. */
  get flags(): number {
    const reason = this.#view.getUint8(this.#reason + Reason.REASON);
    if ((reason & ReplayReason.SET) !== 0) return AeFlag.CU;
    return (reason & ReplayReason.PACKETS) !== 0 ? AeFlag.CR : AeFlag.CE;
  }
  get spi(): number {
    return this.#view.getUint32(this.#sa + Sa.SPI);
  }
  get proto(): number {
    return protoOfSatype(this.#view.getUint8(this.#start + Msg.SATYPE)) ?? 0;
  }
  get family(): number {
    return this.#view.getUint16(this.#dst + Address.FAMILY, little);
  }
  /** The address as four words; of an IPv4 address the first counts. */
  get daddr0(): number {
    return this.#daddr(0);
  }
  get daddr1(): number {
    return this.#daddr(1);
  }
  get daddr2(): number {
    return this.#daddr(2);
  }
  get daddr3(): number {
    return this.#daddr(3);
  }

  #daddr(word: number): number {
    if (this.family === AddressFamily.INET6) return this.#view.getUint32(this.#dst + Address.IPV6 + 4 * word);
    return word === 0 ? this.#view.getUint32(this.#dst + Address.IPV4) : 0;
  }

  /** Whether the bitmap is more than one word, as in REPLAY_ESN_VAL. */
  get esn(): boolean {
    return this.#view.getUint8(this.#state + State.MODE) !== PfkeyReplayMode.LEGACY;
  }
  get oseq(): number {
    return this.#view.getUint32(this.#state + State.OSEQ + LOW_AT, little);
  }
  get oseqHi(): number {
    return this.#view.getUint32(this.#state + State.OSEQ + 4 - LOW_AT, little);
  }
  get seq(): number {
    return this.#view.getUint32(this.#state + State.SEQ + LOW_AT, little);
  }
  get seqHi(): number {
    return this.#view.getUint32(this.#state + State.SEQ + 4 - LOW_AT, little);
  }
  /** The replay bitmap, as a copy. */
  bitmap(): number[] {
    const length = this.#view.getUint32(this.#state + State.BMP_LEN, little);
    return Array.from({ length }, (_, i) => this.#view.getUint32(this.#state + State.BITMAP + 4 * i, little));
  }
  /** Lifetime so far; this and the next three are exact up to 2^53. */
  get bytes(): number {
    return this.#u64(this.#lifetime + Lifetime.BYTES);
  }
  get packets(): number {
    const high = this.#view.getUint32(this.#state + State.PACKETS_HIGH, little);
    return high * HIGH + this.#view.getUint32(this.#lifetime + Lifetime.ALLOCATIONS, little);
  }
  /** Seconds since the epoch. */
  get addTime(): number {
    return this.#u64(this.#lifetime + Lifetime.ADD_TIME);
  }
  get useTime(): number {
    return this.#u64(this.#lifetime + Lifetime.USE_TIME);
  }

  #u64(at: number): number {
    return this.#view.getUint32(at + 4 - LOW_AT, little) * HIGH + this.#view.getUint32(at + LOW_AT, little);
  }
}
