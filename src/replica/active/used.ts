import { saIdOf } from '../../client/index.ts';
import { formatSpi } from '../../xfrm/index.ts';
import { countersOf, counts64, directionOf, isParked, numberOf } from '../sa/counters.ts';
import { sameSa, setNumbers } from '../sa/install.ts';
import { leapAbove } from '../sa/plan.ts';
import type { SaRecord } from '../sa/record.ts';
import { saKey } from '../sa/table.ts';
import type { Reading } from '../state/effects.ts';
import type { GrantEntry } from '../state/frames.ts';
import type { Peer } from '../state/peer.ts';
import { type State, write } from '../state/state.ts';
import { adopt } from './account.ts';
import { grantFirst } from './grants.ts';

/**
 * After two nodes were active at a time: the old active, a standby by a newer term, tells the last outbound number that it has used of
 * each SA, and the new active compares that with where it began. Numbers that both have used are named; those that the new active would
 * come to are passed over.
 */

const ENTRIES_MAX = 1024;
/** SAs that are named in the log; the others are counted. */
const NAMED_MAX = 100;
const LAST_32 = 2 ** 32 - 1;

// --- the old active -----------------------------------------------------------------------------------------------------

/** Before the SAs are shut by numbers alone, so that their packet counts still tell what slipped out. */
export function beginUsed(s: State): void {
  const before = new Map(
    [...s.sas]
      .filter((record) => directionOf(record) !== 'in' && !isParked(record.sa, record.counters))
      .map((record) => {
        const { sa, counters } = record;
        return [record, { sa, number: numberOf(counters), packets: counters.packets }] as const;
      }),
  );
  s.used = { before, numbers: undefined };
  s.read('used');
}

/**
 * The SAs are shut: what they have carried beyond the last known counters are numbers that were used since. One too many, if those came with
 * an event of the packet threshold: it shows the number of a packet that is not counted yet (xfrm_output.c:xfrm_output_one).
 */
export function onUsedRead(s: State, reading: Reading): void {
  const { used } = s;
  if (used === undefined) return;
  const now = new Map(reading.sas.map((sa) => [saKey(saIdOf(sa)), sa]));
  used.numbers = new Map();
  for (const [record, { sa, number, packets }] of used.before) {
    const found = now.get(saKey(record.id));
    const late = found !== undefined && sameSa(found, sa) ? Math.max(0, countersOf(found).packets - packets) : 0;
    // What is counted too many is no number where numbers end.
    const last = counts64(sa) ? number + late : Math.min(number + late, LAST_32);
    used.numbers.set(record, last);
    // Whatever the new active's account says: a takeover of this node goes on above them.
    record.granted = Math.max(record.granted, last);
  }
  tellUsed(s);
}

/** Once the new active has given the SAs its handles. */
export function tellUsed(s: State): void {
  const numbers = s.used?.numbers;
  const { reigning } = s;
  if (numbers === undefined || reigning === undefined || !s.complete || s.staleSas !== undefined) return;
  s.used = undefined;
  const entries = [...numbers].filter(([record]) => s.sas.has(record)).map(([{ handle }, upTo]) => ({ handle, upTo }));
  for (let i = 0; i === 0 || i < entries.length; i += ENTRIES_MAX)
    s.send(reigning, {
      type: 'used',
      last: i + ENTRIES_MAX >= entries.length,
      entries: entries.slice(i, i + ENTRIES_MAX),
    });
  s.log('info', `told ${reigning.name} the last number of ${entries.length} SAs that were open here`);
}

// --- the new active -----------------------------------------------------------------------------------------------------

export function onUsed(
  s: State,
  { used }: Peer,
  { last, entries }: { last: boolean; entries: readonly GrantEntry[] },
): void {
  for (const { handle, upTo } of entries) {
    const record = s.sas.byHandle(handle);
    if (record) used.set(record, Math.max(upTo, used.get(record) ?? 0));
  }
  // Not by events: which numbers this node has used meanwhile counts as it is now.
  if (!last || s.comparing) return;
  s.comparing = true;
  s.read('overlap');
}

export function onOverlapRead(s: State, reading: Reading, nowMs: number): void {
  const tellers = [...s.peers.values()].filter(({ used }) => used.size > 0);
  const there = tellers.flatMap(({ used }) => [...used]).filter(([record]) => s.sas.has(record));
  for (const { used } of tellers) used.clear();
  s.comparing = false;
  if (s.role !== 'active' || s.phase !== 'steady') return;
  adopt(s, reading, nowMs);
  const overlaps: { record: SaRecord; from: number; to: number }[] = [];
  const unknown: SaRecord[] = [];
  const passed: [record: SaRecord, above: number][] = [];
  for (const [record, upTo] of there) {
    const here = numberOf(record.counters);
    const { began } = record;
    if (began === undefined) {
      if (upTo > 0) unknown.push(record);
    } else if (upTo > numberOf(began) && here > numberOf(began)) {
      overlaps.push({ record, from: numberOf(began) + 1, to: Math.min(upTo, here) });
    }
    if (upTo > here && !receives(record)) passed.push([record, upTo]);
  }
  moveAbove(s, passed);
  s.counts.overlaps += overlaps.length;
  for (const { record, from, to } of overlaps.slice(0, NAMED_MAX))
    s.log('error', `SA ${formatSpi(record.id.spi)}: both nodes have used the numbers ${from} to ${to}: re-key it`, {
      spi: formatSpi(record.id.spi),
      from,
      to,
    });
  if (overlaps.length > NAMED_MAX) s.log('error', `and ${overlaps.length - NAMED_MAX} more SAs: re-key them`);
  if (unknown.length > 0)
    s.log(
      'warn',
      `of ${unknown.length} SAs this node does not know where it began, as its daemon was restarted: re-key them`,
    );
  const node = tellers.map(({ name }) => name).join(', ') || 'the old active';
  if (overlaps.length === 0 && unknown.length === 0)
    s.log('info', `${node} has used no number of this node's reign (${there.length} SAs compared)`);
}

/** Its numbers cannot be written without its window, which moves. */
const receives = (record: SaRecord): boolean =>
  directionOf(record) === 'in' ||
  (record.began !== undefined &&
    (record.counters.seq !== record.began.seq || record.counters.seqHi !== record.began.seqHi));

/** The numbers that the old active has used are not used again: this node goes on above them, at once. */
function moveAbove(s: State, moved: readonly (readonly [SaRecord, number])[]): void {
  if (moved.length === 0) return;
  for (const [record, above] of moved) {
    Object.assign(record.counters, leapAbove(record, s.settings.plan, above));
    s.touch(record);
  }
  const records = moved.map(([record]) => record);
  // A standby that would take over below them, were this node to die now, learns of it with the same frames.
  grantFirst(s, records);
  if (s.bound.length > 0) {
    const entries = records.map(({ handle, granted }) => ({ handle, upTo: granted }));
    for (let i = 0; i < entries.length; i += ENTRIES_MAX)
      s.tell({ type: 'grants', id: s.nextAsk++, entries: entries.slice(i, i + ENTRIES_MAX) });
  }
  s.write(records.map((record) => write('leap', record.handle, setNumbers(record, record.counters))));
  const ended = records.filter(({ sa, counters }) => isParked(sa, counters)).length;
  if (ended > 0) s.log('error', `${ended} SAs have no sequence numbers left and cannot send: re-key them`);
  s.log('warn', `${moved.length} SAs go on above the numbers that the old active has used`);
}
