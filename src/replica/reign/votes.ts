import { takeInGrant } from '../active/grants.ts';
import type { FrameBody, GrantEntry } from '../state/frames.ts';
import type { Peer } from '../state/peer.ts';
import type { State } from '../state/state.ts';
import type { Takeover } from '../state/under-way.ts';

/**
 * In a cluster of three nodes or more, a takeover needs the word of a majority, itself included. Any two majorities have a node in common:
 * so no two nodes begin the same term, and one that has missed a reign, or a grant that the active relied on, does not come to power. Two nodes alone
 * have no such majority (docs/safety.md).
 */

// --- the candidate ------------------------------------------------------------------------------------------------------

export const needsVotes = ({ peers, rules }: State, force: boolean): boolean => peers.size > 1 && !force && rules.votes;

/** Nodes that a takeover can ask, with this one. */
export const isMajorityPresent = (s: State): boolean => s.present.length + 1 >= s.majority;

/** That this node wants the term is on its disk, which is its own vote. */
export function askForVotes(s: State, takeover: Takeover, nowMs: number): void {
  const { account } = s;
  if (account === undefined) return;
  takeover.votes = { untilMs: nowMs + s.settings.claimAfterMs, granted: new Set(), refused: new Map() };
  const { kind, term } = takeover;
  const planned = kind === 'switchover';
  s.send(s.present, { type: 'vote', newTerm: term, account: account.term, asked: account.asked, planned });
  countVotes(s);
}

export function onVoted(
  s: State,
  peer: Peer,
  { newTerm, promised, refusal }: FrameBody & { readonly type: 'voted' },
): void {
  // The next attempt is above what others have agreed to.
  s.promised = Math.max(s.promised, promised);
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
    s.persist({ term: takeover.term, role: 'standby', opening: true });
    return;
  }
  const open = s.present.filter((peer) => !granted.has(peer) && !refused.has(peer));
  if (granted.size + 1 + open.length >= s.majority && nowMs < untilMs) return;
  const reasons = [...refused].map(([{ name }, reason]) => `${name}: ${reason}`);
  for (const { name } of open) reasons.push(`${name}: no answer`);
  withdraw(
    s,
    `${granted.size + 1} of ${s.peers.size + 1} nodes agree, ${s.majority} are needed (${reasons.join('; ') || 'no other node is connected'}). ` +
      'If the others are down or fenced: promote --force',
  );
}

/** The term does not begin: the others may agree to another one. */
export function withdraw(s: State, reason: string): void {
  const { takeover } = s;
  if (takeover === undefined) return;
  s.takeover = undefined;
  s.phase = 'steady';
  s.withdrawn = takeover.term;
  s.send(s.present, { type: 'withdrawn', newTerm: takeover.term });
  s.refuse(reason);
}

// --- the voter ----------------------------------------------------------------------------------------------------------

export function onVoteRequest(s: State, peer: Peer, candidacy: FrameBody & { readonly type: 'vote' }): void {
  const { newTerm, account, asked } = candidacy;
  const refusal = reasonAgainst(s, candidacy);
  if (refusal !== undefined) {
    s.send(peer, { type: 'voted', newTerm, promised: s.promised, refusal });
    return;
  }
  const missed = s.account?.term === account ? s.account.recent.filter(({ id }) => id > asked) : [];
  for (const { id, entries } of missed) s.send(peer, { type: 'grants', id, entries });
  s.vote = { peer, term: newTerm, before: s.reignTerm };
  s.promised = newTerm;
  s.reignTerm = newTerm;
  s.persist({ term: s.term, role: 'standby' });
}

function reasonAgainst(
  s: State,
  { newTerm, account, asked, planned }: FrameBody & { readonly type: 'vote' },
): string | undefined {
  if (s.role !== 'standby') return 'it is active itself';
  if (s.phase !== 'steady') return `it is busy (${s.phase})`;
  if (newTerm <= Math.max(s.term, s.promised)) return `it knows of term ${Math.max(s.term, s.promised)} already`;
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
export function onVoteStored(s: State, promised: number): void {
  const { vote } = s;
  if (vote?.term === promised) s.send(vote.peer, { type: 'voted', newTerm: promised, promised, refusal: '' });
}

/** The candidate has not begun its term, or the vote could not be stored: nobody has reigned in it. */
export function onWithdrawn(s: State, newTerm: number): void {
  const { vote } = s;
  if (vote?.term !== newTerm) return;
  s.vote = undefined;
  if (s.reignTerm === newTerm) s.reignTerm = vote.before;
}
