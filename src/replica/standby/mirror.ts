import { type Sa, saIdOf } from '../../client/index.ts';
import { noteAsked, takeInGrant } from '../active/grants.ts';
import { tellUsed } from '../active/used.ts';
import { type Counters, countersOf, isBehind, takeHigher } from '../sa/counters.ts';
import {
  deletePolicy,
  deleteSa,
  newSa,
  policyKey,
  putPolicy,
  sameLimits,
  sameSa,
  setCounters,
  setNumbers,
  updateSa,
} from '../sa/install.ts';
import { canBeParked, parked, shut } from '../sa/plan.ts';
import { newRate, noteRate } from '../sa/rate.ts';
import { newRecordState, type SaRecord } from '../sa/record.ts';
import { selectsPolicy, selectsSa } from '../sa/select.ts';
import type { Reading, Write } from '../state/effects.ts';
import type { CountersEntry, Frame } from '../state/frames.ts';
import type { Peer } from '../state/peer.ts';
import { type State, write } from '../state/state.ts';
import { ownTimes, pingOf } from './clock.ts';
import { holdDeleted } from './held.ts';

/** The standby's mirror of the active's account, and of it in this node's kernel, where it cannot send. */

export function onAccount(s: State, peer: Peer, frame: Frame, nowMs: number): void {
  switch (frame.type) {
    case 'snapshotBegin':
      if (s.rules.generations) s.sas.forgetHandles();
      s.earlyGrants.clear();
      s.account = { term: frame.term, asked: frame.asked, recent: [] };
      s.staleSas = new Set(s.sas);
      s.stalePolicies = new Set(s.policies.keys());
      break;
    case 'sa':
      takeIn(s, peer, frame, nowMs);
      takeInGrant(s, frame.handle, Math.max(frame.granted, s.earlyGrants.get(frame.handle) ?? 0));
      break;
    case 'saDelete': {
      const record = s.sas.byHandle(frame.handle);
      if (record) forget(s, record, nowMs);
      break;
    }
    case 'policy': {
      const key = policyKey(frame.policy);
      s.policies.set(key, frame.policy);
      s.stalePolicies?.delete(key);
      if (s.settings.install === 'immediate') s.write([write('policy', 0, putPolicy(frame.policy))]);
      break;
    }
    case 'policyDelete':
      dropPolicy(s, policyKey(frame.policy), nowMs);
      if (s.settings.install === 'immediate') s.write([write('policyDelete', 0, deletePolicy(frame.policy))]);
      break;
    case 'counters':
      for (const entry of frame.entries) takeInCounters(s, peer, entry, nowMs);
      break;
    case 'grants':
      for (const { handle, upTo } of frame.entries) takeInGrant(s, handle, upTo);
      if (s.account) s.account = noteAsked(s.account, frame.id, frame.entries);
      s.send(peer, { type: 'granted', id: frame.id });
      break;
    case 'pong':
      // During a snapshot it proves nothing of the SAs that have not been named yet.
      if (!s.complete || s.staleSas !== undefined) break;
      s.provenMs = Math.max(s.provenMs ?? 0, frame.timeMs);
      s.send(peer, { type: 'proven', timeMs: frame.timeMs });
      break;
    case 'snapshotEnd':
      for (const record of s.staleSas ?? []) forget(s, record, nowMs);
      for (const key of s.stalePolicies ?? []) dropPolicy(s, key, nowMs);
      s.staleSas = undefined;
      s.stalePolicies = undefined;
      s.earlyGrants.clear();
      s.complete = true;
      tellUsed(s);
      s.send(peer, pingOf(s, peer, nowMs));
      s.read('reconcile');
      s.log('info', 'this standby is complete', { sas: s.sas.size, policies: s.policies.size });
      break;
  }
}

function takeIn(
  s: State,
  peer: Peer,
  { handle, sa, thresholds }: Frame & { readonly type: 'sa' },
  nowMs: number,
): void {
  const known = s.sas.find(saIdOf(sa));
  const immediate = s.settings.install === 'immediate' && canBeParked(sa);
  if (known && sameSa(known.sa, sa)) {
    const limits = !sameLimits(known.sa, sa);
    s.staleSas?.delete(known);
    s.sas.rename(known, handle);
    known.sa = sa;
    known.thresholds = thresholds;
    if (s.leftOpen.delete(known)) Object.assign(known.counters, ownTimes(peer, countersOf(sa)));
    takeInCounters(s, peer, { handle, counters: countersOf(sa) }, nowMs, s.staleSas !== undefined);
    if (immediate && !known.installed) s.write(installing(s, known));
    else if (immediate && limits) s.write([write('update', handle, updateSa(known))]);
    return;
  }
  if (known) forget(s, known, nowMs); // its SPI was given out anew
  const record: SaRecord = {
    handle,
    id: saIdOf(sa),
    sa,
    counters: ownTimes(peer, countersOf(sa)),
    thresholds,
    rate: newRate(Number(sa.body.curlft.packets), nowMs),
    installed: false,
    ...newRecordState(),
    timesBy: peer.name,
  };
  s.sas.add(record);
  if (immediate) s.write(installing(s, record));
}

