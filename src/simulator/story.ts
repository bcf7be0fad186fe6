import type { WorldPlan } from './plan.ts';
import { World } from './world.ts';

/** A line of a story: when, who (empty: the world), what. */
export interface StoryLine {
  readonly atMs: number;
  readonly who: string;
  readonly what: string;
}

/** Lines of a story at the most: it ends with the violation, so that the first ones go. */
const LINES_MAX = 2_000;

/** Lives through a world once more and writes down what happens; ends with the violation, if there is one. */
export function storyOf(plan: WorldPlan): StoryLine[] {
  const lines: StoryLine[] = [];
  const world = new World(plan, (atMs, who, what) => {
    lines.push({ atMs, who, what });
    if (lines.length > LINES_MAX) lines.splice(0, LINES_MAX / 2);
  });
  const { violation } = world.run();
  if (violation) lines.push({ atMs: violation.atMs, who: '', what: `${violation.rule} is broken: ${violation.text}` });
  return lines;
}

export function formatLine({ atMs, who, what }: StoryLine): string {
  return `${atMs.toFixed(2).padStart(10)}  ${who.padEnd(1)}  ${what}`;
}

/** What a world is made of, in words. */
export function describePlan({
  inbound,
  fencing,
  mode,
  numbersMin,
  install,
  release,
  sas,
  leftOut,
  times,
  nodes,
  ...plan
}: WorldPlan): string[] {
  const flows = sas.flatMap((sa, i) =>
    leftOut.includes(i)
      ? []
      : [`  SA ${i}: ${sa.direction}, ${sa.window}, ${sa.pattern}, ${sa.pps} packets/s, from ${sa.first}`],
  );
  return [
    `${nodes} nodes, inbound ${inbound}, ${fencing ? 'with' : 'without'} a fence, install ${install}, Linux ${release}`,
    `mode ${mode}, grants of at least ${numbersMin} numbers`,
    `ping ${times.pingMs} ms, timeout ${times.timeoutMs} ms, flush ${times.flushMs} ms, at most ${plan.rateMaxPps} packets/s out, ${plan.rateFloorPps} in`,
    ...flows,
  ];
}
