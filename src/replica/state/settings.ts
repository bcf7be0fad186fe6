import type { Rules } from '../rules.ts';
import type { PlanSettings } from '../sa/plan.ts';
import type { Selection } from '../sa/select.ts';

/** What a node's replica is told once (docs/operations.md has the words of the configuration). */

export interface ReplicaSettings {
  readonly cluster: string;
  readonly node: string;
  /** The names of the other nodes. */
  readonly peers: readonly string[];
  readonly version: string;
  readonly littleEndian: boolean;
  readonly selection: Selection;
  readonly plan: PlanSettings;
  readonly grants: GrantSettings;
  readonly exposure: ExposureSettings;
  /** The active reads the counters of every SA once in so long, as the kernel can lose an event without a word. 0: never. */
  readonly sweepMs: number;
  /** Standby: deletions that are too many at once. */
  readonly held: HeldSettings;
  /** `immediate`: the standby keeps SAs in its kernel, unable to send. `takeover`: it holds them back until it takes over. */
  readonly install: 'immediate' | 'takeover';
  /** How long the kernel must be quiet before a planned switchover reads the final counters, and how long that is waited for. */
  readonly drainMs: number;
  readonly drainMaxMs: number;
  /** A node that starts as active takes the addresses when all others agree, or one has not been heard of for so long. */
  readonly claimAfterMs: number;
  /** The unit of `etimerThresh` in requests, as so many a second; left out: jiffies of the kernel, whose length is found out. */
  readonly hz?: number;
  /** Safety rules that are switched off, for the simulator alone. */
  readonly rules?: Partial<Rules>;
}

/** active/grants.ts */
export interface GrantSettings {
  /**
   * `safe`: an active that has lost its standby stops at the ceilings, unless the standby resigned or was dismissed. `available`: it goes
   * on, without ceilings.
   */
  readonly mode: 'safe' | 'available';
  /** How many numbers a grant has at least, and for how long an SA gets by on one at its highest rate. */
  readonly numbersMin: number;
  readonly horizonMs: number;
}

/** active/adapt.ts */
export interface ExposureSettings {
  readonly adaptive: boolean;
  /** The kernel holds back at most so many packets of an SA, and for at most so long. */
  readonly packets: number;
  readonly ms: number;
}

/** standby/held.ts */
export interface HeldSettings {
  /** More than this part of all SAs within a second is a mass deletion; 1: nothing is. */
  readonly part: number;
  /** What a mass deletion took is kept for so long. */
  readonly ms: number;
}
