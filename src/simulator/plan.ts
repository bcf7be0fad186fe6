import type { Rules } from '../replica/index.ts';
import type { DaemonTimes } from './daemon.ts';
import { makeOperation, type Operation } from './operations.ts';
import { type Random, randomOf } from './random.ts';

/** What a world is made of, and what will happen in it: all of it follows from a seed, and a part of it can be left out. */
export interface WorldPlan {
  readonly seed: number;
  /** Gateways. */
  readonly nodes: number;
  readonly inbound: 'strict' | 'window';
  /** What an active does that has lost its standby, and how many numbers a grant has at least. */
  readonly mode: 'safe' | 'available';
  readonly numbersMin: number;
  /**
   * Whoever promotes sees to it first that the other one sends nothing any more. Without it S2 and S7 are promised nowhere, and S1 in mode
   * `safe` alone.
   */
  readonly fencing: boolean;
  readonly install: 'immediate' | 'takeover';
  readonly release: string;
  readonly times: DaemonTimes;
  readonly drainMs: number;
  readonly drainMaxMs: number;
  readonly rateMaxPps: number;
  readonly rateFloorPps: number;
  /** How long nobody forwards until somebody is promoted. */
  readonly detectMs: number;
  readonly network: NetworkPlan;
  readonly sas: readonly SaPlan[];
  /** SAs that are left out when a story is made shorter. */
  readonly leftOut: readonly number[];
  readonly operations: readonly Operation[];
  readonly without: keyof Rules | undefined;
}

export interface NetworkPlan {
  readonly delayMs: number;
  /** Of packets to the gateways: lost, late, doubled. Never two of the first two in a row: how far a number jumps is bounded (S2). */
  readonly loss: number;
  readonly late: number;
  readonly lateMs: number;
  readonly doubled: number;
  /** How often the attacker sends something again, and how much after a change. */
  readonly replayEveryMs: number;
}

export type Pattern = 'steady' | 'bursty' | 'idle' | 'fast';
export type WindowKind = 'legacy' | 'bitmap' | 'esn' | 'none';

export interface SaPlan {
  readonly direction: 'in' | 'out';
  readonly pattern: Pattern;
  readonly window: WindowKind;
  /** Packets a second while it is busy. */
  readonly pps: number;
  /** The number that it begins with. */
  readonly first: number;
  /** The kernel says which way it goes (Linux 6.10). */
  readonly saysDirection: boolean;
}

export interface PlanOptions {
  readonly inbound: 'strict' | 'window' | undefined;
  readonly without: keyof Rules | undefined;
  /** How many gateways; otherwise 2 to 5, as the seed says. */
  readonly nodes?: number | undefined;
}

/** Which of the seed's sequences this is. */
const GRANTS = 5;
const NODES = 6;
/** Most clusters are pairs. */
const SIZES = [2, 2, 2, 2, 3, 3, 4, 5];
const isAboutGrants = (rule: keyof Rules | undefined): boolean =>
  rule === 'grants' || rule === 'ceiling' || rule === 'votes';
const SAS_MAX = 6;
const OPERATIONS_MIN = 8;
const OPERATIONS_MAX = 24;
const START_MS = 400;
const GAP_MS_MAX = 900;
const TWO_32 = 2 ** 32;

export function makePlan(seed: number, { inbound, without, nodes }: PlanOptions): WorldPlan {
  const r = randomOf(seed, 1);
  const disturbed = r.chance(0.6);
  const saysDirection = r.chance(0.4);
  const sas = Array.from({ length: r.between(2, SAS_MAX) }, (_, i) =>
    makeSa(r, i % 2 === 0 ? 'out' : 'in', saysDirection),
  );
  const fastest = Math.max(...sas.filter(({ direction }) => direction === 'in').map(({ pps }) => pps));
  const fencing = without === undefined ? r.chance(0.92) : without !== 'ceiling' && without !== 'votes';
  const operations: Operation[] = [];
  let atMs = START_MS;
  for (let n = r.between(OPERATIONS_MIN, OPERATIONS_MAX); n > 0; n--) {
    atMs += r.chance(0.25) ? r.between(1, 20) : r.between(40, GAP_MS_MAX);
    operations.push(makeOperation(r, atMs, { fencing, sas: sas.length }));
  }
  const g = randomOf(seed, GRANTS);
  return {
    seed,
    nodes: nodes ?? (without === undefined ? randomOf(seed, NODES).pick(SIZES) : without === 'votes' ? 3 : 2),
    mode: isAboutGrants(without) || (without === undefined && g.chance(0.5)) ? 'safe' : 'available',
    numbersMin: isAboutGrants(without) ? 64 : g.pick([32, 256, 512, 1 << 18]),
    inbound: inbound ?? (without === 'strict' || r.chance(0.8) ? 'strict' : 'window'),
    fencing,
    install: r.chance(0.85) ? 'immediate' : 'takeover',
    release: r.pick(['6.12.117', '6.1.158']),
    times: {
      pingMs: r.pick([20, 50, 100]),
      timeoutMs: r.pick([300, 600, 1000]),
      flushMs: r.pick([2, 5, 20]),
      applyMs: r.pick([10, 100]),
      handoverTimeoutMs: r.pick([800, 3000]),
    },
    drainMs: r.pick([5, 50]),
    drainMaxMs: r.pick([20, 300]),
    rateMaxPps: 5_000,
    // Without disturbance numbers come as fast as they are sent; with it, two more of them at once.
    rateFloorPps: disturbed ? Math.max(3_000, 4 * fastest) : Math.ceil(1.25 * fastest) + 40,
    detectMs: r.pick([10, 50, 200]),
    network: {
      delayMs: r.pick([0.25, 1, 8]),
      loss: disturbed ? 0.03 : 0,
      late: disturbed ? 0.1 : 0,
      lateMs: r.pick([1, 5, 40]),
      doubled: r.pick([0, 0.02]),
      replayEveryMs: r.pick([5, 20, 60]),
    },
    sas,
    leftOut: [],
    operations,
    without,
  };
}

function makeSa(r: Random, direction: 'in' | 'out', saysDirection: boolean): SaPlan {
  const pattern = r.pick<Pattern>(['steady', 'steady', 'bursty', 'idle', 'fast']);
  const window = r.pick<WindowKind>(['legacy', 'legacy', 'bitmap', 'esn', 'esn', 'none']);
  const ppsMax = direction === 'out' ? 2_000 : 800;
  const pps = { steady: r.between(40, 300), bursty: r.between(200, ppsMax), idle: r.between(1, 5), fast: ppsMax }[
    pattern
  ];
  const nearEnd = r.chance(0.25);
  const first = !nearEnd
    ? r.pick([0, 0, 5, 1_000])
    : window === 'esn'
      ? r.pick([TWO_32 - 60, 3 * TWO_32 - 300, TWO_32 + 3])
      : TWO_32 - r.pick([600, 200_000, 3_000_000]);
  return { direction, pattern, window, pps, first, saysDirection };
}
