const BYTES_FIRST = 1024;
/** Pieces are multiples of this, so that what was freed serves others of about its size. */
const GRAIN = 8;
/** How much larger it gets when it is full: little, as what is not used is memory of every SA. */
const GROWTH = 1.125;

/** Memory for many small pieces of bytes, given out and taken back: an array of its own for each would cost more than what is in it. */
export class ByteArena {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(BYTES_FIRST);
  /** The same as words: pieces start at a whole one. */
  words: Uint32Array<ArrayBuffer> = new Uint32Array(this.bytes.buffer);
  /** Byte 0 is never given out: 0 says that there is no piece. */
  #end = GRAIN;
  /** Places that were taken back, by size. */
  readonly #free = new Map<number, number[]>();

  /** A place for `length` bytes, which may hold anything. */
  take(length: number): number {
    const size = sizeOf(length);
    const freed = this.#free.get(size)?.pop();
    if (freed !== undefined) return freed;
    const at = this.#end;
    this.#end += size;
    if (this.#end > this.bytes.length) {
      const larger = new Uint8Array(sizeOf(Math.max(this.#end, GROWTH * this.bytes.length)));
      larger.set(this.bytes);
      this.bytes = larger;
      this.words = new Uint32Array(larger.buffer);
    }
    return at;
  }

  /** Takes a piece back; its content, which may be keys, is wiped. */
  give(at: number, length: number): void {
    const size = sizeOf(length);
    this.bytes.fill(0, at, at + size);
    const list = this.#free.get(size);
    if (list === undefined) this.#free.set(size, [at]);
    else list.push(at);
  }
}

const sizeOf = (length: number): number => Math.ceil(length / GRAIN) * GRAIN;
