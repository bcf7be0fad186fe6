import { streamSnapshot } from '../active/account.ts';
import { restoreThresholds } from '../active/adapt.ts';
import { unbind } from '../active/grants.ts';
import { beginUsed } from '../active/used.ts';
import { setCounters, setNumbers } from '../sa/install.ts';
import { shut } from '../sa/plan.ts';
import { forgetProof } from '../sa/told.ts';
import type { Hello } from '../state/frames.ts';
import type { Peer } from '../state/peer.ts';
import { type State, write } from '../state/state.ts';
import { termAfter } from './course.ts';
import { withdraw } from './votes.ts';

/** Who reigns: what a node makes of another one's role and term (S4). */

export function onHello(s: State, peer: Peer, frame: Hello & { term: number }): void {
  const { cluster, node, littleEndian } = s.settings;
  const quarrel =
    frame.cluster !== cluster
      ? `it belongs to cluster "${frame.cluster}", this node to "${cluster}"`
      : frame.node === node
        ? `it has this node's own name "${node}"`
        : frame.node !== peer.name
          ? `it is named "${frame.node}", the configuration says "${peer.name}"`
          : frame.littleEndian !== littleEndian
            ? 'its machine has another byte order'
            : undefined;
  if (quarrel !== undefined) {
    if (quarrel !== peer.quarrel) s.log('error', `refused ${peer.name}: ${quarrel}`);
    peer.quarrel = quarrel;
    s.send(peer, { type: 'bye', reason: quarrel });
    s.emit({ type: 'disconnect', from: peer.name, reason: quarrel });
    return;
  }
  peer.quarrel = undefined;
  const first = peer.hello === undefined;
  const before = peer.hello?.role;
  peer.hello = frame;
  if (first) s.log('info', `connected to ${frame.node}`, { role: frame.role, term: frame.term });
  if (s.phase === 'starting') return;
  if (s.withdrawn > 0) s.send(peer, { type: 'withdrawn', newTerm: s.withdrawn });
  if (frame.term > s.term) {
    if (s.role === 'active') stepDown(s, `${frame.node} is ${frame.role} in the newer term ${frame.term}`, frame.term);
    else {
      const reason = `${frame.node} is ${frame.role} in term ${frame.term}`;
      // Also if its own term is newer still, and not stored yet: what it would go on from is of a reign before that one.
      if (s.takeover && s.takeover.term > s.term) withdraw(s, reason);
      else if (s.takeover) abandonTakeover(s, reason);
      followTerm(s, frame.term);
    }
    s.sendHello();
  } else if (frame.term === s.term && frame.role === 'active' && s.role === 'active') {
    const mine = node < frame.node;
    s.log('error', `both nodes are active in term ${s.term}: ${mine ? node : frame.node} stays active`);
    if (!mine) {
      stepDown(s, 'two nodes were active in one term', s.term);
      s.sendHello();
    }
  } else if (frame.term === s.term && frame.role === 'active' && s.takeover?.term === s.term) {
    abandonTakeover(s, `${frame.node} became active in the same term ${s.term}`);
    s.persist({ term: s.term, role: 'standby' });
  } else if (frame.term < s.term && !first) {
    s.sendHello(peer); // S4: the older one learns the term
  }
  const { present } = s;
  const allStandbys = present.length === s.peers.size && present.every(({ hello }) => hello?.role === 'standby');
  if (s.role === 'standby' && s.phase === 'steady' && before !== 'standby' && allStandbys)
    s.log('warn', 'all nodes are standbys, nobody forwards: promote one of them');
  // No other node knows of a newer term: the addresses are this node's.
  if (s.role === 'active' && s.phase === 'steady' && allStandbys) claim(s);
  if (s.role === 'active' && frame.role === 'standby' && (first || before !== 'standby' || !peer.streaming))
    streamSnapshot(s, peer);
}

/** A standby hears of a newer term, in which another node reigns or is about to: what it knows is of an earlier reign. */
export function followTerm(s: State, term: number): void {
  // In a pair: whoever has handed over knows where the next reign begins.
  const isExact = s.peers.size === 1 && s.resigned && term === termOfSuccessor(s);
  if (!isExact) {
    s.complete = false;
    // What the reign that was missed has used is anybody's guess.
    s.provenMs = undefined;
  }
  s.resigned = false;
  s.term = term;
  s.reignTerm = term;
  s.persist({ term, role: s.role });
}

/** The term that the other node of a pair begins after this one has handed over. */
function termOfSuccessor({ term, settings: { node, peers } }: State): number {
  return termAfter(term, { node: peers[0] ?? node, peers: [node] });
}

/** Takes the shared addresses, once in a reign; `from` another node, if it has handed over. */
export function claim(s: State, from?: Peer): void {
  if (s.claimed) return;
  s.claimed = true;
  s.hook('claim', from?.name);
}

/** Somebody else's reign is newer, or as new: what has been opened is shut again. */
function abandonTakeover(s: State, reason: string): void {
  s.takeover = undefined;
  s.phase = 'steady';
  s.write([...s.sas].map((r) => write('counters', r.handle, setCounters(r, shut(r)))));
  for (const record of s.sas) record.installed = true;
  s.refuse(`the takeover was given up: ${reason}`);
}

/** A newer term exists, or the operator wants it: shut every SA, give up the addresses. */
export function stepDown(s: State, reason: string, term: number): void {
  s.log('warn', `no longer active: ${reason}`);
  // Packet counts stay: they tell what slipped out.
  s.write([...s.sas].map((r) => write('counters', r.handle, setNumbers(r, shut(r)))));
  if (s.present.length > 0) beginUsed(s);
  becomeStandby(s);
  s.keepsShut = true;
  s.term = term;
  s.hook('release');
  s.persist({ term, role: 'standby' });
}

export function becomeStandby(s: State): void {
  for (const peer of s.peers.values()) {
    unbind(s, peer);
    peer.streaming = false;
    peer.behind.clear();
    peer.used.clear();
    forgetProof(peer.rounds);
  }
  restoreThresholds(s);
  s.role = 'standby';
  s.phase = 'steady';
  s.complete = false;
  s.account = undefined;
  s.provenMs = undefined;
  s.claimed = false;
  s.drain = undefined;
  s.abandoned = undefined;
  if (s.demoteAsked) s.emit({ type: 'demoted' });
  s.demoteAsked = false;
  s.dirty = [];
  for (const set of [s.awake, s.adapting, s.thresholdsDue, s.unheard]) set.clear();
  s.unsure.clear();
  s.sweep = undefined;
  for (const record of s.sas) {
    record.dirty = false;
    record.installed = true;
    record.quiet = false;
  }
}
