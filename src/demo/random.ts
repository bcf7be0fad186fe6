/**
 * Random numbers that a seed decides, so that a run can be had again (sfc32, Chris Doty-Humphrey's small fast generator; public domain). Not
 * for keys: those come from node:crypto.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #count = 1;

  /** `seed`: 32 bits. */
  constructor(seed: number) {
    this.#a = seed >>> 0;
    this.#b = 0x9e3779b9;
    this.#c = 0x243f6a88;
    for (let i = 0; i < WARM_UP; i++) this.u32();
  }

  u32(): number {
    const sum = (this.#a + this.#b + this.#count) >>> 0;
    this.#count = (this.#count + 1) >>> 0;
    this.#a = (this.#b ^ (this.#b >>> 9)) >>> 0;
    this.#b = (this.#c + (this.#c << 3)) >>> 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) >>> 0;
    return sum;
  }

  /** From 0 up to, but not, 1. */
  unit(): number {
    return this.u32() / 2 ** 32;
  }

  /** A whole number from 0 up to, but not, `end`. */
  below(end: number): number {
    return Math.floor(this.unit() * end);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  shuffle<T>(list: T[]): T[] {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [list[i], list[j]] = [list[j] as T, list[i] as T];
    }
    return list;
  }
}

const WARM_UP = 12;
