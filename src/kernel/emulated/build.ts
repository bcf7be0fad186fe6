import { align4, hostLittleEndian, NLMSG_HDRLEN } from '../../netlink/index.ts';

const little = hostLittleEndian;
const XFRMA_PAD = 27;

/**
 * Writes netlink messages one behind the other into memory that is used again and again. Everything that is not written is zero.
 * `begin` and `attribute` may replace `bytes` and `view` by larger ones: ask for the place first, for the memory after it.
 */
export class MessageWriter {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(4096);
  view: DataView<ArrayBuffer> = new DataView(this.bytes.buffer);
  /** Where the next byte goes; the length of the datagram so far. */
  at = 0;
  /** Messages begun since `reset`. */
  messages = 0;
  readonly #pad64: boolean;
  #start = 0;

  constructor(pad64: boolean) {
    this.#pad64 = pad64;
  }

  /** Starts a datagram. */
  reset(): this {
    this.at = 0;
    this.messages = 0;
    return this;
  }

  /** Starts a message; returns where its fixed part of `size` bytes goes. */
  begin(type: number, flags: number, seq: number, pid: number, size: number): number {
    this.#start = this.at;
    this.messages++;
    const body = this.#take(NLMSG_HDRLEN + align4(size)) + NLMSG_HDRLEN;
    const { view } = this;
    view.setUint16(this.#start + 4, type, little);
    view.setUint16(this.#start + 6, flags, little);
    view.setUint32(this.#start + 8, seq, little);
    view.setUint32(this.#start + 12, pid, little);
    return body;
  }

  /** Ends a message whose attributes end on 4 bytes; `length` if it is shorter than what was written. */
  end(length: number = this.at - this.#start): void {
    this.view.setUint32(this.#start, length, little);
  }

  /** Takes back the message that was begun last. */
  drop(): void {
    this.at = this.#start;
    this.messages--;
  }

  /** Writes the header of an attribute; returns where its payload goes. */
  attribute(type: number, size: number): number {
    const at = this.#take(align4(4 + size));
    this.view.setUint16(at, 4 + size, little);
    this.view.setUint16(at + 2, type, little);
    return at + 4;
  }

  u32(type: number, value: number): void {
    const at = this.attribute(type, 4);
    this.view.setUint32(at, value, little);
  }

  u8(type: number, value: number): void {
    const at = this.attribute(type, 1);
    this.view.setUint8(at, value);
  }

  copy(type: number, payload: Uint8Array): void {
    const at = this.attribute(type, payload.length);
    this.bytes.set(payload, at);
  }

  /** Attributes that are encoded already. */
  raw(attributes: Uint8Array): void {
    const at = this.#take(attributes.length);
    this.bytes.set(attributes, at);
  }

  /** Room for a 64-bit attribute: aligned by an empty one where the build asks for it (nla_need_padding_for_64bit). */
  pad64(type: number = XFRMA_PAD): void {
    if (this.#pad64 && this.at % 8 === 0) this.attribute(type, 0);
  }

  u64(type: number, value: bigint, padType?: number): void {
    this.pad64(padType);
    const at = this.attribute(type, 8);
    this.view.setBigUint64(at, value, little);
  }

  /** Copies words as they stand; `at` is a place in bytes. */
  words(at: number, source: Uint32Array, from: number, count: number): void {
    const { view } = this;
    for (let i = 0; i < count; i++) view.setUint32(at + 4 * i, source[from + i] as number, little);
  }

  #take(size: number): number {
    const { at } = this;
    if (at + size > this.bytes.length) {
      const larger = new Uint8Array(Math.max(2 * this.bytes.length, at + size));
      larger.set(this.bytes.subarray(0, at));
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    this.bytes.fill(0, at, at + size);
    this.at = at + size;
    return at;
  }
}
