import { type GrantEntry, takeInGrant } from './grants.ts';
import type { Peer } from './peer.ts';
import { followTerm } from './reign.ts';
import type { State, Takeover } from './state.ts';
import { enterTerm } from './takeover.ts';

/**
 * In a cluster of three nodes or more, a takeover needs the word of a majority, itself included. Any two majorities have a node in common:
 * so no two nodes begin the same term, and one that has missed a reign, or a grant that the active relied on, does not come to power. Two nodes alone
 * have no such majority (docs/safety.md).
 */

/** Which account a standby has: of whose reign, and up to which of its grants. */
export interface Account {
  readonly term: number;
  /** The latest `grants` frame. Numbers of one reign grow, over restarts of its daemon too. */
  readonly asked: number;
  /** Grants since its beginning, the latest ones. */
  readonly recent: readonly { readonly id: number; readonly entries: readonly GrantEntry[] }[];
}

/** A takeover that waits for the others. */
export interface Votes {
  readonly untilMs: number;
  readonly granted: Set<Peer>;
  readonly refused: Map<Peer, string>;
}

/** Grants that are kept for a candidate that has missed them: those of the last seconds. */
const RECENT_MAX = 64;

export function noteAsked({ term, asked, recent }: Account, id: number, entries: readonly GrantEntry[]): Account {
  return { term, asked: Math.max(asked, id), recent: [...recent, { id, entries }].slice(-RECENT_MAX) };
}

// --- the candidate ------------------------------------------------------------------------------------------------------

export const needsVotes = ({ peers, rules }: State, force: boolean): boolean => peers.size > 1 && !force && rules.votes;

/** Nodes that a takeover can ask, with this one. */
export const isMajorityPresent = (s: State): boolean => s.present.length + 1 >= s.majority;

/** The new term is on disk here, which is this node's own vote. */
export function askForVotes(s: State, takeover: Takeover, nowMs: number): void {
  const { account } = s;
  if (account === undefined) return;
  takeover.votes = { untilMs: nowMs + s.settings.claimAfterMs, granted: new Set(), refused: new Map() };
  const { kind, term } = takeover;
  const planned = kind === 'switchover';
  s.send(s.present, { type: 'vote', newTerm: term, account: account.term, asked: account.asked, planned });
  countVotes(s);
}

export function onVoted(s: State, peer: Peer, newTerm: number, refusal: string): void {
  const { takeover } = s;
  if (takeover?.votes === undefined || takeover.term !== newTerm) return;
  if (refusal === '') takeover.votes.granted.add(peer);
  else takeover.votes.refused.set(peer, refusal);
  countVotes(s);
}

/** What the active had asked for and this candidate has missed. */
export function onMissedGrants(s: State, entries: readonly GrantEntry[]): void {
  if (s.takeover?.votes !== undefined) for (const { handle, upTo } of entries) takeInGrant(s, handle, upTo);
}

export function countVotes(s: State, nowMs = Number.NEGATIVE_INFINITY): void {
  const { takeover } = s;
  if (takeover?.votes === undefined) return;
  const { granted, refused, untilMs } = takeover.votes;
  if (granted.size + 1 >= s.majority) {
    takeover.votes = undefined;
    enterTerm(s, takeover);
    return;
  }
  const open = s.present.filter((peer) => !granted.has(peer) && !refused.has(peer));
  if (granted.size + 1 + open.length >= s.majority && nowMs < untilMs) return;
  s.takeover = undefined;
  s.phase = 'steady';
  s.send([...granted], { type: 'withdrawn', newTerm: takeover.term });
  // It is on this disk: no other takeover from here begins it again.
  s.term = Math.max(s.term, takeover.term);
  const reasons = [...refused].map(([{ name }, reason]) => `${name}: ${reason}`);
  for (const { name } of open) reasons.push(`${name}: no answer`);
  s.refuse(
    `${granted.size + 1} of ${s.peers.size + 1} nodes agree, ${s.majority} are needed (${reasons.join('; ') || 'no other node is connected'}). ` +
      'If the others are down or fenced: promote --force',
  );
}

// --- the voter ----------------------------------------------------------------------------------------------------------

export interface Candidacy {
  readonly newTerm: number;
  readonly account: number;
  readonly asked: number;
  readonly planned: boolean;
}

export function onVoteRequest(s: State, peer: Peer, candidacy: Candidacy): void {
  const { newTerm } = candidacy;
  const refusal = reasonAgainst(s, candidacy);
  if (refusal !== undefined) {
    s.send(peer, { type: 'voted', newTerm, refusal });
    // It may not know of a newer term.
    if (newTerm <= s.term) s.sendHello(peer);
    return;
  }
  const missed = s.account?.term === candidacy.account ? s.account.recent.filter(({ id }) => id > candidacy.asked) : [];
  for (const { id, entries } of missed) s.send(peer, { type: 'grants', id, entries });
  const { complete, reignTerm } = s;
  s.vote = { peer, term: newTerm, before: { complete, reignTerm } };
  followTerm(s, newTerm);
}

/** The candidate has not begun its term: nobody has reigned in it. */
export function onWithdrawn(s: State, peer: Peer, newTerm: number): void {
  const { vote } = s;
  if (vote?.peer !== peer || vote.term !== newTerm || s.term !== newTerm || s.role !== 'standby') return;
  s.vote = undefined;
  s.reignTerm = vote.before.reignTerm;
  s.complete = vote.before.complete;
}

function reasonAgainst(s: State, { newTerm, account, asked, planned }: Candidacy): string | undefined {
  if (s.role !== 'standby') return 'it is active itself';
  if (s.phase !== 'steady') return `it is busy (${s.phase})`;
  if (newTerm <= s.term) return `it knows of term ${s.term} already`;
  if (s.reigning !== undefined && !planned) return `${s.reigning.name} is active and connected to it`;
  const own = s.account;
  if (own === undefined || s.staleSas !== undefined)
    return 'it has no whole account of the last active, its word does not count';
  const reignTerm = Math.max(own.term, s.reignTerm);
  if (reignTerm > account) return `somebody may have reigned in term ${reignTerm}, of which this node knows nothing`;
  const [first] = own.recent;
  if (own.term === account && own.asked > asked && (first === undefined || first.id > asked + 1))
    return 'it knows of later grants';
  return undefined;
}

/** The vote is on disk. */
export function onVoteStored(s: State, term: number): void {
  if (s.vote?.term === term) s.send(s.vote.peer, { type: 'voted', newTerm: term, refusal: '' });
}
