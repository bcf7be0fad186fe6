import type { Violation } from './checks.ts';
import type { WorldPlan } from './plan.ts';
import { World } from './world.ts';

/** Makes the story of a violation short: leaves out what it does not need, one thing after the other, as long as the same rule breaks. */

/** Worlds that are lived through for it. */
const RUNS_MAX = 400;

export interface Shrunk {
  readonly plan: WorldPlan;
  readonly violation: Violation;
}

export function shrink(plan: WorldPlan, violation: Violation): Shrunk {
  let best: Shrunk = { plan, violation };
  let runs = 0;
  const attempt = (change: Partial<WorldPlan>): boolean => {
    if (runs >= RUNS_MAX) return false;
    runs++;
    const changed = { ...best.plan, ...change };
    const found = new World(changed).run().violation;
    if (found?.rule !== violation.rule) return false;
    best = { plan: changed, violation: found };
    return true;
  };
  attempt({ operations: plan.operations.filter(({ atMs }) => atMs <= violation.atMs) });
  for (let before = -1; before !== best.plan.operations.length; ) {
    before = best.plan.operations.length;
    dropOperations(() => best.plan, attempt);
  }
  for (let i = 0; i < plan.sas.length; i++) {
    if (best.plan.sas.length - best.plan.leftOut.length > 1) attempt({ leftOut: [...best.plan.leftOut, i] });
  }
  const { network } = best.plan;
  if (!attempt({ network: { ...network, loss: 0, late: 0, doubled: 0 } }))
    attempt({ network: { ...network, doubled: 0 } });
  return best;
}

/** First in large pieces, then one by one. */
function dropOperations(plan: () => WorldPlan, attempt: (change: Partial<WorldPlan>) => boolean): void {
  for (let size = Math.ceil(plan().operations.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < plan().operations.length; ) {
      const { operations } = plan();
      if (!attempt({ operations: [...operations.slice(0, from), ...operations.slice(from + size)] })) from += size;
    }
  }
}
