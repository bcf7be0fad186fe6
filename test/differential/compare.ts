import { emulatedTarget } from '../../src/conformance/emulated-target.ts';
import { runScenario } from '../../src/conformance/run.ts';
import type { Scenario } from '../../src/conformance/scenario.ts';
import type { Target } from '../../src/conformance/target.ts';
import { explanationOf } from './explained.ts';
import { record } from './record.ts';

/** One sequence on both kernels. */

export interface Difference {
  /** What the kernel under examination did. */
  readonly recorded: Scenario;
  /** Where the other one first differs, decoded, side by side. */
  readonly detail: string;
  /** The name of the explained difference that it may be: known for sure when the sequence is as short as it goes. */
  readonly explained: string | undefined;
}

export type MakeTarget = (scenario: Scenario) => Target;

export function withTarget<T>(make: MakeTarget, scenario: Scenario, use: (target: Target) => T): T {
  const target = make(scenario);
  try {
    return use(target);
  } finally {
    target.close();
  }
}

/** Records a sequence on a fresh target and carries the record out on a fresh emulated kernel. */
export function compare(scenario: Scenario, real: MakeTarget): { recorded: Scenario; difference?: Difference } {
  const recorded = withTarget(real, scenario, (target) => record(scenario, target));
  const result = withTarget(emulatedTarget, recorded, (target) => runScenario(recorded, target));
  if (result.outcome !== 'failed') return { recorded };
  const { detail } = result;
  return { recorded, difference: { recorded, detail, explained: explanationOf(recorded, detail) } };
}
