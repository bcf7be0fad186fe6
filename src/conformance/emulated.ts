import { emulatedTarget } from './emulated-target.ts';
import { runScenario } from './run.ts';
import { isStream, readScenarios, vectorFiles } from './vectors.ts';

/** How a scenario went on a target. */
export interface RunReport {
  /** Kernel and scenario. */
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** Where the answers first differ. */
  readonly detail?: string;
}

/**
 * Carries out the scenarios at `path`, a file or a directory of them, on the emulated kernel in the profile that each asks for. Streams are
 * passed over: they hold no requests.
 * @throws VectorError for a file that cannot be used
 */
export async function* checkEmulated(path: string): AsyncGenerator<RunReport> {
  for (const file of await vectorFiles(path)) {
    if (isStream(file)) continue;
    for await (const { scenario } of readScenarios(file)) {
      const target = emulatedTarget(scenario);
      try {
        yield { name: `${scenario.kernel} ${scenario.name}`, ...runScenario(scenario, target) };
      } finally {
        target.close();
      }
    }
  }
}
