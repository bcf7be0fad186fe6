import { type Sa, saIdOf } from '../../client/index.ts';
import { XFRM_INF } from '../../xfrm/index.ts';
import { withoutMark } from '../sa/ceiling.ts';
import { countersOf, directionOf, isParked, numberOf, replayWindowOf } from '../sa/counters.ts';
import { updateSa } from '../sa/install.ts';
import { packetsWithin } from '../sa/rate.ts';
import type { SaRecord } from '../sa/record.ts';
import { selectsSa } from '../sa/select.ts';
import { saKey } from '../sa/table.ts';
import type { Reading, Write } from '../state/effects.ts';
import type { GrantEntry } from '../state/frames.ts';
import type { Peer } from '../state/peer.ts';
import type { GrantSettings } from '../state/settings.ts';
import { type State, write } from '../state/state.ts';
import type { Account } from '../state/under-way.ts';

/**
 * Grants, the active's side: outbound numbers of an SA are used only up to its grant, and a grant is raised only after the standby has
 * acknowledged it. A takeover goes on above it, so no number is used twice whatever was lost on the way (S1).
 *
 * In mode `safe` the kernel enforces it: the SA's hard packet limit is its ceiling. Where the key manager has set a lower limit, that one
 * rules; its own limits come back when the ceiling goes.
 */

/** A receiver infers the upper half of an extended number: one jump stays far below 2^32 (RFC 4303, appendix A2). */
const NUMBERS_MAX = 2 ** 30;
const LAST_32 = 2 ** 32 - 1;
/** Beyond it a number is not exact here. No SA gets there. */
const LAST_64 = Number.MAX_SAFE_INTEGER;
const ESN = 128;

/** An SA that only receives has no numbers to grant, and one that is at their end none left. */
const sends = (record: SaRecord): boolean => directionOf(record) !== 'in' && !isParked(record.sa, record.counters);

/** How far the next grant of this SA goes: half of what is left where numbers end. */
function nextGrant({ numbersMin, horizonMs }: GrantSettings, record: SaRecord): number {
  const { sa, counters, rate } = record;
  const now = numberOf(counters);
  const last = (sa.body.flags & ESN) !== 0 && sa.attributes.replayEsnVal !== undefined ? LAST_64 : LAST_32;
  const size = Math.min(Math.max(numbersMin, packetsWithin(rate, horizonMs)), NUMBERS_MAX, Math.ceil((last - now) / 2));
  return Math.max(now + Math.ceil(size), record.granted);
}

/** From which number on more is asked for: half of the grant is left then. */
const halfway = (record: SaRecord): number => {
  const now = numberOf(record.counters);
  return now + (record.granted - now) / 2;
};

/** This standby may take over, from now on: nothing beyond a grant without its word. */
export function bind(s: State, peer: Peer): void {
  const isFirst = s.bound.length === 0;
  peer.bound = true;
  // It hears of all that is still asked for, in one order with everything else.
  forgetAsked(s);
  if (isFirst) grantFirst(s, [...s.sas]);
}

/** The first grants of SAs that the standby cannot know yet need nobody's word. */
export function grantFirst(s: State, records: readonly SaRecord[]): void {
  if (s.bound.length === 0) return;
  const sending = records.filter(sends);
  for (const record of sending) {
    if (record.granted <= numberOf(record.counters)) record.granted = nextGrant(s.settings.grants, record);
    record.raiseAt = halfway(record);
  }
  writeCeilings(s, sending);
}

/** This standby does not take over. With the last one, the kernel's limits are the key manager's again. */
export function unbind(s: State, peer: Peer): void {
  if (!peer.bound) return;
  peer.bound = false;
  if (s.bound.length > 0) {
    for (const id of [...s.asked.keys()]) settle(s, id);
    return;
  }
  s.asked.clear();
  s.wanting.clear();
  for (const record of s.sas) record.raiseAt = Number.POSITIVE_INFINITY;
  removeCeilings(s);
}

export function removeCeilings(s: State): void {
  const held = [...s.sas].filter((record) => record.ceiling !== undefined);
  for (const record of held) record.ceiling = undefined;
  s.write(held.map((record) => write('ceiling', record.handle, updateSa(record))));
}

/** The number that an SA has used moved: more is asked for in time. The hot path of an active node. */
export function noteNumber(s: State, record: SaRecord): void {
  if (record.counters.packets >= record.recountAt) recount(s, record);
  if (numberOf(record.counters) < record.raiseAt) return;
  record.raiseAt = Number.POSITIVE_INFINITY;
  s.wanting.add(record);
}

/** Grants in one frame, of which the standby keeps each. */
const ENTRIES_MAX = 1024;

/**
 * How many standbys have to acknowledge: so many that with this node they are a majority, as no other node takes over without one of them
 * (votes.ts); fewer, if fewer have an account at all. Of a pair's two nodes, the other one.
 */
