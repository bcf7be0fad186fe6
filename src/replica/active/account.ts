import { newAevent, type Policy, type Sa, saIdOf } from '../../client/index.ts';
import { AeFlag, SaExtraFlag, type XfrmMessage } from '../../xfrm/index.ts';
import { type Counters, countersOf, isBehind, progressOf, takeHigher } from '../sa/counters.ts';
import { policyKey, sameLimits, sameSa } from '../sa/install.ts';
import { newRate, noteRate } from '../sa/rate.ts';
import { KERNEL_THRESHOLDS, newRecordState, type SaRecord, type Thresholds } from '../sa/record.ts';
import { selectsPolicy, selectsSa } from '../sa/select.ts';
import { type Aevents, saKey } from '../sa/table.ts';
import { forgetProof, noteSent } from '../sa/told.ts';
import type { Reading } from '../state/effects.ts';
import type { CountersEntry, Frame } from '../state/frames.ts';
import type { Peer } from '../state/peer.ts';
import { type State, write } from '../state/state.ts';
import { coming, foundSilent, onThresholds } from './adapt.ts';
import { announce, saFrame } from './announce.ts';
import { bind, grantFirst, noteNumber, restoreCeiling, takeOverCeiling, withoutCeiling } from './grants.ts';
import { noteMove, noteTimer, noteTimerRead, timedBy, watch } from './quiet.ts';
import { readCounters } from './sweep.ts';

/** The active's account of its own kernel: kept by events, told to the standbys. */

/** Makes the account equal to what was read. */
export function adopt(s: State, reading: Reading, nowMs: number): void {
  const gone = new Set(s.sas);
  for (const sa of reading.sas) {
    const record = isOutdated(s, sa) ? undefined : putSa(s, sa, nowMs, true);
    if (record) gone.delete(record);
  }
  for (const record of gone) if (!s.isNewMeanwhile(saKey(record.id))) drop(s, record);
  const gonePolicies = new Set(s.policies.keys());
  for (const policy of reading.policies) {
    const key = policyKey(policy);
    if (!s.isGoneMeanwhile(key) && putPolicy(s, policy)) gonePolicies.delete(key);
  }
  for (const key of gonePolicies) if (!s.isNewMeanwhile(key)) dropPolicy(s, key);
}

/** Whether events have said, while this was being read, that it is gone, or that another SA has its SPI by now. */
export function isOutdated(s: State, sa: Sa): boolean {
  const id = saIdOf(sa);
  const key = saKey(id);
  if (s.isGoneMeanwhile(key)) return true;
  if (!s.isNewMeanwhile(key)) return false;
  const known = s.sas.find(id);
  return known !== undefined && !sameSa(known.sa, sa);
}

/** Counters of SAs moved: all that a kernel says at once. The hot path of an active node. */
export function onAevents(s: State, cursor: Aevents, nowMs: number): void {
  while (cursor.next()) {
    s.counts.aevents++;
    const record = s.sas.findAevent(cursor);
    if (record === undefined) continue; // not selected, or its NEWSA has not been read yet
    const { counters } = record;
    const byHand = (cursor.flags & AeFlag.CU) !== 0;
    if (byHand) {
      // Thresholds may have been set too, which the event does not show. The event itself may be of an SA that this one took the place of,
      // so the counters are read as well. Ones that were set back are not followed (S3).
      noteMove(s, record, nowMs);
      readCounters(s, [record]);
      s.emit({ type: 'readThresholds', handles: [record.handle] });
      continue;
    }
    if (s.unsure.size > 0 && s.unsure.has(record)) {
      s.unsure.set(record, Math.max(progressOf({ counters: countersAt(cursor) }), s.unsure.get(record) ?? 0));
      readCounters(s, [record]);
      continue;
    }
    if (s.rules.monotonic && isBehind(cursor, counters) && !hasWrapped(cursor, record)) {
      // An event that waited in the socket while the kernel was read is older than what is known, or of an SA that this one's place was
      // given to (S3). After a lifetime was set back by hand it is not: what is ahead counts.
      if (takeHigher(record, countersAt(cursor))) s.touch(record);
      continue;
    }
    counters.oseq = cursor.oseq;
    counters.oseqHi = cursor.oseqHi;
    counters.seq = cursor.seq;
    counters.seqHi = cursor.seqHi;
    counters.bitmap = s.settings.plan.inbound === 'window' ? cursor.bitmap() : undefined;
    counters.bytes = cursor.bytes;
    counters.packets = cursor.packets;
    counters.addTime = cursor.addTime;
    counters.useTime = cursor.useTime;
    if (noteRate(record.rate, counters.packets, nowMs)) s.adapting.add(record);
    noteNumber(s, record);
    noteMove(s, record, nowMs);
    if (noteTimer(record)) announce(s, record);
    s.touch(record);
  }
}

