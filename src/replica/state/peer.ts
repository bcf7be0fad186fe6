import type { SaRecord } from '../sa/record.ts';
import { newRounds, type Rounds } from '../sa/told.ts';
import type { Hello } from './frames.ts';

/** Another node's time of day less this node's, and how far off that can be. */
export interface Offset {
  readonly ms: number;
  readonly uncertaintyMs: number;
}

export interface PeerClock {
  /** The other node's last ping: the time that it bore, and when it came. */
  heard: { readonly timeMs: number; readonly atMs: number } | undefined;
  samples: readonly Offset[];
  /** The best of the recent ones. It stays when the link is lost. */
  offset: Offset | undefined;
  alarmed: boolean;
  /** Whole seconds that are taken off the times of the other node's SAs. */
  shiftS: number;
}

export const newPeerClock = (): PeerClock => ({
  heard: undefined,
  samples: [],
  offset: undefined,
  alarmed: false,
  shiftS: 0,
});

/** Another node of the cluster, and what there is between it and this one. */
export interface Peer {
  readonly name: string;
  /** Which of an SA's `told` is about it. */
  readonly index: number;
  /** The link to it is up. */
  linked: boolean;
  /** As it said hello on the link that is up. */
  hello: (Hello & { readonly term: number }) | undefined;
  /** Why it was refused last: said once, however often it comes back. */
  quarrel: string | undefined;
  /** How far its time of day is from this node's. */
  readonly clock: PeerClock;
  /** Active: this standby has, or has had, an account of this node, and may take over: grants bind. */
  bound: boolean;
  /** Active: this standby gets every change. */
  streaming: boolean;
  /** Active: the latest snapshot for it has not been sent to its end. */
  sending: boolean;
  /** Active: number of the latest snapshot; an older one that is still being sent stops. */
  snapshots: number;
  /** Active: SAs whose counters moved while the link to it was full. */
  readonly behind: Set<SaRecord>;
  /** Active: what of the account has arrived there. */
  readonly rounds: Rounds;
  /** Active: when its latest ping came: what is said by a pong holds at least for then. */
  pingedMs: number;
  /** Active: the last numbers that it has used itself while it was active, as it tells them, until they are compared. */
  readonly used: Map<SaRecord, number>;
}

export const newPeer = (name: string, index: number): Peer => ({
  name,
  index,
  linked: false,
  hello: undefined,
  quarrel: undefined,
  clock: newPeerClock(),
  bound: false,
  streaming: false,
  sending: false,
  snapshots: 0,
  behind: new Set(),
  rounds: newRounds(),
  pingedMs: 0,
  used: new Map(),
});
