/** Rounds in turn: ours, theirs, ours, theirs, so that a slow moment of the machine strikes both. */

/** One slice of work: how many messages were handled in how many nanoseconds. */
export interface Slice {
  messages: number;
  ns: number;
}

interface Side {
  name: string;
  run(): Promise<Slice> | Slice;
}

/** The compilers of the language engines need a round or two to settle. */
const WARMUP_ROUNDS = 2;
const ROUNDS = 9;
/** One slice; long enough for several collections of garbage to fall into it. */
export const SLICE_MS = 250;

export type Log = (text: string) => void;

/** Messages per second, per side and round, without the warm-up rounds. */
export async function interleave(sides: readonly Side[], log: Log, rounds = ROUNDS): Promise<number[][]> {
  const rates = sides.map((): number[] => []);
  for (let round = -WARMUP_ROUNDS; round < rounds; round++) {
    log(round < 0 ? `warm-up ${round + WARMUP_ROUNDS + 1}/${WARMUP_ROUNDS}` : `round ${round + 1}/${rounds}`);
    for (const [i, side] of sides.entries()) {
      const { messages, ns } = await side.run();
      if (round >= 0) rates[i]?.push((messages * 1e9) / ns);
    }
  }
  return rates;
}