/** Outbound numbers begin anew where the SA says that they may. */
const hasWrapped = ({ packets }: Aevents, { counters, sa }: SaRecord): boolean =>
  packets >= counters.packets && ((sa.attributes.saExtraFlags ?? 0) & SaExtraFlag.OSEQ_MAY_WRAP) !== 0;

function countersAt(cursor: Aevents): Counters {
  const { oseq, oseqHi, seq, seqHi, bytes, packets, addTime, useTime } = cursor;
  return { oseq, oseqHi, seq, seqHi, bitmap: cursor.bitmap(), bytes, packets, addTime, useTime };
}

export function putSa(s: State, message: Sa, nowMs: number, isRead = false): SaRecord | undefined {
  const { body, attributes } = message;
  const read: Sa = { body, attributes };
  if (!selectsSa(s.settings.selection, read)) return undefined;
  const id = saIdOf(read);
  const known = s.sas.find(id);
  const { sa, ceiling } = withoutCeiling(s, read, known);
  const counters = countersOf(sa);
  if (known && sameSa(known.sa, sa)) {
    const changed = !sameLimits(known.sa, sa);
    known.sa = sa;
    if (!s.rules.monotonic) Object.assign(known.counters, counters);
    if (takeHigher(known, counters) || !s.rules.monotonic) {
      s.touch(known);
      noteMove(s, known, nowMs);
    }
    noteNumber(s, known);
    if (changed) announce(s, known);
    if (known.ceiling !== ceiling) restoreCeiling(s, known, ceiling);
    return known;
  }
  if (known) drop(s, known);
  const record: SaRecord = {
    handle: s.nextHandle++,
    id,
    sa,
    counters,
    thresholds: KERNEL_THRESHOLDS,
    rate: newRate(counters.packets, nowMs),
    installed: true,
    ...newRecordState(),
  };
  s.sas.add(record);
  if (known && isRead) s.unsure.set(record, 0);
  watch(s, record, nowMs);
  if (ceiling === undefined) grantFirst(s, [record]);
  else takeOverCeiling(s, record, ceiling);
  announce(s, record);
  s.touch(record);
  s.emit({ type: 'readThresholds', handles: [record.handle] });
  return record;
}

export function putPolicy(s: State, message: Policy): string | undefined {
  const policy: Policy = { body: message.body, attributes: message.attributes };
  if (!selectsPolicy(s.settings.selection, policy)) return undefined;
  const key = policyKey(policy);
  const known = s.policies.get(key);
  s.policies.set(key, policy);
  if (known === undefined || !samePolicy(known, policy)) s.tell({ type: 'policy', policy });
  return key;
}

/** False if the event does not say which policy it was. */
export function onPolicyGone(s: State, { attributes }: XfrmMessage<'DELPOLICY'>): boolean {
  if (attributes.policy === undefined) return false;
  const key = policyKey({ body: attributes.policy, attributes });
  s.noteEvent(key, false);
  dropPolicy(s, key);
  return true;
}

export function drop(s: State, record: SaRecord): void {
  s.sas.remove(record);
  for (const set of [s.awake, s.adapting, s.thresholdsDue, s.unheard]) set.delete(record);
  s.unsure.delete(record);
  for (const peer of s.standbys) peer.behind.delete(record);
  s.tell({ type: 'saDelete', handle: record.handle });
}

function dropPolicy(s: State, key: string): void {
  const policy = s.policies.get(key);
  s.policies.delete(key);
  if (policy) s.tell({ type: 'policyDelete', policy });
}

