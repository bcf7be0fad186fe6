import type { Random } from './random.ts';

/** What can be done to a cluster. `world.ts` says how, by kind; here stands how often, and with which numbers. */

export interface Operation {
  readonly atMs: number;
  readonly kind: OperationKind;
  /** Whom it befalls: who is active then, or the other one. */
  readonly who: 'active' | 'standby';
  /** Which SA. */
  readonly sa: number;
  /** How long, or after how long. */
  readonly ms: number;
  /** A number for what is left: at which step, how far, which variant. */
  readonly n: number;
}

/** How often each happens, by weight; `unfenced`: only where nobody is fenced. */
const weights = {
  machineCrash: 10,
  daemonCrash: 6,
  crashDuring: 8,
  pause: 4,
  overrun: 4,
  eventLost: 4,
  diskStall: 3,
  diskFailure: 3,
  hookFailure: 4,
  kernelRefuses: 3,
  linkBreak: 4,
  linkCut: 5,
  pathCut: 3,
  switchover: 14,
  demote: 6,
  demoteForce: 2,
  promoteForce: 6,
  failover: 8,
  promoteTwice: 2,
  promoteBoth: 3,
  demoteBusy: 2,
  promoteIncomplete: 5,
  resync: 5,
  saDelete: 6,
  saRekey: 6,
  spiReuse: 6,
  saFlush: 2,
  limits: 3,
  hardLimit: 2,
  thresholds: 4,
  countersByHand: 3,
  timeStep: 3,
  replayStorm: 6,
  burst: 4,
} as const;

export type OperationKind = keyof typeof weights;

/** Every kind there is, for tests of the coverage. */
export const operationKinds = Object.keys(weights) as OperationKind[];

const all = Object.entries(weights).flatMap(([kind, weight]) =>
  new Array<OperationKind>(weight).fill(kind as OperationKind),
);

export function makeOperation(
  r: Random,
  atMs: number,
  about: { readonly fencing: boolean; readonly sas: number },
): Operation {
  const kind = r.pick(all);
  return {
    atMs,
    kind: kind === 'promoteBoth' && about.fencing ? 'failover' : kind,
    who: r.chance(0.65) ? 'active' : 'standby',
    sa: r.below(about.sas),
    ms: r.pick([r.between(1, 30), r.between(30, 400), r.between(400, 1500)]),
    n: r.between(0, 40),
  };
}
