import type { Sa, SaId } from '../../client/index.ts';
import type { Counters } from './counters.ts';
import type { Rate } from './rate.ts';
import type { ToldEach } from './told.ts';

/** When the kernel speaks of an SA without being asked: every `packets` packets, and after `timerMs` with a change. 0: not at all. */
export interface Thresholds {
  readonly packets: number;
  readonly timerMs: number;
}

/** The kernel's defaults (xfrm_aevent_rseqth 2 packets, xfrm_aevent_etime 1 s). */
export const KERNEL_THRESHOLDS: Thresholds = { packets: 2, timerMs: 1000 };

/** Thresholds of an SA that are this node's. */
export interface Tuning {
  /** As they were. */
  readonly found: Thresholds;
  readonly packets: number;
  /** Undefined: T is left as it was. In jiffies of the kernel, whose length it does not tell. */
  readonly jiffies: number | undefined;
  readonly atMs: number;
  /** The kernel has them: what is read from now on are these, or somebody else's. */
  written: boolean;
  /** T, as it is read. */
  timerMs: number | undefined;
}

/** What is known of the old active when its standby takes over without it. */
export interface Knowledge {
  /** For how long nothing has been heard of it. */
  readonly unseenMs: number;
  /** Its whole account is here, with every grant. */
  readonly complete: boolean;
  /** Until when it was, by this node's clock. */
  readonly provenMs: number;
}

/** One SA of the replica. */
export interface SaRecord {
  /** Names the SA between two nodes, as long as one of them is active. The active chooses it. */
  handle: number;
  readonly id: SaId;
  /** As the kernel described it last. The counters that stand in it are stale; `counters` has the current ones. */
  sa: Sa;
  readonly counters: Counters;
  thresholds: Thresholds;
  readonly rate: Rate;
  /** Counters have moved since they were last sent (active) or written to the kernel (standby). */
  dirty: boolean;
  /** Standby: the SA is in this node's kernel. */
  installed: boolean;
  /** The highest outbound number that may be used, or that this node has used, as all standbys know; 0: nothing was agreed on. */
  granted: number;
  /** Active: beyond this number more is to be asked for. */
  raiseAt: number;
  /** Active: having carried so many packets, half of what its ceiling leaves, it is looked at whether its number has moved with them. */
  recountAt: number;
  /** Active: the hard packet limit that stands in the kernel in place of the key manager's. */
  ceiling: bigint | undefined;
  /** Active: its number when that was written. */
  ceilingAt: number;
  /** Active: the kernel has told the key manager that a soft limit was reached; it must not tell it again. */
  softTold: boolean;
  /** Standby: the times come from this node's account; they are shifted if its clock turns out to be another (`clock.ts`). */
  timesBy: string | undefined;
  /** It was deleted, and the operator has brought it back: what was known of it at the deletion. */
  restored: Knowledge | undefined;
  /** Active: where this SA began on this node, if it was taken over in this life of the daemon. */
  began: Readonly<Counters> | undefined;
  /** It was silent for so long that its kernel has announced everything: counters and bitmap are exact (quiet.ts). */
  quiet: boolean;
  /** Active: when it was last seen to move. */
  movedMs: number;
  /** Active: with which T the kernel's timer for this SA can be running at most; undefined: not known yet, Infinity: it need not be running. */
  timerMaxMs: number | undefined;
  /** Active: its counters are being read to see whether it is quiet. */
  probed: boolean;
  /** Active: what of its progress has arrived at each standby. */
  readonly told: ToldEach;
  /** Active: its thresholds are set by this node. `theirs`: somebody has set them since, and is left alone. */
  tuning: Tuning | 'theirs' | undefined;
  /** Next record with the same SPI. */
  next: SaRecord | undefined;
}

/** What a new record knows of its SA: nothing yet. */
export const newRecordState = (): Pick<
  SaRecord,
  | 'dirty'
  | 'granted'
  | 'raiseAt'
  | 'recountAt'
  | 'ceiling'
  | 'ceilingAt'
  | 'softTold'
  | 'timesBy'
  | 'restored'
  | 'began'
  | 'quiet'
  | 'movedMs'
  | 'timerMaxMs'
  | 'probed'
  | 'told'
  | 'tuning'
  | 'next'
> => ({
  dirty: false,
  granted: 0,
  raiseAt: Number.POSITIVE_INFINITY,
  recountAt: Number.POSITIVE_INFINITY,
  ceiling: undefined,
  ceilingAt: 0,
  softTold: false,
  timesBy: undefined,
  restored: undefined,
  began: undefined,
  quiet: false,
  movedMs: 0,
  timerMaxMs: undefined,
  probed: false,
  told: [],
  tuning: undefined,
  next: undefined,
});
