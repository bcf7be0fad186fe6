import type { Rules } from '../replica/index.ts';
import type { Violation } from './checks.ts';
import { makePlan, type WorldPlan } from './plan.ts';
import { randomOf } from './random.ts';
import { World, type WorldResult } from './world.ts';

/** A safety rule that can be switched off. */
export type RuleSwitch = keyof Rules;

interface SimulateOptions {
  readonly seed: number;
  /** Worlds are made until so many takeovers have happened. */
  readonly takeovers: number;
  readonly inbound?: 'strict' | 'window' | undefined;
  readonly without?: RuleSwitch | undefined;
  /** Gateways of each cluster; otherwise 2 to 5. */
  readonly nodes?: number | undefined;
  /** Called after each world. */
  readonly onWorld?: (so: Totals) => void;
}

export interface Totals {
  seed: number;
  worlds: number;
  takeovers: number;
  steps: number;
  violations: number;
  packetsLost: number;
  lossBound: number;
  packets: number;
  virtualMs: number;
  faults: Record<string, number>;
}

export interface Failure {
  readonly world: number;
  readonly plan: WorldPlan;
  readonly violation: Violation;
}

/** Worlds without a single takeover in a row: then something is wrong with them. */
const BARREN_MAX = 200;

const planOfWorld = (
  { seed, inbound, without, nodes }: Pick<SimulateOptions, 'seed' | 'inbound' | 'without' | 'nodes'>,
  world: number,
): WorldPlan => makePlan(randomOf(seed, world).u32(), { inbound, without, nodes });

/** Makes worlds until enough takeovers have happened, or one has broken a rule. */
export function simulate(options: SimulateOptions): { readonly totals: Totals; readonly failure: Failure | undefined } {
  const totals: Totals = {
    seed: options.seed,
    worlds: 0,
    takeovers: 0,
    steps: 0,
    violations: 0,
    packetsLost: 0,
    lossBound: 0,
    packets: 0,
    virtualMs: 0,
    faults: {},
  };
  let barren = 0;
  for (let world = 0; totals.takeovers < options.takeovers && barren < BARREN_MAX; world++) {
    const plan = planOfWorld(options, world);
    const result = new World(plan).run();
    add(totals, result);
    barren = result.takeovers === 0 ? barren + 1 : 0;
    options.onWorld?.(totals);
    if (result.violation !== undefined) return { totals, failure: { world, plan, violation: result.violation } };
  }
  return { totals, failure: undefined };
}

function add(totals: Totals, result: WorldResult): void {
  totals.worlds++;
  for (const name of ['takeovers', 'steps', 'packetsLost', 'lossBound', 'packets', 'virtualMs'] as const)
    totals[name] += result[name];
  totals.violations += result.violation === undefined ? 0 : 1;
  for (const [kind, count] of result.faults) totals.faults[kind] = (totals.faults[kind] ?? 0) + count;
}
