/** The steps, inside the guest. */
import { release } from 'node:os';
import { mountPackages } from './charon.ts';
import { Ground } from './ground.ts';
import type { Step, StepResult, StrongswanResult } from './steps.ts';

export interface RunOptions {
  /** The CLI's JavaScript file. */
  program: string;
  /** Where strongSwan lies unpacked. */
  tree: string;
  steps: readonly Step[];
  progress: (text: string) => void;
}

export async function runSteps({ program, tree, steps, progress }: RunOptions): Promise<StrongswanResult> {
  mountPackages(tree);
  const ground = new Ground(program, progress);
  const { stage } = ground;
  const results: StepResult[] = [];
  let version = '';
  try {
    await ground.build();
    version = await ground.charon.peer.version();
    for (const { name, about, run } of steps) {
      stage.say(`--- ${name}: ${about}`);
      const from = stage.expectations.list.length;
      const error = await run(ground).then(
        (facts) => ({ facts }),
        (reason: Error) => ({ facts: {}, error: reason.message }),
      );
      const expectations = stage.expectations.list.slice(from);
      const ok = !('error' in error) && expectations.every((one) => one.ok);
      results.push({ name, ok, expectations, ...error });
      stage.say(`--- ${name}: ${ok ? 'held' : 'BROKEN'} ${JSON.stringify(error)}`);
      if (!ok) stage.lastWords();
      // The next step would stand on nothing.
      if ('error' in error) break;
    }
  } finally {
    await ground.end();
  }
  return {
    ok: results.length === steps.length && results.every(({ ok }) => ok),
    kernel: release(),
    version,
    seconds: Math.round((performance.now() - stage.startMs) / 1000),
    steps: results,
  };
}
