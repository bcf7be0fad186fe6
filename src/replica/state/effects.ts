import type { Policy, Request, Sa } from '../../client/index.ts';
import type { Frame, Role } from './frames.ts';

/** What the replica wants done. Effects are carried out one after the other, in order; results come back as inputs. */

/** Why a request is written, so that its failure can be understood. */
export interface Purpose {
  readonly op:
    | 'install'
    | 'update'
    | 'counters'
    | 'delete'
    | 'open'
    | 'policy'
    | 'policyDelete'
    | 'thresholds'
    | 'adapt'
    | 'ceiling'
    | 'leap'
    | 'expire';
  /** Of the SA; 0 for policies. */
  readonly handle: number;
}

export interface Write {
  readonly request: Request;
  readonly purpose: Purpose;
}

/** What a full reading of the kernel is for. */
export type ReadPurpose = 'start' | 'resync' | 'reconcile' | 'takeover' | 'drain' | 'final' | 'used' | 'overlap';

export interface Reading {
  readonly sas: readonly Sa[];
  readonly policies: readonly Policy[];
}

export interface Durable {
  readonly term: number;
  readonly role: Role;
  /** A later term, which this node has agreed that somebody, or it itself, may begin; it agrees to no other takeover into it. */
  readonly promised?: number;
  /** SAs are being opened in this boot's kernel, before the role is active: some of them can send. */
  readonly opening?: true;
}

export interface TakeoverReport {
  /** `none`: the node was active already. */
  readonly kind: 'takeover' | 'switchover' | 'none';
  readonly role: Role;
  readonly term: number;
  readonly sas: number;
  readonly failed: number;
  /** SAs that cannot send as their numbers are used up; they must be re-keyed. */
  readonly exhausted: number;
  /** From the operator's word to the last SA ready. */
  readonly takeoverMs: number;
  /** How long the old active had not been heard of. */
  readonly unseenMs: number;
  readonly skipMax: number;
  readonly closedMax: number;
}

export interface CountersRead {
  readonly handle: number;
  readonly request: Request<'GETAE'>;
}

export type Effect =
  | { readonly type: 'send'; readonly to: readonly string[]; readonly frame: Frame }
  /** Sends what `frames` yields, as fast as the link takes it. */
  | { readonly type: 'stream'; readonly to: string; readonly frames: Iterable<Frame> }
  /** Reads what waits in the event socket, then `answerPing`. */
  | { readonly type: 'pong'; readonly to: string; readonly timeMs: number }
  | { readonly type: 'write'; readonly writes: readonly Write[] }
  | { readonly type: 'read'; readonly purpose: ReadPurpose }
  | { readonly type: 'readSa'; readonly handle: number; readonly request: Request<'GETSA'> }
  | { readonly type: 'readThresholds'; readonly handles: readonly number[] }
  /** GETAE for neither threshold; the answers come back by `onReadCounters`. */
  | { readonly type: 'readCounters'; readonly reads: readonly CountersRead[] }
  | { readonly type: 'persist'; readonly durable: Durable }
  /** Limits of key managers that ceilings hide, to have them after a restart. */
  | { readonly type: 'keepLimits'; readonly limits: readonly (readonly [sa: string, hardPacketLimit: bigint])[] }
  /** `from`: the node that has handed over to this one, and is there to pass on what still comes to it. */
  | { readonly type: 'hook'; readonly name: 'claim' | 'release'; readonly from?: string }
  | { readonly type: 'wait'; readonly ms: number }
  /** Comes back as an input once everything before it is done. */
  | { readonly type: 'mark'; readonly name: 'opened' | 'parked' }
  | { readonly type: 'promoted'; readonly report: TakeoverReport }
  | { readonly type: 'refused'; readonly reason: string }
  | { readonly type: 'demoted' }
  | { readonly type: 'dismissed' }
  | { readonly type: 'disconnect'; readonly from: string; readonly reason: string }
  | {
      readonly type: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly text: string;
      readonly fields?: object;
    };

/** Neighbouring writes to the kernel become one: it takes many of them in a send. */
export function joined(effects: readonly Effect[]): Effect[] {
  const all: Effect[] = [];
  let writes: Write[] | undefined;
  for (const effect of effects) {
    if (effect.type !== 'write') {
      writes = undefined;
      all.push(effect);
    } else if (writes === undefined) {
      writes = [...effect.writes];
      all.push({ type: 'write', writes });
    } else {
      writes.push(...effect.writes);
    }
  }
  return all;
}
