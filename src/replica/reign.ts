import { streamSnapshot } from './account.ts';
import { restoreThresholds } from './adapt.ts';
import type { Hello } from './frames.ts';
import { unbind } from './grants.ts';
import { setCounters, setNumbers } from './install.ts';
import { shut } from './plan.ts';
import { type State, write } from './state.ts';
import { forgetProof } from './told.ts';
import { beginUsed } from './used.ts';

/** Who reigns: what a node makes of the other one's role and term (S4). */

export function onHello(s: State, frame: Hello & { term: number }): void {
  const { cluster, node, littleEndian } = s.settings;
  const quarrel =
    frame.cluster !== cluster
      ? `it belongs to cluster "${frame.cluster}", this node to "${cluster}"`
      : frame.node === node
        ? `it has this node's own name "${node}"`
        : frame.littleEndian !== littleEndian
          ? 'its machine has another byte order'
          : undefined;
  if (quarrel !== undefined) {
    if (quarrel !== s.quarrel) s.log('error', `refused the other node: ${quarrel}`);
    s.quarrel = quarrel;
    s.send({ type: 'bye', reason: quarrel });
    s.emit({ type: 'disconnect', reason: quarrel });
    return;
  }
  s.quarrel = undefined;
  const first = s.peer === undefined;
  const before = s.peer?.role;
  s.peer = frame;
  if (first) s.log('info', `connected to ${frame.node}`, { role: frame.role, term: frame.term });
  if (s.phase === 'starting') return;
  if (frame.term > s.term) {
    // The account is of an earlier reign: whoever has begun this one may have opened SAs above it, if only for a moment. Not so at the
    // takeover that follows a handover of this node's.
    if (!s.resigned) s.complete = false;
    s.resigned = false;
    if (s.role === 'active') stepDown(s, `${frame.node} is ${frame.role} in the newer term ${frame.term}`, frame.term);
    else {
      if (s.takeover && frame.term >= s.takeover.term)
        abandonTakeover(s, `${frame.node} is ${frame.role} in term ${frame.term}`);
      s.term = frame.term;
      // A term that a takeover is storing now is newer still: the disk does not go back.
      if (s.takeover === undefined) s.emit({ type: 'persist', durable: { term: frame.term, role: s.role } });
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
    s.emit({ type: 'persist', durable: { term: s.term, role: 'standby' } });
  } else if (frame.term < s.term && !first) {
    s.sendHello(); // S4: the older one learns the term
  }
  if (s.role === 'standby' && frame.role === 'standby' && s.phase === 'steady' && before !== 'standby')
    s.log('warn', 'both nodes are standbys, nobody forwards: promote one of them');
  // The other node knows of no newer term: the addresses are this node's.
  if (s.role === 'active' && frame.role === 'standby') claim(s);
  if (s.role === 'active' && frame.role === 'standby' && (first || before !== 'standby' || !s.streaming)) {
    streamSnapshot(s);
  }
}

/** Takes the shared addresses, once in a reign. */
export function claim(s: State): void {
  if (s.claimed) return;
  s.claimed = true;
  s.hook('claim');
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
  if (s.peer !== undefined) beginUsed(s);
  becomeStandby(s);
  s.keepsShut = true;
  s.term = term;
  s.hook('release');
  s.emit({ type: 'persist', durable: { term, role: 'standby' } });
}

export function becomeStandby(s: State): void {
  unbind(s);
  restoreThresholds(s);
  s.role = 'standby';
  s.phase = 'steady';
  s.complete = false;
  s.provenMs = undefined;
  s.streaming = false;
  s.claimed = false;
  s.drain = undefined;
  s.abandoned = undefined;
  if (s.demoteAsked) s.emit({ type: 'demoted' });
  s.demoteAsked = false;
  s.dirty = [];
  forgetProof(s.rounds);
  for (const set of [s.awake, s.adapting, s.thresholdsDue, s.unheard]) set.clear();
  s.sweep = undefined;
  s.usedThere.clear();
  for (const record of s.sas) {
    record.dirty = false;
    record.installed = true;
    record.quiet = false;
  }
}