export function onReadThresholds(s: State, handle: number, thresholds: Thresholds): void {
  const record = s.sas.byHandle(handle);
  if (record === undefined) return;
  const before = timedBy(record);
  noteTimerRead(record, thresholds.timerMs);
  onThresholds(s, record, thresholds);
  if (thresholds.packets === 0 && thresholds.timerMs === 0) {
    // The kernel would never speak of this SA, and nothing that is computed at a takeover would be true of it.
    const request = newAevent(record.id, { replayThresh: KERNEL_THRESHOLDS.packets });
    s.write([write(foundSilent(s, record) ? 'adapt' : 'thresholds', handle, request)]);
    // Once: a kernel that refuses them is not asked for ever.
    if (before.packets !== 0) s.emit({ type: 'readThresholds', handles: [handle] });
  }
  record.thresholds = coming(record, thresholds);
  const now = timedBy(record);
  if (before.packets !== now.packets || before.timerMs !== now.timerMs) announce(s, record);
}

export function streamSnapshot(s: State, peer: Peer): void {
  // Before the standby knows anything that it could take over with.
  bind(s, peer);
  forgetProof(peer.rounds);
  peer.behind.clear();
  peer.streaming = true;
  peer.sending = true;
  // At once, so that no change is told by handles of which the standby does not know that they are new.
  s.send(peer, { type: 'snapshotBegin', sas: s.sas.size, policies: s.policies.size, asked: s.nextAsk - 1 });
  s.emit({ type: 'stream', to: peer.name, frames: snapshot(s, peer, ++peer.snapshots) });
}

/** Ends early, without the end frame, when the standby is gone or a newer snapshot has begun. */
function* snapshot(s: State, peer: Peer, number: number): Generator<Frame> {
  const { term } = s;
  const goesOn = (): boolean => peer.streaming && peer.snapshots === number;
  for (const record of s.sas) {
    if (!goesOn()) return;
    yield { ...saFrame(s, record, [peer]), term };
  }
  for (const policy of s.policies.values()) {
    if (!goesOn()) return;
    yield { type: 'policy', term, policy };
  }
  if (!goesOn()) return;
  yield { type: 'snapshotEnd', term };
  if (goesOn()) peer.sending = false;
}

/** Counter updates in one frame: a few dozen kilobytes, so that a frame never holds up what is more urgent. */
const ENTRIES_MAX = 1024;

/**
 * Sends the counters that moved: of each SA the latest, however often it moved. A standby that does not take them now gets the latest ones
 * when it does, and holds up nobody.
 */
export function sendCounters(s: State, takes: (peer: string) => boolean = () => true): void {
  const moved = s.dirty.filter((record) => s.sas.has(record));
  const inStep: Peer[] = [];
  for (const peer of s.standbys) {
    const isSlow = !takes(peer.name);
    if (!isSlow && peer.behind.size === 0) {
      inStep.push(peer);
      continue;
    }
    for (const record of moved) peer.behind.add(record);
    if (!isSlow) catchUp(s, peer);
  }
  sendEntries(s, inStep, moved);
}

/** What a standby could not take before. */
export function catchUp(s: State, peer: Peer): void {
  const records = [...peer.behind];
  peer.behind.clear();
  sendEntries(s, [peer], records);
}

function sendEntries(s: State, peers: readonly Peer[], records: readonly SaRecord[]): void {
  if (peers.length === 0) return;
  for (let i = 0; i < records.length; i += ENTRIES_MAX) {
    const entries = records.slice(i, i + ENTRIES_MAX).map((record): CountersEntry => {
      const { handle, counters, quiet } = record;
      for (const peer of peers) noteSent(peer, record, progressOf(record));
      return quiet ? { handle, counters, quiet } : { handle, counters };
    });
    s.counts.updatesSent += entries.length;
    s.send(peers, { type: 'counters', entries });
  }
}

function samePolicy(a: Policy, b: Policy): boolean {
  const settled = ({ body, attributes }: Policy): string =>
    JSON.stringify(
      [
        { ...body, curlft: null, index: 0 },
        { ...attributes, pad: null },
      ],
      (_, v) => (typeof v === 'bigint' ? `${v}` : v),
    );
  return settled(a) === settled(b);
}
