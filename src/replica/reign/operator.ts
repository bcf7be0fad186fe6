import { unbind } from '../active/grants.ts';
import { restoreDeleted } from '../standby/held.ts';
import type { State } from '../state/state.ts';
import { courseOf } from './course.ts';
import { stepDown } from './reign.ts';
import { beginTakeover, noTakeover } from './takeover.ts';

/** What an operator can want of a node. The answer is an effect: `promoted`, `demoted`, `dismissed`, or `refused` with the reason. */

export function promote(
  s: State,
  nowMs: number,
  { force, restore = false }: { readonly force: boolean; readonly restore?: boolean },
): void {
  const course = courseOf(s, force);
  const goesOn = course.kind === 'takeover' || course.kind === 'switchover';
  if (restore && goesOn) restoreDeleted(s);
  if (course.kind === 'refused') s.refuse(course.reason);
  else if (course.kind === 'none') s.emit({ type: 'promoted', report: noTakeover(s) });
  else if (course.kind === 'takeover') beginTakeover(s, 'takeover', nowMs, force);
  else if (s.reigning) {
    s.phase = 'awaitingHandover';
    s.partner = s.reigning;
    s.send(s.reigning, { type: 'handoverRequest' });
  }
}

export function switchover(s: State, nowMs: number, to?: string): void {
  const course = courseOf(s, false);
  if (course.kind === 'takeover' || (course.kind === 'refused' && course.code === 'minority'))
    s.refuse(
      s.present.length === 0
        ? 'the other node is not connected, and a switchover needs both; if it is dead or fenced: xfrmsync promote'
        : `${s.present.map(({ name }) => name).join(', ')}: a standby too, nobody can hand over: xfrmsync promote takes over`,
    );
  else if (course.kind === 'none') demote(s, { force: false }, to);
  else if (to !== undefined && to !== s.settings.node)
    s.refuse(`this node can only ask for itself; ask the active to hand over to ${to}`);
  else promote(s, nowMs, { force: false });
}

export function demote(s: State, { force }: { readonly force: boolean }, to?: string): void {
  const standbys = s.standbys.filter(({ name }) => to === undefined || name === to);
  const successor = standbys.find(({ rounds }) => rounds.provenMs !== undefined) ?? standbys[0];
  if (s.role !== 'active') s.refuse('this node is not active');
  else if (s.phase !== 'steady') s.refuse(`this node is busy (${s.phase}); try again in a moment`);
  else if (successor !== undefined) {
    s.demoteAsked = true;
    s.partner = successor;
    s.send(successor, { type: 'handoverOffer' });
  } else if (to !== undefined) {
    s.refuse(`no standby ${to} is connected: see xfrmsync status`);
  } else if (force) {
    s.demoteAsked = true;
    stepDown(s, 'by the operator, without a standby', s.term);
  } else {
    s.refuse('no standby is connected, nobody would forward; use --force to stop forwarding all the same');
  }
}

export function dismiss(s: State): void {
  const away = [...s.peers.values()].filter(({ hello }) => hello === undefined);
  if (s.role !== 'active') s.refuse('this node is not active: there is no standby of it to dismiss');
  else if (away.length === 0)
    s.refuse(`${s.present.map(({ name }) => name).join(', ')}: connected; stop a daemon there, which resigns by that`);
  else {
    for (const peer of away) {
      if (peer.bound) s.log('warn', `${peer.name} was dismissed: this node does not wait for it any more`);
      unbind(s, peer);
    }
    s.emit({ type: 'dismissed' });
  }
}

export function resync(s: State): void {
  s.counts.resyncs++;
  if (s.role === 'active') s.read('resync');
  else if (s.reigning) s.send(s.reigning, { type: 'resyncRequest' });
}

export function abandonHandover(s: State, reason: string): void {
  if (s.phase === 'handingOver') {
    // It goes on from the next step: only then the exact numbers are known.
    s.abandoned ??= reason;
    return;
  }
  if (s.phase === 'awaitingHandover') {
    s.phase = 'steady';
    if (!s.offered && s.partner) s.send(s.partner, { type: 'handoverRefused', reason });
  } else if (!s.demoteAsked) return;
  s.demoteAsked = false;
  s.refuse(`no handover: ${reason}`);
}