const wordsNeeded = (s: State): number => Math.min(s.majority - 1, s.bound.length);

/** Whether enough standbys are there to acknowledge. */
export const canRaise = (s: State): boolean =>
  s.bound.length > 0 && s.bound.filter(({ streaming }) => streaming).length >= wordsNeeded(s);

/** Asks the standbys for what is wanted. What turns out to be an inbound SA needs no ceiling. */
export function askForGrants(s: State): void {
  for (const record of s.dirty) {
    if (record.ceiling === undefined || sends(record)) continue;
    record.ceiling = undefined;
    s.write([write('ceiling', record.handle, updateSa(record))]);
  }
  if (s.wanting.size === 0 || !canRaise(s)) return;
  const wanting = [...s.wanting].filter((record) => s.sas.has(record) && sends(record));
  s.wanting.clear();
  for (let i = 0; i < wanting.length; i += ENTRIES_MAX) {
    const entries = wanting
      .slice(i, i + ENTRIES_MAX)
      .map((record) => ({ handle: record.handle, upTo: nextGrant(s.settings.grants, record) }));
    const id = s.nextAsk++;
    s.asked.set(id, { entries, known: new Set() });
    s.tell({ type: 'grants', id, entries });
  }
}

/** A standby knows. */
export function onGranted(s: State, peer: Peer, id: number): void {
  s.asked.get(id)?.known.add(peer);
  settle(s, id);
}

/** Enough of them know: the numbers may be used. */
function settle(s: State, id: number): void {
  const ask = s.asked.get(id);
  if (ask === undefined || [...ask.known].filter(({ bound }) => bound).length < wordsNeeded(s)) return;
  s.asked.delete(id);
  const raised: SaRecord[] = [];
  for (const { handle, upTo } of ask.entries) {
    const record = s.sas.byHandle(handle);
    if (record === undefined) continue;
    record.granted = Math.max(record.granted, upTo);
    record.raiseAt = halfway(record);
    raised.push(record);
  }
  writeCeilings(s, raised);
}

/** A standby is gone, or new: what was asked for is asked for anew, as soon as enough are there. */
export function forgetAsked(s: State): void {
  for (const { entries } of s.asked.values()) {
    for (const { handle } of entries) {
      const record = s.sas.byHandle(handle);
      if (record) s.wanting.add(record);
    }
  }
  s.asked.clear();
}

/** A standby learns what the active may use: a takeover goes on above it. */
export function takeInGrant(s: State, handle: number, upTo: number): void {
  const record = s.sas.byHandle(handle);
  if (record) record.granted = Math.max(record.granted, upTo);
  else s.earlyGrants.set(handle, Math.max(s.earlyGrants.get(handle) ?? 0, upTo));
}

/** Grants that are kept for a candidate that has missed them: those of the last seconds. */
const RECENT_MAX = 64;

export function noteAsked({ term, asked, recent }: Account, id: number, entries: readonly GrantEntry[]): Account {
  return { term, asked: Math.max(asked, id), recent: [...recent, { id, entries }].slice(-RECENT_MAX) };
}

// --- ceilings -----------------------------------------------------------------------------------------------------------

/** The hard packet limit at which the SA has used its grant; undefined where the key manager's own limit comes first. */
function ceilingOf({ sa, counters, granted }: SaRecord): bigint | undefined {
  const limit = BigInt(counters.packets) + BigInt(granted - numberOf(counters));
  return sa.body.lft.hardPacketLimit <= limit ? undefined : limit;
}

/** Half of what a ceiling leaves is used. Events come behind readings by one packet: that is no difference. */
function recount(s: State, record: SaRecord): void {
  record.recountAt = Number.POSITIVE_INFINITY;
  const next = ceilingOf(record);
  // Packets that came in, on an SA that does not show which way it goes, have used no number of its grant.
  if (record.ceiling !== undefined && next !== undefined && next > record.ceiling) writeCeilings(s, [record]);
}

/** It may be inbound, and nothing would show it: without a window the kernel keeps no number, and announces nothing (xfrm_replay_advance). */
const receivesUnheard = ({ sa }: SaRecord): boolean => sa.attributes.saDir === undefined && replayWindowOf(sa) === 0;

/** SAs whose counters are to be read, as nothing else would tell in time that their ceilings stop what they receive. */
export function unheardSas(s: State, count: number): SaRecord[] {
  const due: SaRecord[] = [];
  for (let looks = s.unheard.size; looks > 0 && due.length < count; looks--) {
    const [record] = s.unheard;
    if (record === undefined) break;
    s.unheard.delete(record);
    // What sends is heard of.
    if (record.ceiling === undefined || numberOf(record.counters) !== record.ceilingAt) continue;
    s.unheard.add(record);
    due.push(record);
  }
  return due;
}

