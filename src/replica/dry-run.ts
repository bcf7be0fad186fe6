import { formatAddress, formatSpi } from '../xfrm/index.ts';
import { courseOf, knowsGrants, nextTerm, provenAt } from './reign/course.ts';
import { type Opening, openings } from './reign/takeover.ts';
import { directionOf, numberOf } from './sa/counters.ts';
import { canBeParked, JUMP_MAX, type Position } from './sa/plan.ts';
import { ALARM_MS } from './standby/clock.ts';
import { heldSas } from './standby/held.ts';
import type { Reading } from './state/effects.ts';
import type { Role } from './state/frames.ts';
import type { State } from './state/state.ts';

/** What a promotion would do now, by the functions that do it. Nothing is changed. */

export interface DryRun {
  readonly node: string;
  readonly role: Role;
  readonly term: number;
  /** The term that would begin. */
  readonly newTerm: number;
  /** What `promote` would be now. The figures of SAs are those of a takeover also where it would be a switchover or refused. */
  readonly course: 'none' | 'switchover' | 'takeover' | 'refused';
  readonly against: readonly Objection[];
  /** Null where nothing would be taken over. */
  readonly unseenMs: number | null;
  readonly totals: DryRunTotals;
  readonly sas: readonly SaDryRun[];
}

export interface Objection {
  readonly code:
    | 'active'
    | 'busy'
    | 'incomplete'
    | 'resigned'
    | 'updating'
    | 'promised'
    | 'minority'
    | 'connected'
    | 'ungranted'
    | 'unseen'
    | 'limit'
    | 'exhausted'
    | 'unparkable'
    | 'clock'
    | 'removed'
    | 'held';
  /** `promote` says no. */
  readonly refuses: boolean;
  readonly text: string;
}

export interface DryRunTotals {
  readonly sas: number;
  readonly policies: number;
  readonly skipMax: number;
  readonly closedMax: number;
  /** SAs by what their outbound number follows. */
  readonly byGrant: number;
  readonly byEstimate: number;
  readonly closed: number;
  /** Packets of peers that all SAs together would refuse at the most, though nobody has accepted them. */
  readonly lossMax: number;
  readonly exhausted: number;
  readonly anew: number;
  readonly removed: number;
}

export interface SaDryRun {
  readonly daddr: string;
  readonly spi: string;
  readonly direction: 'in' | 'out' | 'unknown';
  /** Last outbound number as known here, and as it would be written. The next packet has the one after it. */
  readonly oseq: number;
  readonly newOseq: number;
  readonly skip: number;
  readonly skipBy: Position['skipBy'];
  /** Highest inbound number as known here, and as it would be written. */
  readonly seq: number;
  readonly newSeq: number;
  readonly closed: number;
  readonly lossMax: number;
  readonly exhausted: boolean;
  /** It is not in this node's kernel, or another one is in its place: the whole SA would be written. */
  readonly anew: boolean;
  readonly why: readonly string[];
  /** Where a switchover would put it, if its final counters were those that are known now. */
  readonly switchover?: { readonly oseq: number; readonly seq: number };
}

/** Above it a takeover is worth a second thought: the estimates are far from what is likely. */
const UNSEEN_LONG_MS = 60_000;

