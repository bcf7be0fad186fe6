import { saIdOf } from '../client/index.ts';
import { adopt, sendCounters } from './account.ts';
import type { Reading } from './effects.ts';
import { setCounters } from './install.ts';
import { parked } from './plan.ts';
import { becomeStandby } from './reign.ts';
import { countersOf, directionOf } from './sa.ts';
import { type State, write } from './state.ts';

/** The active hands over on request: addresses given up, kernel quiet, SAs shut, exact counters sent. */

export function onHandoverRequest(s: State): void {
  if (s.role !== 'active') return void s.send({ type: 'handoverRefused', reason: 'it is not active' });
  if (s.phase !== 'steady') return void s.send({ type: 'handoverRefused', reason: `it is busy (${s.phase})` });
  s.phase = 'handingOver';
  s.drain = undefined;
  s.emit({ type: 'hook', name: 'release' });
}

export function onReleased(s: State, failure: string | undefined): void {
  if (s.phase !== 'handingOver') return;
  if (failure === undefined) {
    s.emit({ type: 'read', purpose: 'drain' });
    return;
  }
  s.phase = 'steady';
  s.demoteAsked = false;
  // Whatever the hook gave up before it failed belongs here again.
  s.emit({ type: 'hook', name: 'claim' });
  s.send({ type: 'handoverRefused', reason: `its release hook failed: ${failure}` });
}

/** Addresses are gone; packets on their way still come in. Two readings without a difference, and the SAs are shut. */
export function onDrained(s: State, reading: Reading, nowMs: number): void {
  if (s.phase !== 'handingOver') return;
  adopt(s, reading, nowMs);
  const { drainMs, drainMaxMs } = s.settings;
  const now = new Map([...s.sas].map((r) => [r.handle, { ...r.counters }]));
  const drain = s.drain ?? { untilMs: nowMs + drainMaxMs, before: undefined };
  const { before } = drain;
  const quiet = before !== undefined && [...now].every(([handle, c]) => before.get(handle)?.packets === c.packets);
  drain.before = now;
  s.drain = drain;
  if (!quiet && nowMs < drain.untilMs) {
    s.emit({ type: 'wait', ms: drainMs }, { type: 'read', purpose: 'drain' });
    return;
  }
  const outgoing = [...s.sas].filter((r) => directionOf(r) !== 'in');
  s.write(outgoing.map((r) => write('counters', r.handle, setCounters(r, parked(r)))));
  s.emit({ type: 'mark', name: 'parked' });
}

/** The SAs are shut. What slipped out between reading and shutting is in the packet count. */
export function handOver(s: State, reading: Reading, nowMs: number): void {
  if (s.phase !== 'handingOver') return;
  for (const sa of reading.sas) {
    const record = s.sas.find(saIdOf(sa));
    const before = record && s.drain?.before?.get(record.handle);
    if (record === undefined || before === undefined) continue;
    const last = countersOf(sa);
    if (directionOf(record) === 'in') {
      Object.assign(record.counters, last);
    } else {
      const sent = before.oseq + (last.packets - before.packets);
      Object.assign(record.counters, last, {
        oseq: sent % 2 ** 32,
        oseqHi: before.oseqHi + Math.floor(sent / 2 ** 32),
      });
    }
    s.touch(record);
  }
  sendCounters(s);
  // Durable first: once the other node starts, this one must never come back as active by itself.
  s.emit({ type: 'persist', durable: { term: s.term, role: 'standby' } });
  s.send({ type: 'handoverDone' });
  s.drain = undefined;
  becomeStandby(s);
  s.complete = true;
  s.provenMs = nowMs;
  s.sendHello();
  if (s.demoteAsked) s.emit({ type: 'demoted' });
  s.demoteAsked = false;
  s.log('info', 'handed over: every SA is shut, this node is a standby');
}
