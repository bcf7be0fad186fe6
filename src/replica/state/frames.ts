import type { Policy, Sa } from '../../client/index.ts';
import type { Counters } from '../sa/counters.ts';
import type { Thresholds } from '../sa/record.ts';

/** What nodes say to each other. Every frame carries the sender's term; a frame of an older term than one's own has no effect (S4). */

export type Role = 'active' | 'standby';

/** Who a node is. Sent first, and again whenever role or term change. */
export interface Hello {
  readonly type: 'hello';
  readonly cluster: string;
  readonly node: string;
  readonly role: Role;
  /** Messages of the kernel travel as they are, in the byte order of the sender's host. */
  readonly littleEndian: boolean;
  readonly version: string;
}

export interface CountersEntry {
  readonly handle: number;
  readonly counters: Readonly<Counters>;
  /** The SA is silent: its counters and bitmap are exact, until a later entry says otherwise. */
  readonly quiet?: true;
}

export interface GrantEntry {
  readonly handle: number;
  /** The highest number that may be used. */
  readonly upTo: number;
}

export type FrameBody =
  | Hello
  /** A complete account follows. What it does not name by `snapshotEnd` is gone. */
  /** `asked`: the number of the latest `grants` frame: what it asked for is in the account, or void. */
  | { readonly type: 'snapshotBegin'; readonly sas: number; readonly policies: number; readonly asked: number }
  | { readonly type: 'snapshotEnd' }
  /** `granted`: the highest outbound number that the active may use; 0: nothing was agreed on. */
  | {
      readonly type: 'sa';
      readonly handle: number;
      readonly thresholds: Thresholds;
      readonly granted: number;
      readonly sa: Sa;
    }
  | { readonly type: 'saDelete'; readonly handle: number }
  | { readonly type: 'policy'; readonly policy: Policy }
  | { readonly type: 'policyDelete'; readonly policy: Policy }
  | { readonly type: 'counters'; readonly entries: readonly CountersEntry[] }
  /** Active to standby: what it wants to use. Standby to active: it knows. */
  | { readonly type: 'grants'; readonly id: number; readonly entries: readonly GrantEntry[] }
  | { readonly type: 'granted'; readonly id: number }
  /** Standby to active: it ends, and will not take over. */
  | { readonly type: 'resign' }
  /** Old active, a standby now, to the new one: the last outbound number that it has used of each SA, in one frame or more. */
  | { readonly type: 'used'; readonly last: boolean; readonly entries: readonly GrantEntry[] }
  /**
   * `timeMs` is the sender's clock and comes back in the active's pong. `timeOfDayMs`: since the epoch, 0 if it is not known. `echo`: the
   * time in the receiver's last ping, and for how long the sender has had it.
   */
  | {
      readonly type: 'ping';
      readonly timeMs: number;
      readonly timeOfDayMs: number;
      readonly echo?: { readonly timeMs: number; readonly heldMs: number };
    }
  /** All that the active's kernel had said when it got the ping has been sent before this. */
  | { readonly type: 'pong'; readonly timeMs: number }
  /** Standby to active: all that was sent before this pong has arrived. */
  | { readonly type: 'proven'; readonly timeMs: number }
  /** Standby to all: may it begin this term? With which account: of the active of which term, up to which `grants` frame. */
  | {
      readonly type: 'vote';
      readonly newTerm: number;
      readonly account: number;
      readonly asked: number;
      /** The old active has handed over. */
      readonly planned: boolean;
    }
  /** `refusal`: why not; empty: yes. `promised`: the latest term that the sender has agreed to. */
  | { readonly type: 'voted'; readonly newTerm: number; readonly promised: number; readonly refusal: string }
  /** To those that may have agreed: this term does not begin. */
  | { readonly type: 'withdrawn'; readonly newTerm: number }
  | { readonly type: 'resyncRequest' }
  /** Standby to active: hand over. Active to standby: ask for it. */
  | { readonly type: 'handoverRequest' }
  | { readonly type: 'handoverOffer' }
  | { readonly type: 'handoverRefused'; readonly reason: string }
  /** The old active sends nothing any more; the counters sent before this are final. */
  | { readonly type: 'handoverDone' }
  /** The link is about to be closed, and why. */
  | { readonly type: 'bye'; readonly reason: string };

export type Frame = FrameBody & { readonly term: number };