function takeInCounters(
  s: State,
  peer: Peer,
  { handle, counters, quiet }: CountersEntry,
  nowMs: number,
  untold = false,
): void {
  const record = s.sas.byHandle(handle);
  if (record === undefined) return;
  s.counts.updatesReceived++;
  const own = ownTimes(peer, counters);
  record.timesBy = peer.name;
  const behind = s.rules.monotonic && isBehind(own, record.counters);
  record.quiet = quiet === true && counters.bitmap !== undefined && !behind;
  if (behind) {
    // What waited to be sent can be overtaken by a newer account (S3).
    takeHigher(record, own, true);
  } else {
    // An earlier bitmap says nothing of a window that has moved.
    const { seq, seqHi } = record.counters;
    const kept = seq === counters.seq && seqHi === counters.seqHi ? record.counters.bitmap : undefined;
    Object.assign(record.counters, own, { bitmap: counters.bitmap ?? kept });
  }
  noteRate(record.rate, counters.packets, nowMs, untold);
  s.touch(record);
}

function forget(s: State, record: SaRecord, nowMs: number): void {
  holdDeleted(s, { record }, nowMs);
  s.staleSas?.delete(record);
  s.sas.remove(record);
  if (record.installed || s.settings.install === 'immediate') s.write([write('delete', 0, deleteSa(record))]);
}

function dropPolicy(s: State, key: string, nowMs: number): void {
  const policy = s.policies.get(key);
  if (policy) holdDeleted(s, { policy }, nowMs);
  s.policies.delete(key);
}

/** What this node's kernel still has from earlier, and the active does not, goes; what has other keys there is replaced. */
export function reconcile(s: State, reading: Reading): void {
  const writes: Write[] = [];
  for (const sa of reading.sas) {
    const record = s.sas.find(saIdOf(sa));
    const immediate = s.settings.install === 'immediate';
    if (record === undefined) {
      if (selectsSa(s.settings.selection, sa)) writes.push(write('delete', 0, deleteSa({ id: saIdOf(sa) })));
    } else if (!record.installed && !canBeParked(record.sa)) {
      // Left open by a takeover that this daemon's last life did not finish: it could send.
      writes.push(write('delete', 0, deleteSa(record)));
    } else if (!sameSa(sa, record.sa)) {
      if (!immediate) writes.push(write('delete', 0, deleteSa(record)));
      else if (record.installed) s.write([write('delete', record.handle, deleteSa(record)), ...installing(s, record)]);
    } else if (!record.installed && !immediate) {
      // From an earlier reign of this node: it is kept in step, and goes when the active's goes (S3).
      onCollision(s, record, sa);
    }
  }
  for (const policy of reading.policies) {
    if (selectsPolicy(s.settings.selection, policy) && !s.policies.has(policyKey(policy))) {
      writes.push(write('policyDelete', 0, deletePolicy(policy)));
    }
  }
  if (writes.length > 0) s.log('info', `removed ${writes.length} SAs and policies that do not belong on this standby`);
  s.write(writes);
}

/** What an SA has in a standby's kernel. */
function standing({ rules, keepsShut }: State, record: SaRecord): Counters {
  if (!rules.parked) return record.counters;
  return keepsShut ? shut(record) : parked(record);
}

export function installing(s: State, record: SaRecord): Write[] {
  // Unable to send from the first moment, except where the kernel takes no number that is at its end (xfrm_user.c:verify_sa_dir).
  const atFirst = record.sa.attributes.saDir === undefined ? standing(s, record) : record.counters;
  return [
    write('install', record.handle, newSa(record, atFirst)),
    // Numbers alone: one that is there already may have a limit that its packets have passed since.
    write('counters', record.handle, setNumbers(record, standing(s, record))),
  ];
}

/** Writes the counters that moved to this node's kernel. */
export function applyCounters(s: State): void {
  // One that is gone may have left its SPI to another SA.
  const moved = s.dirty.filter((r) => r.installed && s.sas.has(r));
  s.write(moved.map((r) => write('counters', r.handle, setCounters(r, standing(s, r)))));
}

/**
 * NEWSA met an SA with the same identity, or one was deleted: the same one stays and gets our counters, another one goes. None: it
 * expired, or somebody wants it gone; it is put in again at the takeover at the latest.
 */
export function onCollision(s: State, record: SaRecord, sa: Sa | undefined): void {
  const { handle } = record;
  if (sa === undefined) record.installed = false;
  else if (sameSa(sa, record.sa)) {
    record.installed = true;
    const limits = sameLimits(sa, record.sa) ? [] : [write('update', handle, updateSa(record))];
    s.write([...limits, write('counters', handle, setCounters(record, standing(s, record)))]);
  } else {
    s.write([write('delete', handle, deleteSa(record)), ...installing(s, record)]);
  }
}
