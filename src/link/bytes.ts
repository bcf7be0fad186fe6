import { LinkError } from './errors.ts';

/** Writes numbers in network order into memory that grows. */
export class ByteWriter {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  u8(value: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = value;
  }

  u32(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.#at, value);
    this.#at += 4;
  }

  f64(value: number): void {
    this.#room(8);
    this.#view.setFloat64(this.#at, value);
    this.#at += 8;
  }

  /** Seven bits a byte, lowest first; up to 2^53 - 1, which also stands for more. */
  varint(value: number): void {
    this.#room(8);
    let left = Math.min(value, Number.MAX_SAFE_INTEGER);
    while (left >= 0x80) {
      this.#bytes[this.#at++] = (left % 0x80) | 0x80;
      left = Math.floor(left / 0x80);
    }
    this.#bytes[this.#at++] = left;
  }

  bytes(value: Uint8Array): void {
    this.#room(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
  }

  text(value: string): void {
    this.bytes(Buffer.from(value, 'utf8'));
  }

  /** The bytes written, their number less four in the first four. */
  finish(): Uint8Array {
    this.#view.setUint32(0, this.#at - 4);
    return this.#bytes.subarray(0, this.#at);
  }

  #room(n: number): void {
    if (this.#at + n <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + n));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** Reads what `ByteWriter` writes; bounds are checked here and nowhere else. @throws LinkError */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  f64(): number {
    const value = this.#view.getFloat64(this.#take(8));
    if (!Number.isFinite(value)) throw new LinkError('ERR_FRAME', 'a number that is none');
    return value;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= 0x80;
    }
    throw new LinkError('ERR_FRAME', 'a number that is too large');
  }

  /** A variable-length number of 32 bits. */
  word(): number {
    const value = this.varint();
    if (value > 0xffff_ffff) throw new LinkError('ERR_FRAME', 'a 32-bit number that is too large');
    return value;
  }

  text(max: number): string {
    if (this.left > max) throw new LinkError('ERR_FRAME', `a text of ${this.left} bytes, at most ${max} are taken`);
    return Buffer.from(this.rest()).toString('utf8');
  }

  rest(): Uint8Array {
    const start = this.#take(this.left);
    return this.#bytes.subarray(start);
  }

  #take(n: number): number {
    if (n > this.left) throw new LinkError('ERR_FRAME', 'a frame that is cut off');
    const at = this.#at;
    this.#at += n;
    return at;
  }
}
