import { saIdOf } from '../../client/index.ts';
import { adopt, sendCounters } from '../active/account.ts';
import { type Counters, countersOf, counts64, directionOf } from '../sa/counters.ts';
import { setCounters, setNumbers } from '../sa/install.ts';
import { parked } from '../sa/plan.ts';
import type { SaRecord } from '../sa/record.ts';
import type { Reading } from '../state/effects.ts';
import type { Peer } from '../state/peer.ts';
import { type State, write } from '../state/state.ts';
import { becomeStandby, claim } from './reign.ts';

/**
 * The active hands over on request: addresses given up, kernel quiet, SAs shut, exact counters read, the role stored, and only then the
 * last word. Until that word the handover can be given up, and this node goes on where it stopped.
 */

/** SAs that a key manager adds while the others are being shut are shut too, so many times. */
const SHUTS_MAX = 3;

export function onHandoverRequest(s: State, peer: Peer): void {
  const refusal = reasonAgainst(s, peer);
  if (refusal !== undefined) {
    s.send(peer, { type: 'handoverRefused', reason: refusal });
    return;
  }
  s.phase = 'handingOver';
  s.partner = peer;
  s.drain = undefined;
  s.abandoned = undefined;
  s.hook('release');
}

function reasonAgainst(s: State, peer: Peer): string | undefined {
  if (s.role !== 'active') return 'it is not active';
  if (s.phase !== 'steady') return `it is busy (${s.phase})`;
  // What is left of a handover that was given up: its claim hook must not run after the release hook of this one.
  if (s.hooksPending > 0) return 'its hooks are still running; try again in a moment';
  // Until it has gone on above what another node has used, its numbers are no place to go on from.
  if (s.comparing) return 'it is still comparing numbers; try again in a moment';
  // The final counters mean something only to a standby that has been told of every SA.
  if (!peer.streaming || peer.sending) return 'it is still sending its SAs; try again in a moment';
  return undefined;
}

export function onReleased(s: State, failure: string | undefined): void {
  if (s.phase !== 'handingOver') return;
  if (failure === undefined && s.abandoned === undefined) {
    s.read('drain');
    return;
  }
  // Whatever the hook gave up before it failed belongs here again.
  goOn(s, s.abandoned ?? `its release hook failed: ${failure}`);
}

/** Addresses are gone; packets on their way still come in. Two readings without a difference, and the SAs are shut. */
export function onDrained(s: State, reading: Reading, nowMs: number): void {
  if (s.phase !== 'handingOver') return;
  adopt(s, reading, nowMs);
  if (s.abandoned !== undefined) {
    goOn(s, s.abandoned);
    return;
  }
  const { drainMs, drainMaxMs } = s.settings;
  const now = new Map<number, Counters>();
  for (const sa of reading.sas) {
    const record = s.sas.find(saIdOf(sa));
    // As they were read: what is known otherwise does not follow a lifetime that was set back, and takes the last number for a shut one.
    if (record) now.set(record.handle, countersOf(sa));
  }
  const drain = s.drain ?? { untilMs: nowMs + drainMaxMs, before: undefined, shuts: 0, shut: new Set<SaRecord>() };
  const { before } = drain;
  const quiet = before !== undefined && [...now].every(([handle, c]) => before.get(handle)?.packets === c.packets);
  drain.before = now;
  s.drain = drain;
  if (!quiet && nowMs < drain.untilMs) {
    s.emit({ type: 'wait', ms: drainMs });
    s.read('drain');
    return;
  }
  shutOutgoing(s, [...s.sas]);
}

function shutOutgoing(s: State, records: readonly SaRecord[]): void {
  const outgoing = records.filter((r) => directionOf(r) !== 'in');
  for (const record of outgoing) s.drain?.shut.add(record);
  s.write(outgoing.map((r) => write('counters', r.handle, setNumbers(r, parked(r)))));
  s.emit({ type: 'mark', name: 'parked' });
}

/** The SAs are shut. What slipped out between reading and shutting is in the packet count. */
export function handOver(s: State, reading: Reading, nowMs: number): void {
  const { drain } = s;
  if (s.phase !== 'handingOver' || drain?.before === undefined) return;
  const { before } = drain;
  const late: SaRecord[] = [];
  adopt(s, reading, nowMs);
  for (const sa of reading.sas) {
    const record = s.sas.find(saIdOf(sa));
    if (record === undefined) continue;
    const last = countersOf(sa);
    const first = before.get(record.handle);
    if (first === undefined) {
      late.push(record);
      before.set(record.handle, last);
    } else if (directionOf(record) === 'in') {
      Object.assign(record.counters, last, { oseq: first.oseq, oseqHi: first.oseqHi });
    } else {
      const slipped = s.rules.drain ? Math.max(0, last.packets - first.packets) : 0;
      const sent = first.oseq + slipped;
      const is64 = counts64(sa);
      Object.assign(record.counters, last, {
        oseq: is64 ? sent % 2 ** 32 : Math.min(sent, 2 ** 32 - 1),
        oseqHi: is64 ? first.oseqHi + Math.floor(sent / 2 ** 32) : 0,
      });
    }
    s.touch(record);
  }
  if (late.length > 0 && ++drain.shuts < SHUTS_MAX) {
    shutOutgoing(s, late);
    return;
  }
  if (s.abandoned !== undefined) {
    goOn(s, s.abandoned);
    return;
  }
  // Durable first: once the other node starts, this one must never come back as active by itself.
  s.persist({ term: s.term, role: 'standby' });
}

/** The role is on disk: the last word. */
export function onResigned(s: State, nowMs: number): void {
  if (s.abandoned !== undefined) {
    goOn(s, s.abandoned);
    s.persist({ term: s.term, role: 'active' });
    return;
  }
  sendCounters(s);
  if (s.partner) s.send(s.partner, { type: 'handoverDone' });
  becomeStandby(s);
  // The new active is bound by nothing that was agreed on before, until it has told this node its SAs.
  for (const record of s.sas) record.granted = 0;
  s.resigned = true;
  // The new active keeps to no grant that this node knows of: where that is what counts, this node has no account until it is sent one.
  s.complete = s.settings.grants.mode === 'available';
  s.account = { term: s.term, asked: s.nextAsk - 1, recent: [] };
  s.provenMs = nowMs;
  s.sendHello();
  // The others were shut before.
  const incoming = [...s.sas].filter((r) => directionOf(r) === 'in');
  s.write(incoming.map((r) => write('counters', r.handle, setCounters(r, parked(r)))));
  s.log('info', 'handed over: every SA is shut, this node is a standby');
}

/** The other node does not take over after all: this one goes on, SAs at their exact numbers. */
export function goOn(s: State, reason: string): void {
  // Only what was shut: its numbers are those of a reading after that. The others have gone on by themselves.
  const shut = [...(s.drain?.shut ?? [])].filter((r) => s.sas.has(r));
  s.write(shut.map((r) => write('counters', r.handle, setNumbers(r, r.counters))));
  s.phase = 'steady';
  s.drain = undefined;
  s.abandoned = undefined;
  s.claimed = false;
  claim(s);
  // Events during the handover were passed over.
  s.read('resync');
  if (s.partner) s.send(s.partner, { type: 'handoverRefused', reason });
  if (s.demoteAsked) s.refuse(`no handover: ${reason}`);
  s.demoteAsked = false;
  s.log('warn', `goes on as active: ${reason}`);
}
