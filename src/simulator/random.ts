/** Numbers that follow from their keys alone (mulberry32): each part of a world has its own, so that one does not disturb another. */
export interface Random {
  /** 0 to 2^32-1. */
  u32(): number;
  /** 0 to n-1. */
  below(n: number): number;
  /** A whole number, both ends included. */
  between(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(from: readonly T[]): T;
}

export function randomOf(...keys: readonly number[]): Random {
  let state = 0x9e37_79b9;
  for (const key of keys) state = mixed((state ^ Math.imul(key, 0x85eb_ca6b)) >>> 0);
  const u32 = (): number => {
    state = (state + 0x6d2b_79f5) >>> 0;
    return mixed(state);
  };
  const below = (n: number): number => Math.floor((u32() / 0x1_0000_0000) * n);
  return {
    u32,
    below,
    between: (low, high) => low + below(high - low + 1),
    chance: (probability) => u32() < probability * 0x1_0000_0000,
    pick: <T>(from: readonly T[]) => from[below(from.length)] as T,
  };
}

function mixed(state: number): number {
  let z = (state + 0x6d2b_79f5) >>> 0;
  z = Math.imul(z ^ (z >>> 15), z | 1);
  z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
  return (z ^ (z >>> 14)) >>> 0;
}
