import type { Scenario } from '../../src/conformance/scenario.ts';
import { forEachMessage } from '../../src/netlink/index.ts';
import { compare, type Difference, type MakeTarget } from './compare.ts';
import type { KernelProfile } from './draft.ts';
import { generate } from './generate.ts';
import { shrink } from './shrink.ts';

/** Sequence after sequence on both kernels, until there were enough requests or too many differences. */

export interface CampaignOptions {
  readonly seed: number;
  /** The first sequence. */
  readonly from: number;
  /** Ends when so many requests have been made, */
  readonly requests: number;
  /** when so many sequences, */
  readonly sequences: number;
  /** after so long, */
  readonly timeMs: number;
  /** or with so many differences that are not explained. */
  readonly differencesMax: number;
  readonly timers: boolean;
  readonly profile: KernelProfile;
  readonly real: MakeTarget;
  /** Told before each sequence: when the kernel dies of it, this says of which. */
  readonly onStart?: (index: number) => void;
  readonly onProgress?: (totals: Totals) => void;
  readonly onDifference?: (difference: Difference, index: number) => void;
}

export interface Totals {
  sequences: number;
  requests: number;
  packets: number;
  differences: number;
  /** By the name of the explanation. */
  readonly explained: Record<string, number>;
  /** Differences that did not come again: time had a part in them. */
  unstable: number;
  /** Differences in sequences that took so long, even when they were as short as they go, that a timer may have run out in them. */
  slow: number;
  /** What comes next. */
  next: number;
  readonly seconds: number;
}

/** The first timer that a sequence without a wait could meet runs out after a second. */
const SLOW_MS = 800;
/** A difference counts when it comes so many times in a row. */
const CONFIRMATIONS = 2;

export function campaign(options: CampaignOptions): Totals {
  const { seed, profile, real } = options;
  const start = performance.now();
  const totals: Totals & { seconds: number } = {
    sequences: 0,
    requests: 0,
    packets: 0,
    differences: 0,
    explained: {},
    unstable: 0,
    slow: 0,
    next: options.from,
    seconds: 0,
  };
  for (;;) {
    totals.seconds = (performance.now() - start) / 1000;
    options.onProgress?.(totals);
    if (totals.requests >= options.requests || totals.sequences >= options.sequences) break;
    if (totals.seconds * 1000 >= options.timeMs || totals.differences >= options.differencesMax) break;
    const index = totals.next++;
    options.onStart?.(index);
    const scenario = generate(seed, index, profile, { timers: options.timers });
    const { recorded, difference } = compare(scenario, real);
    count(recorded, totals);
    if (difference !== undefined) judge(difference, index, options, totals);
  }
  return totals;
}

function count({ steps }: Scenario, totals: Totals): void {
  totals.sequences++;
  for (const step of steps) {
    if (step.op === 'send') forEachMessage(Buffer.from(step.hex, 'hex'), () => void totals.requests++);
    if (step.op === 'packet') totals.packets += step.dir === 'out' ? (step.count ?? 1) : step.packets.length;
  }
}

function isSlow({ steps }: Scenario): boolean {
  return steps.every(({ op }) => op !== 'sleep') && (steps.at(-1)?.t ?? 0) > SLOW_MS;
}

/** Whether a difference is an explained one shows in the shortest sequence that has it: a long one has a bit of everything. */
function judge(found: Difference, index: number, options: CampaignOptions, totals: Totals): void {
  let last = found;
  for (let n = 0; n < CONFIRMATIONS; n++) {
    const { difference } = compare(found.recorded, options.real);
    if (difference === undefined) {
      totals.unstable++;
      return;
    }
    last = difference;
  }
  const shortest = shrink(last, options.real);
  if (isSlow(shortest.recorded)) {
    totals.slow++;
    return;
  }
  if (shortest.explained !== undefined) {
    totals.explained[shortest.explained] = (totals.explained[shortest.explained] ?? 0) + 1;
    return;
  }
  totals.differences++;
  options.onDifference?.(shortest, index);
}

export function textOfTotals({ sequences, requests, packets, differences, ...more }: Totals): string {
  const explained = Object.entries(more.explained).map(([name, n]) => `${name} ${n}`);
  const parts = [
    `${sequences} sequences`,
    `${requests} requests`,
    `${packets} packets`,
    `${differences} differences`,
    ...(explained.length > 0 ? [`explained: ${explained.join(', ')}`] : []),
    ...(more.unstable > 0 ? [`${more.unstable} that did not come again`] : []),
    ...(more.slow > 0 ? [`${more.slow} in sequences too slow to judge`] : []),
    `${more.seconds.toFixed(0)} s`,
  ];
  return parts.join(', ');
}
