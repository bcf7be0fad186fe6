import type { Batch } from './kernel.ts';

const BYTES_FIRST = 4096;
const DATAGRAMS_FIRST = 16;
/** Arrays that were large once let go of their memory when they are empty. */
const BYTES_KEPT = 1 << 20;

/** Datagrams one behind the other in one array, each at a multiple of 4 bytes: a `Batch` as it stands. */
export class Datagrams implements Batch {
  buffer: Uint8Array<ArrayBuffer> = new Uint8Array(BYTES_FIRST);
  view: DataView<ArrayBuffer> = new DataView(this.buffer.buffer);
  count = 0;
  offsets = new Uint32Array(DATAGRAMS_FIRST);
  lengths = new Uint32Array(DATAGRAMS_FIRST);
  #used = 0;

  push(bytes: Uint8Array, length: number): void {
    if (this.#used + length > this.buffer.length) this.#growBytes(length);
    if (this.count === this.offsets.length) this.#growIndex();
    this.buffer.set(bytes.length === length ? bytes : bytes.subarray(0, length), this.#used);
    this.offsets[this.count] = this.#used;
    this.lengths[this.count] = length;
    this.count++;
    this.#used = (this.#used + length + 3) & ~3;
  }

  clear(): void {
    this.count = 0;
    this.#used = 0;
    if (this.buffer.length <= BYTES_KEPT) return;
    this.buffer = new Uint8Array(BYTES_FIRST);
    this.view = new DataView(this.buffer.buffer);
  }

  #growBytes(length: number): void {
    const larger = new Uint8Array(Math.max(2 * this.buffer.length, this.#used + length));
    larger.set(this.buffer.subarray(0, this.#used));
    this.buffer = larger;
    this.view = new DataView(larger.buffer);
  }

  #growIndex(): void {
    const grown = (old: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> => {
      const larger = new Uint32Array(2 * old.length);
      larger.set(old);
      return larger;
    };
    this.offsets = grown(this.offsets);
    this.lengths = grown(this.lengths);
  }
}
