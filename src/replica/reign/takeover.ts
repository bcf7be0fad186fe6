import { type Sa, saIdOf } from '../../client/index.ts';
import { streamSnapshot } from '../active/account.ts';
import { watch } from '../active/quiet.ts';
import { tellSoftLimits } from '../active/soft-limits.ts';
import { type Counters, countersOf, isParked, takeHigher } from '../sa/counters.ts';
import { deleteSa, newSa, putPolicy, sameSa, setCounters } from '../sa/install.ts';
import { JUMP_MAX, type Position, switchoverPosition, takeoverPosition } from '../sa/plan.ts';
import type { SaRecord } from '../sa/record.ts';
import { selectsSa } from '../sa/select.ts';
import type { Reading, TakeoverReport, Write } from '../state/effects.ts';
import { type State, write } from '../state/state.ts';
import { newHeld, type Takeover } from '../state/under-way.ts';
import { knowsGrants, nextTerm, provenAt } from './course.ts';
import { claim } from './reign.ts';
import { needsVotes } from './votes.ts';

/** A standby becomes the active: a new term on disk, then every SA at its new position, then the addresses. */

export function beginTakeover(s: State, kind: Takeover['kind'], nowMs: number, force = false): void {
  const provenMs = provenAt(s, nowMs);
  const unseenMs = kind === 'switchover' ? 0 : Math.max(0, nowMs - provenMs);
  s.phase = 'takingOver';
  const term = nextTerm(s);
  s.takeover = {
    kind,
    startedMs: nowMs,
    unseenMs,
    provenMs,
    complete: knowsGrants(s, force),
    term,
    votes: undefined,
    positions: new Map(),
    failed: 0,
    retried: false,
    opened: false,
  };
  if (needsVotes(s, force)) {
    s.promised = term;
    s.persist({ term: s.term, role: 'standby' });
    return;
  }
  if (!s.rules.durable) onTermStored(s, s.takeover);
  // Not as active yet: a daemon that dies before its SAs are open must not come back as if they were.
  s.persist({ term, role: 'standby', opening: true });
}

/** The new term is on disk: from now on it holds, here and, as soon as it hears of it, on the old active. */
export function onTermStored(s: State, { term }: Takeover): void {
  s.term = term;
  s.sendHello();
  s.read('takeover');
}

/** An SA of the replica, its counters as the account and this kernel have them together, and where it goes on. */
export interface Opening {
  readonly record: SaRecord;
  readonly counters: Counters;
  readonly position: Position;
  /** It is in this node's kernel. */
  readonly isHere: boolean;
}

/**
 * Where every SA goes on, and what this kernel has beside them: SAs from an account that this node's replica has no more, which cannot send,
 * and which let in what may have been let in before (S2). Changes nothing.
 */
export function openings(
  s: State,
  reading: Reading,
  how: Pick<Takeover, 'kind' | 'unseenMs' | 'provenMs' | 'complete'>,
): { readonly opened: Opening[]; readonly strangers: Sa[] } {
  const strangers: Sa[] = [];
  const here = new Map<SaRecord, Counters>();
  for (const sa of reading.sas) {
    const record = s.sas.find(saIdOf(sa));
    if (record === undefined) {
      if (selectsSa(s.settings.selection, sa) && isParked(sa, countersOf(sa))) strangers.push(sa);
    } else if (sameSa(sa, record.sa)) here.set(record, countersOf(sa));
  }
  const opened = [...s.sas].map((record): Opening => {
    const found = here.get(record);
    const known = { ...record, counters: { ...record.counters } };
    if (found !== undefined) takeHigher(known, found);
    const { restored } = record;
    const position =
      how.kind === 'switchover' && restored === undefined
        ? switchoverPosition(known)
        : takeoverPosition(known, s.settings.plan, restored ?? how, s.rules);
    return { record, counters: known.counters, position, isHere: found !== undefined };
  });
  return { opened, strangers };
}

/** Writes every SA's new position: a counter write for those that are in the kernel, the whole SA for those that are not. */
export function open(s: State, reading: Reading): void {
  const takeover = s.takeover;
  if (takeover === undefined) return;
  // One number for each SA, whatever the old active, in one life or several, had called them.
  if (s.rules.generations) s.sas.forgetHandles();
  s.nextHandle = 1;
  for (const record of s.sas) s.sas.rename(record, s.nextHandle++);
  const { opened, strangers } = openings(s, reading, takeover);
  const writes = strangers.map((sa): Write => write('delete', 0, deleteSa({ id: saIdOf(sa) })));
  if (writes.length > 0)
    s.log(
      'warn',
      `${writes.length} SAs of which only an old copy was here are removed; their key manager must make new ones`,
    );
  for (const { record, counters, position, isHere } of opened) {
    Object.assign(record.counters, counters);
    takeover.positions.set(record.handle, position);
    record.installed = true;
    const request = isHere ? setCounters(record, position.counters) : newSa(record, position.counters);
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
    s.persist({ term: s.term, role: 'active' });
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
    record.began = position?.counters;
    record.timesBy = undefined;
    record.restored = undefined;
    record.dirty = false;
    watch(s, record, nowMs);
    s.thresholdsDue.add(record);
  }
  s.dirty = [];
  s.takeover = undefined;
  s.used = undefined;
  s.leftOpen.clear();
  s.held = newHeld();
  s.account = undefined;
  s.vote = undefined;
  s.reignTerm = s.term;
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
  claim(s, kind === 'switchover' ? s.partner : undefined);
  tellSoftLimits(s, nowMs);
  // What the kernel said while this node was not active yet is read in one go.
  s.read('resync');
  s.sendHello();
  for (const peer of s.present) if (peer.hello?.role === 'standby') streamSnapshot(s, peer);
}

/** What `promote` answers on a node that is active already: that is no failure for a script that makes sure. */
export function noTakeover({ term, sas }: State): TakeoverReport {
  const none = { failed: 0, exhausted: 0, takeoverMs: 0, unseenMs: 0, skipMax: 0, closedMax: 0 };
  return { kind: 'none', role: 'active', term, sas: sas.size, ...none };
}
