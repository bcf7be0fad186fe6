import type { Policy, Sa } from '../../client/index.ts';
import type { Position } from '../sa/plan.ts';
import type { Knowledge, SaRecord } from '../sa/record.ts';
import type { GrantEntry } from './frames.ts';
import type { Peer } from './peer.ts';

/** What a node keeps of what it is in the middle of. */

export type Phase = 'starting' | 'steady' | 'takingOver' | 'awaitingHandover' | 'handingOver';

export interface Takeover {
  readonly kind: 'takeover' | 'switchover';
  readonly startedMs: number;
  /** The new term. It becomes the node's term once it is on disk. */
  readonly term: number;
  readonly positions: Map<number, Position>;
  /** From when to when nothing is known of the old active. */
  readonly unseenMs: number;
  readonly provenMs: number;
  /** The whole account of the old active was here. */
  readonly complete: boolean;
  /** What the others say of it; undefined: they are not asked, or not any more. */
  votes: Votes | undefined;
  failed: number;
  retried: boolean;
  /** Every position is written; the role is being stored. */
  opened: boolean;
}

/** A takeover that waits for the others. */
export interface Votes {
  readonly untilMs: number;
  readonly granted: Set<Peer>;
  readonly refused: Map<Peer, string>;
}

/** Grants in one frame, and who has acknowledged them. */
export interface Ask {
  readonly entries: readonly GrantEntry[];
  readonly known: Set<Peer>;
}

/** Which account a standby has: of whose reign, and up to which of its grants. */
export interface Account {
  readonly term: number;
  /** The latest `grants` frame. Numbers of one reign grow, over restarts of its daemon too. */
  readonly asked: number;
  /** Grants since its beginning, the latest ones. */
  readonly recent: readonly { readonly id: number; readonly entries: readonly GrantEntry[] }[];
}

/** What an old active has to tell. */
export interface Used {
  /** When the SAs were shut: their last known numbers, and how many packets they had carried by then. */
  readonly before: ReadonlyMap<SaRecord, { readonly sa: Sa; readonly number: number; readonly packets: number }>;
  /** Once the kernel has been read: the last number that each SA has used. */
  numbers: Map<SaRecord, number> | undefined;
}

/** What was deleted lately, and what of it was too much at once. */
export interface Held {
  recent: Deleted[];
  mass: Deleted[];
}

export interface Deleted {
  readonly atMs: number;
  readonly record?: SaRecord;
  readonly policy?: Policy;
  /** What was known of the SA then. Nobody uses it since. */
  readonly known: Knowledge;
}

export const newHeld = (): Held => ({ recent: [], mass: [] });
