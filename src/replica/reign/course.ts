import type { ReplicaSettings } from '../state/settings.ts';
import type { State } from '../state/state.ts';
import { isMajorityPresent, needsVotes } from './votes.ts';

/** What a promotion would be now. `promote`, `switchover` and the dry run ask the same question here. */
export type Course =
  | { readonly kind: 'none' | 'switchover' | 'takeover' }
  | {
      readonly kind: 'refused';
      readonly code: 'busy' | 'incomplete' | 'resigned' | 'updating' | 'promised' | 'minority';
      readonly reason: string;
    };

export function courseOf(s: State, force: boolean): Course {
  const refused = (code: (Course & { readonly kind: 'refused' })['code'], reason: string): Course => ({
    kind: 'refused',
    code,
    reason,
  });
  if (s.phase !== 'steady') return refused('busy', `this node is busy (${s.phase}); try again in a moment`);
  if (s.role === 'active') return { kind: 'none' };
  if (force) return { kind: 'takeover' };
  if (s.resigned) return refused('resigned', 'this node has just handed over; the other one is taking over');
  if (!s.complete && s.rules.complete)
    return refused(
      'incomplete',
      'this standby is not complete: it would take over only a part of the SAs; use --force if that is better than none',
    );
  const isThere = s.reigning !== undefined;
  if (isThere && s.staleSas !== undefined)
    return refused('updating', 'this standby is being brought up to date; try again in a moment');
  if (s.account !== undefined && s.reignTerm > s.account.term && s.rules.complete && needsVotes(s, force))
    return refused(
      'promised',
      `this node has agreed that ${s.vote?.peer.name ?? 'another one'} begins term ${s.reignTerm}, and does not know what became of that; if it is down or fenced: promote --force`,
    );
  if (!isThere && needsVotes(s, force) && !isMajorityPresent(s))
    return refused(
      'minority',
      `${s.present.length + 1} of ${s.peers.size + 1} nodes are connected, a takeover needs ${s.majority} that agree; if the others are down or fenced: promote --force`,
    );
  return { kind: isThere ? 'switchover' : 'takeover' };
}

/**
 * Whether a takeover has every grant: of three nodes or more the active needs the word of a majority alone, so that only another majority knows all
 * of them.
 */
export const knowsGrants = (s: State, force: boolean): boolean => s.complete && (s.peers.size < 2 || !force);

/** The term that a change of roles from here would begin. */
export const nextTerm = ({ term, promised, present, settings }: State): number =>
  termAfter(Math.max(term, promised, ...present.map(({ hello }) => hello?.term ?? 0)), settings);

/**
 * The first term above another one that a node may begin: of as many in a row as there are nodes each has one, by the order of their names. So no
 * two nodes begin the same term, also if neither has heard of the other.
 */
export function termAfter(term: number, { node, peers }: Pick<ReplicaSettings, 'node' | 'peers'>): number {
  const nodes = [node, ...peers];
  const first = 1 + nodes.filter((name) => name < node).length;
  return first + nodes.length * Math.max(0, Math.ceil((term + 1 - first) / nodes.length));
}

/**
 * What is known by a node that has never had a whole account is of an earlier time, nobody can say of which: it is taken to be a day old.
 * Only `--force` comes here.
 */
const UNKNOWN_MS = 86_400_000;

/** Until when everything is known of the active, by this node's clock (docs/safety.md, the unseen time). */
export const provenAt = ({ complete, provenMs }: State, nowMs: number): number =>
  complete || provenMs !== undefined ? (provenMs ?? 0) : nowMs - UNKNOWN_MS;