export function dryRun(s: State, reading: Reading, nowMs: number, force: boolean): DryRun {
  const course = courseOf(s, force);
  const { settings, role, term } = s;
  const about = { node: settings.node, role, term, newTerm: nextTerm(s), course: course.kind };
  if (role === 'active') {
    const text = 'this node is active: there is nothing to take over, and promote would change nothing';
    const against: Objection[] = [{ code: 'active', refuses: false, text }];
    return { ...about, course: 'none', newTerm: term, against, unseenMs: null, totals: totalsOf(s, [], 0), sas: [] };
  }
  const provenMs = provenAt(s, nowMs);
  const unseenMs = Math.max(0, nowMs - provenMs);
  const complete = knowsGrants(s, force);
  const { opened, strangers } = openings(s, reading, { kind: 'takeover', unseenMs, provenMs, complete });
  const planned =
    course.kind === 'switchover'
      ? openings(s, reading, { kind: 'switchover', unseenMs: 0, provenMs, complete }).opened
      : [];
  const sas = opened.map((opening, i) => describe(s, opening, planned[i]));
  const totals = totalsOf(s, sas, strangers.length);
  const against: Objection[] = [];
  const object = (code: Objection['code'], text: string, refuses = false): void => {
    against.push({ code, refuses, text });
  };
  if (course.kind === 'refused') object(course.code, course.reason, true);
  else if (!s.complete) object('incomplete', 'this standby is not complete: SAs that it does not know stay missing');
  if (course.kind === 'switchover')
    object('connected', `${s.reigning?.name} is connected and active: promote would be a planned switchover, not this`);
  else if (s.reigning !== undefined && force)
    object('connected', `${s.reigning.name} is connected and active: it would step down by the newer term`);
  const ungranted = opened.filter(
    (o) => directionOf({ sa: o.record.sa, counters: o.counters }) !== 'in' && o.record.granted === 0,
  ).length;
  if (ungranted > 0)
    object('ungranted', `${ungranted} SAs have no grant: their numbers start above an estimate (rate_max_pps)`);
  if (unseenMs > UNSEEN_LONG_MS)
    object(
      'unseen',
      `nothing is known of the active for ${Math.round(unseenMs / 1000)} s: skips and closed windows are wide`,
    );
  if (totals.skipMax >= JUMP_MAX) object('limit', 'skips are at their limit of 2^31: re-key afterwards');
  if (totals.exhausted > 0)
    object('exhausted', `${totals.exhausted} SAs would have no numbers left and could not send: re-key them`);
  const unparkable = opened.filter((o) => !canBeParked(o.record.sa)).length;
  if (unparkable > 0)
    object(
      'unparkable',
      `${unparkable} SAs cannot be kept from sending (numbers that may wrap, IPCOMP): they come into this kernel at the takeover only`,
    );
  for (const { name, clock } of s.peers.values()) {
    const { offset } = clock;
    if (offset !== undefined && Math.abs(offset.ms) - offset.uncertaintyMs > ALARM_MS)
      object(
        'clock',
        `the clocks of ${name} and this node are ${(Math.abs(offset.ms) / 1000).toFixed(1)} s apart (taken off times of adding and use): set them right`,
      );
  }
  if (strangers.length > 0)
    object('removed', `${strangers.length} SAs of which only an old copy is in this kernel would be removed`);
  if (heldSas(s) > 0)
    object(
      'held',
      `the active has deleted ${heldSas(s)} SAs at once, they stay deleted: promote --restore brings them back`,
    );
  return { ...about, against, unseenMs: Math.round(unseenMs), totals, sas };
}

function describe(s: State, { record, counters, position, isHere }: Opening, planned: Opening | undefined): SaDryRun {
  const { skip, skipBy, closed, exhausted } = position;
  const direction = directionOf({ sa: record.sa, counters });
  const why: string[] = [];
  if (skipBy === 'grant') why.push(`the old active may have used numbers up to its grant ${record.granted}`);
  if (skipBy === 'estimate') why.push('the old active may have sent as much as rate_max_pps allows, twice over');
  if (closed > 0) why.push('the old active may have accepted as many packets unseen');
  if (exhausted) why.push('no numbers would be left');
  if (!isHere)
    why.push(
      s.settings.install === 'takeover'
        ? 'install = "takeover" keeps SAs out of this kernel until then'
        : canBeParked(record.sa)
          ? 'this kernel does not have it'
          : 'a standby cannot keep it from sending',
    );
  return {
    daddr: formatAddress(record.id.daddr, record.id.family),
    spi: formatSpi(record.id.spi),
    direction,
    oseq: numberOf(counters),
    newOseq: numberOf(position.counters),
    skip,
    skipBy,
    seq: inboundOf(counters),
    newSeq: inboundOf(position.counters),
    closed,
    lossMax: direction === 'out' ? 0 : closed,
    exhausted,
    anew: !isHere,
    why,
    ...(planned === undefined
      ? {}
      : {
          switchover: { oseq: numberOf(planned.position.counters), seq: inboundOf(planned.position.counters) },
        }),
  };
}

const inboundOf = ({ seq, seqHi }: { readonly seq: number; readonly seqHi: number }): number => seqHi * 2 ** 32 + seq;

function totalsOf(s: State, sas: readonly SaDryRun[], removed: number): DryRunTotals {
  const count = (is: (sa: SaDryRun) => boolean): number => sas.reduce((n, sa) => n + (is(sa) ? 1 : 0), 0);
  return {
    sas: sas.length,
    policies: s.role === 'active' ? 0 : s.policies.size,
    skipMax: sas.reduce((most, sa) => Math.max(most, sa.skip), 0),
    closedMax: sas.reduce((most, sa) => Math.max(most, sa.closed), 0),
    byGrant: count((sa) => sa.skipBy === 'grant'),
    byEstimate: count((sa) => sa.skipBy === 'estimate'),
    closed: count((sa) => sa.closed > 0),
    lossMax: sas.reduce((sum, sa) => sum + sa.lossMax, 0),
    exhausted: count((sa) => sa.exhausted),
    anew: count((sa) => sa.anew),
    removed,
  };
}
