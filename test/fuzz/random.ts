/** Numbers that follow from a seed alone (mulberry32). */
export interface Random {
  /** 0 to 2^32-1. */
  u32(): number;
  /** 0 to n-1. */
  below(n: number): number;
  pick<T>(from: readonly T[]): T;
}

/** The numbers of input `index` of a run: each input can be made again without those before it. */
export function randomOf(seed: number, index: number): Random {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0;
  const u32 = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return (z ^ (z >>> 14)) >>> 0;
  };
  const below = (n: number): number => Math.floor((u32() / 0x1_0000_0000) * n);
  return { u32, below, pick: (from) => from[below(from.length)] as (typeof from)[number] };
}
