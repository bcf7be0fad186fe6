import { saIdOf } from '../client/index.ts';
import { streamSnapshot } from './account.ts';
import type { Reading, TakeoverReport, Write } from './effects.ts';
import { deleteSa, newSa, putPolicy, sameSa, setCounters } from './install.ts';
import { JUMP_MAX, switchoverPosition, takeoverPosition } from './plan.ts';
import { watch } from './quiet.ts';
import { claim } from './reign.ts';
import { countersOf, isParked, type SaRecord, takeHigher } from './sa.ts';
import { selectsSa } from './select.ts';
import { type State, type Takeover, write } from './state.ts';

/** A standby becomes the active: a new term on disk, then every SA at its new position, then the addresses. */

/**
 * What is known by a node that has never had a whole account is of an earlier time, nobody can say of which: it is taken to be a day old.
 * Only `--force` comes here.
 */
const UNKNOWN_MS = 86_400_000;

export function beginTakeover(s: State, kind: Takeover['kind'], nowMs: number): void {
  const provenMs = s.complete || s.provenMs !== undefined ? (s.provenMs ?? 0) : nowMs - UNKNOWN_MS;
  const unseenMs = kind === 'switchover' ? 0 : Math.max(0, nowMs - provenMs);
  s.phase = 'takingOver';
  const term = Math.max(s.term, s.peer?.term ?? 0) + 1;
  s.takeover = {
    kind,
    startedMs: nowMs,
    unseenMs,
    provenMs,
    complete: s.complete,
    term,
    positions: new Map(),
    failed: 0,
    retried: false,
    opened: false,
  };
  if (!s.rules.durable) onTermStored(s, s.takeover);
  // Not as active yet: a daemon that dies before its SAs are open must not come back as if they were.
  s.emit({ type: 'persist', durable: { term, role: 'standby' } });
}

/** The new term is on disk: from now on it holds, here and, as soon as it hears of it, on the old active. */
export function onTermStored(s: State, { term }: Takeover): void {
  s.term = term;
  s.sendHello();
  s.read('takeover');
}

/** Writes every SA's new position: a counter write for those that are in the kernel, the whole SA for those that are not. */
export function open(s: State, reading: Reading): void {
  const takeover = s.takeover;
  if (takeover === undefined) return;
  // One number for each SA, whatever the old active, in one life or several, had called them.
  if (s.rules.generations) s.sas.forgetHandles();
  s.nextHandle = 1;
  for (const record of s.sas) s.sas.rename(record, s.nextHandle++);
  const here = new Set<SaRecord>();
  const writes: Write[] = [];
  for (const sa of reading.sas) {
    const record = s.sas.find(saIdOf(sa));
    if (record === undefined) {
      // From an account that this node's replica has no more: it cannot send, and what it lets in may have been let in before (S2).
      if (selectsSa(s.settings.selection, sa) && isParked(sa, countersOf(sa)))
        writes.push(write('delete', 0, deleteSa({ id: saIdOf(sa) })));
      continue;
    }
    if (!sameSa(sa, record.sa)) continue;
    here.add(record);
    takeHigher(record, countersOf(sa));
  }
  if (writes.length > 0)
    s.log(
      'warn',
      `${writes.length} SAs of which only an old copy was here are removed; their key manager must make new ones`,
    );
  for (const record of s.sas) {
    const position =
      takeover.kind === 'switchover'
        ? switchoverPosition(record)
        : takeoverPosition(record, s.settings.plan, takeover, s.rules);
    takeover.positions.set(record.handle, position);
    record.installed = true;
    const request = here.has(record) ? setCounters(record, position.counters) : newSa(record, position.counters);
    writes.push(write('open', record.handle, request));
  }
  s.write([...writes, ...[...s.policies.values()].map((policy) => write('policy', 0, putPolicy(policy)))]);
  s.emit({ type: 'mark', name: 'opened' });
}

/** All positions are written. SAs that were missing or in the way are put in anew, once; then this node is the active. */
export function onOpened(s: State): void {
  const { takeover } = s;
  if (takeover === undefined) return;
  if (takeover.failed === 0 || takeover.retried) {
    takeover.opened = true;
    s.emit({ type: 'persist', durable: { term: s.term, role: 'active' } });
    return;
  }
  takeover.retried = true;
  takeover.failed = 0;
  for (const record of s.sas) {
    const position = takeover.positions.get(record.handle);
    if (record.installed || position === undefined) continue;
    s.write([
      write('delete', record.handle, deleteSa(record)),
      write('open', record.handle, newSa(record, position.counters)),
    ]);
    record.installed = true;
  }
  s.emit({ type: 'mark', name: 'opened' });
}

export function becomeActive(s: State, takeover: Takeover, nowMs: number): void {
  const { kind, positions, failed, unseenMs, startedMs } = takeover;
  const all = [...positions.values()];
  for (const record of s.sas) {
    const position = positions.get(record.handle);
    if (position) Object.assign(record.counters, position.counters);
    record.dirty = false;
    watch(s, record, nowMs);
    s.thresholdsDue.add(record);
  }
  s.dirty = [];
  s.takeover = undefined;
  s.offered = false;
  s.role = 'active';
  s.phase = 'steady';
  s.keepsShut = false;
  const exhausted = all.filter((p) => p.exhausted).length;
  const report: TakeoverReport = {
    kind,
    role: 'active',
    term: s.term,
    sas: s.sas.size,
    failed,
    exhausted,
    takeoverMs: nowMs - startedMs,
    unseenMs,
    skipMax: all.reduce((most, p) => Math.max(most, p.skip), 0),
    closedMax: all.reduce((most, p) => Math.max(most, p.closed), 0),
  };
  if (report.skipMax >= JUMP_MAX)
    s.log(
      'warn',
      `nothing was known of the old active for ${Math.round(unseenMs / 1000)} s: the skip is at its limit, re-key`,
    );
  if (exhausted > 0) s.log('error', `${exhausted} SAs have no sequence numbers left and cannot send: re-key them`);
  s.log(failed > 0 ? 'error' : 'info', `active in term ${s.term}`, report);
  s.report = report;
  claim(s);
  // What the kernel said while this node was not active yet is read in one go.
  s.read('resync');
  s.sendHello();
  if (s.peer?.role === 'standby') streamSnapshot(s);
}

/** What `promote` answers on a node that is active already: that is no failure for a script that makes sure. */
export function noTakeover({ term, sas }: State): TakeoverReport {
  const none = { failed: 0, exhausted: 0, takeoverMs: 0, unseenMs: 0, skipMax: 0, closedMax: 0 };
  return { kind: 'none', role: 'active', term, sas: sas.size, ...none };
}
