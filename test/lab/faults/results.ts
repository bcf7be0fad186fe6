/** What the fault cases report. Its JSON is the last line of `npm run faults:lab -- --json`. */
import type { Expectation, Replay } from '../results.ts';
import type { Gateway } from '../world.ts';

/** One change of the active gateway. */
export interface Failover {
  kind: string;
  from: Gateway;
  to: Gateway;
  /** From the fault until the standby said that the other is gone; 0 where it was asked for. */
  detectMs: number;
  /** What the daemon says it took, and the request from start to end with the hooks. */
  takeoverMs: number;
  commandMs: number;
}

/** What could be lost in a takeover, as the standby showed it, and what was. Of inbound SAs: what the peers send. */
export interface Bound {
  /** `status` just before the fault: progress of all SAs that the standby had not seen; and what there really was at the fault. */
  exposure: number;
  unseen: number;
  /** `promote --dry-run` just before the promotion: packets that closed windows refuse at the most; and how many they did. */
  lossMax: number;
  refused: number;
}

export interface FaultResult {
  name: string;
  ok: boolean;
  sas: number;
  packetsSent: number;
  /** Never delivered, whatever the reason. */
  packetsLost: number;
  /** Null: nothing may be lost. */
  bound: Bound | null;
  replaysTried: number;
  replaysAccepted: number;
  outboundNumbersReused: number;
  spisKept: number;
  failovers: Failover[];
  /** The longest time without an arrival at the peer, of one flow, around a fault; flows send every `intervalMs`. */
  silenceMs: { median: number; max: number; intervalMs: number };
  /** What else was measured. */
  facts: Readonly<Record<string, number>>;
  framesRecorded: number;
  seconds: number;
  replays: Replay[];
  expectations: Expectation[];
  /** The case was not carried through. */
  error?: string;
}

export interface FaultsResult {
  ok: boolean;
  kernel: string;
  seconds: number;
  cases: FaultResult[];
}

const COLUMNS: readonly (readonly [title: string, cell: (result: FaultResult) => string | number])[] = [
  ['case', (r) => r.name],
  ['SAs kept', (r) => `${r.spisKept} of ${r.sas}`],
  ['sent', (r) => r.packetsSent],
  ['lost', (r) => r.packetsLost],
  ['unseen / exposure', (r) => (r.bound ? `${r.bound.unseen} / ${r.bound.exposure}` : '-')],
  ['refused / bound', (r) => (r.bound ? `${r.bound.refused} / ${r.bound.lossMax}` : `${r.packetsLost} / 0`)],
  ['replays', (r) => r.replaysTried],
  ['accepted', (r) => r.replaysAccepted],
  ['numbers reused', (r) => r.outboundNumbersReused],
  ['takeover ms', (r) => span(r.failovers.map(({ takeoverMs }) => takeoverMs))],
  ['command ms', (r) => span(r.failovers.map(({ commandMs }) => commandMs))],
  ['silence ms', (r) => (r.error === undefined ? `${r.silenceMs.median}, ${r.silenceMs.max}` : '-')],
  ['', (r) => (r.ok ? 'ok' : 'BROKEN')],
];

/** One value, or the median and the largest of several. */
function span(values: readonly number[]): string {
  const sorted = values.map(Math.round).sort((a, b) => a - b);
  const [last] = sorted.slice(-1);
  if (last === undefined) return '-';
  return sorted.length === 1 ? String(last) : `${sorted[sorted.length >> 1]}, ${last}`;
}

/** A Markdown table, which docs/lab.md shows as it is. */
export function table({ kernel, seconds, cases, ok }: FaultsResult): string {
  const rows = [
    COLUMNS.map(([title]) => title),
    ...cases.map((result) => COLUMNS.map(([, cell]) => String(cell(result)))),
  ];
  const widths = COLUMNS.map((_, i) => Math.max(3, ...rows.map((row) => (row[i] ?? '').length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`;
  const [head = [], ...body] = rows;
  const broken = cases.flatMap((result) => [
    ...(result.error === undefined ? [] : [`BROKEN ${result.name}: ${result.error}`]),
    ...result.expectations.filter((e) => !e.ok).map((e) => `BROKEN ${result.name}: ${e.name}: ${e.detail}`),
  ]);
  const facts = cases.flatMap(({ name, facts }) => {
    const words = Object.entries(facts).map(([fact, value]) => `${fact} ${value}`);
    return words.length === 0 ? [] : [`${name}: ${words.join(', ')}`];
  });
  return [
    '',
    line(head),
    `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`,
    ...body.map(line),
    '',
    ...facts,
    ...broken,
    '',
    `Linux ${kernel}, ${seconds} s. ${ok ? 'Everything held.' : 'Something did NOT hold.'}`,
  ].join('\n');
}