function ceilingStands(s: State, record: SaRecord, ceiling: bigint | undefined): void {
  record.ceiling = ceiling;
  const { packets } = record.counters;
  record.recountAt =
    ceiling === undefined ? Number.POSITIVE_INFINITY : packets + Math.max(1, (Number(ceiling) - packets) / 2);
  record.ceilingAt = numberOf(record.counters);
  if (ceiling !== undefined && receivesUnheard(record)) s.unheard.add(record);
}

function writeCeilings(s: State, records: readonly SaRecord[]): void {
  if (s.settings.grants.mode !== 'safe' || !s.rules.ceiling) return;
  const writes: Write[] = [];
  let hidden = false;
  for (const record of records) {
    const ceiling = ceilingOf(record);
    if (ceiling === record.ceiling) continue;
    if (ceiling !== undefined) hidden = hides(s, record) || hidden;
    ceilingStands(s, record, ceiling);
    writes.push(write('ceiling', record.handle, updateSa(record)));
  }
  // On disk before a ceiling hides them.
  if (hidden) s.emit({ type: 'keepLimits', limits: [...s.keptLimits] });
  s.write(writes);
}

/** Whether the ceiling stands before a limit of the key manager that is not kept yet. */
function hides(s: State, { id, sa }: SaRecord): boolean {
  const { hardPacketLimit } = sa.body.lft;
  const key = saKey(id);
  if (hardPacketLimit === XFRM_INF || s.keptLimits.get(key) === hardPacketLimit) return false;
  s.keptLimits.set(key, hardPacketLimit);
  return true;
}

/**
 * The SA as its key manager has set it: what a ceiling hides comes from what is known of the SA, or, in a daemon that has just been started,
 * from the disk. `ceiling`: the limit in its place, if it is one.
 */
export function withoutCeiling(s: State, sa: Sa, known: SaRecord | undefined): { sa: Sa; ceiling: bigint | undefined } {
  const { lft } = sa.body;
  const kept = s.keptLimits.get(saKey(saIdOf(sa)));
  const unmarked = withoutMark(lft) ?? (kept !== undefined && kept > lft.hardPacketLimit ? lft : undefined);
  if (unmarked === undefined) return { sa, ceiling: undefined };
  const own = known?.sa.body.lft ?? { ...unmarked, hardPacketLimit: kept ?? XFRM_INF };
  return { sa: { ...sa, body: { ...sa.body, lft: own } }, ceiling: lft.hardPacketLimit };
}

/** A daemon that has just been started finds the ceilings of its last life: it is bound by them, as standbys know them. */
export function takeOverCeiling(s: State, record: SaRecord, ceiling: bigint): void {
  ceilingStands(s, record, ceiling);
  record.granted = numberOf(record.counters) + Math.max(0, Number(ceiling) - record.counters.packets);
  record.raiseAt = halfway(record);
  for (const peer of s.peers.values()) peer.bound = true;
  noteNumber(s, record);
}

/** A standby's daemon finds the ceilings of a reign whose last step its last life did not take: its packets are the next active's by now. */
export function removeLeftCeilings(s: State, { sas }: Reading): void {
  const writes: Write[] = [];
  for (const found of sas) {
    const { sa, ceiling } = withoutCeiling(s, found, undefined);
    const counters = countersOf(sa);
    // What can send keeps to its ceiling.
    if (ceiling === undefined || !selectsSa(s.settings.selection, sa) || !isParked(sa, counters)) continue;
    writes.push(write('ceiling', 0, updateSa({ sa, counters, ceiling: undefined, softTold: false })));
  }
  s.write(writes);
}

/** What the kernel has is not what was written last: somebody else has set the limits of the SA. */
export function restoreCeiling(s: State, record: SaRecord, found: bigint | undefined): void {
  // An earlier ceiling: the write of the latest one is still under way.
  if (found !== undefined || record.ceiling === undefined) return;
  record.ceiling = undefined;
  record.softTold = false;
  writeCeilings(s, [record]);
}

/** The key manager knows. */
export function onSoftExpire(s: State, id: SaRecord['id']): void {
  const record = s.sas.find(id);
  if (record) record.softTold = true;
}

/** Not enough standbys are there to acknowledge what SAs need. Said once each time. */
export function warnOfCeilings(s: State): void {
  const away = s.bound.filter(({ hello }) => hello === undefined).map(({ name }) => name);
  const needed = s.wanting.size > 0 && away.length > 0 && !canRaise(s);
  if (needed && !s.warnedOfCeilings)
    s.log(
      'warn',
      `${s.wanting.size} SAs have used half of their grants and ${away.join(', ')} is not there to raise them: they stop at their ceilings. ` +
        'A standby that is gone for good and cannot take over: xfrmsync dismiss',
    );
  s.warnedOfCeilings = needed;
}
