import { runScenario } from './run.ts';
import type { Scenario } from './scenario.ts';
import type { Target } from './target.ts';
import { isStream, readScenarios, vectorFiles } from './vectors.ts';

/** How a scenario went on a target. */
export interface RunReport {
  /** Kernel and scenario. */
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** Where the answers first differ, or why it was skipped. */
  readonly detail?: string;
}

/**
 * Carries out the scenarios at `path`, a file or a directory of them, each on a target of its own. Streams are passed over: they hold no
 * requests.
 *
 * @param unsuited - why a scenario cannot be compared on this target, if it cannot
 * @throws VectorError for a file that cannot be used
 */
export async function* runAll(
  path: string,
  targetFor: (scenario: Scenario) => Target,
  unsuited: (scenario: Scenario) => string | undefined = () => undefined,
): AsyncGenerator<RunReport> {
  for (const file of await vectorFiles(path)) {
    if (isStream(file)) continue;
    for await (const { scenario } of readScenarios(file)) {
      const name = `${scenario.kernel} ${scenario.name}`;
      const reason = unsuited(scenario);
      if (reason !== undefined) {
        yield { name, outcome: 'skipped', detail: reason };
        continue;
      }
      const target = targetFor(scenario);
      try {
        yield { name, ...runScenario(scenario, target) };
      } finally {
        target.close();
      }
    }
  }
}

/** Whether a scenario opens PF_KEY sockets. */
export const usesPfkey = ({ steps }: Scenario): boolean =>
  steps.some((step) => step.op === 'socket' && step.proto === 'pfkey');
