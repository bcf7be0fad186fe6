import { streamSnapshot } from './active/account.ts';
import { onGranted, unbind } from './active/grants.ts';
import { onUsed } from './active/used.ts';
import { onHandoverRequest } from './reign/handover.ts';
import { abandonHandover, promote } from './reign/operator.ts';
import { beginTakeover } from './reign/takeover.ts';
import { onMissedGrants, onVoted, onVoteRequest, onWithdrawn } from './reign/votes.ts';
import { onProven } from './sa/told.ts';
import { onPingTimes } from './standby/clock.ts';
import { onAccount } from './standby/mirror.ts';
import type { Frame } from './state/frames.ts';
import type { Peer } from './state/peer.ts';
import type { State } from './state/state.ts';

/** What another node says, in this node's term or a newer one, after its hello. */
export function onPeerFrame(s: State, peer: Peer, frame: Frame, nowMs: number): void {
  const isActive = s.role === 'active';
  switch (frame.type) {
    case 'ping':
      onPingTimes(s, peer, frame, nowMs);
      peer.pingedMs = nowMs;
      if (isActive) s.emit({ type: 'pong', to: peer.name, timeMs: frame.timeMs });
      break;
    case 'proven':
      if (isActive) onProven(peer.rounds, frame.timeMs);
      break;
    case 'resyncRequest':
      // Not in a handover: its final counters go by the handles that the standby has.
      if (isActive && s.phase === 'steady') streamSnapshot(s, peer);
      break;
    case 'granted':
      if (isActive) onGranted(s, peer, frame.id);
      break;
    case 'resign':
      if (isActive) unbind(s, peer);
      break;
    case 'used':
      if (isActive) onUsed(s, peer, frame);
      break;
    case 'vote':
      onVoteRequest(s, peer, frame);
      break;
    case 'voted':
      onVoted(s, peer, frame);
      break;
    case 'withdrawn':
      if (s.vote?.peer === peer) onWithdrawn(s, frame.newTerm);
      break;
    case 'handoverRequest':
      onHandoverRequest(s, peer);
      break;
    case 'handoverOffer':
      // One handover at a time: an answer of this one must not be taken for another's.
      if (s.phase === 'awaitingHandover') break;
      s.partner = peer;
      s.offered = true;
      promote(s, nowMs, { force: false });
      break;
    case 'handoverRefused':
      if (peer === s.partner) abandonHandover(s, `${peer.name} refused: ${frame.reason}`);
      break;
    case 'handoverDone':
      // Also if it is not waited for any more: nobody forwards now, and this node has the exact counters.
      if (s.role === 'standby' && s.complete && (s.phase === 'awaitingHandover' || s.phase === 'steady'))
        beginTakeover(s, 'switchover', nowMs);
      break;
    default:
      if (s.role === 'standby' && peer === s.reigning) onAccount(s, peer, frame, nowMs);
      else if (frame.type === 'grants') onMissedGrants(s, frame.entries);
  }
}
