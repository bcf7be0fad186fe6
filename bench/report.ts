/** What a row of the bench yields, and how it is shown. */

interface Spread {
  min: number;
  median: number;
  max: number;
}

export interface Result {
  /** ROW/VARIANT, such as `decode/libnl`. */
  name: string;
  what: string;
  unit: string;
  /** Median over the rounds; null when it was not measured. More is better, unless the target is `atMost`. */
  value: number | null;
  valueSpread: Spread | null;
  /** null: there is no other program to compare with; the target is an absolute one then, or there is none. */
  peer: string | null;
  peerValue: number | null;
  peerSpread: Spread | null;
  /** Median of the rounds' ratios, ours to the peer's. */
  ratio: number | null;
  ratioSpread: Spread | null;
  /** What to reach; null: shown for what it is. */
  target: number | null;
  /** What the target is: a ratio to the peer, or a least or greatest value of our own. */
  targetOf: 'ratio' | 'atLeast' | 'atMost';
  /** null: not measured, or no target. */
  met: boolean | null;
  rounds: number;
  /** What was used, and what else was seen. */
  used: string;
  /** Why there is no comparison. */
  skipped?: string;
}

/** What is known of a result before it is measured. */
interface Named {
  name: string;
  what: string;
  unit: string;
}

/** A row beside a peer: the ratio to reach. */
export interface Aim extends Named {
  peer: string;
  target: number;
}

/** A row that has no peer. */
export interface Measurement extends Named {
  atLeast?: number;
  atMost?: number;
}

type Target = Pick<Result, 'name' | 'what' | 'unit' | 'peer' | 'target' | 'targetOf'>;

function targetOf({ name, what, unit, ...aim }: Aim | Measurement): Target {
  if ('peer' in aim) return { name, what, unit, ...aim, targetOf: 'ratio' };
  const targetOf = aim.atMost === undefined ? 'atLeast' : 'atMost';
  return { name, what, unit, peer: null, target: aim.atMost ?? aim.atLeast ?? null, targetOf };
}

function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (i: number): number => sorted[i] ?? Number.NaN;
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { min: at(0), median, max: at(sorted.length - 1) };
}

/** A result from the rates of each round, ours and the peer's in the same order. */
export function compared(aim: Aim, ours: readonly number[], theirs: readonly number[], used: string): Result {
  const valueSpread = spreadOf(ours);
  const peerSpread = spreadOf(theirs);
  const ratioSpread = spreadOf(ours.map((rate, i) => rate / (theirs[i] ?? Number.NaN)));
  return {
    ...targetOf(aim),
    value: valueSpread.median,
    valueSpread,
    peerValue: peerSpread.median,
    peerSpread,
    ratio: ratioSpread.median,
    ratioSpread,
    met: ratioSpread.median >= aim.target,
    rounds: ours.length,
    used,
  };
}

/** A result of a row that has no peer, from the values of each round. */
export function measured(aim: Measurement, values: readonly number[], used: string): Result {
  const valueSpread = spreadOf(values);
  const { median } = valueSpread;
  const target = targetOf(aim);
  const isReached = (limit: number): boolean => (target.targetOf === 'atMost' ? median <= limit : median >= limit);
  return {
    ...target,
    value: median,
    valueSpread,
    peerValue: null,
    peerSpread: null,
    ratio: null,
    ratioSpread: null,
    met: target.target === null ? null : isReached(target.target),
    rounds: values.length,
    used,
  };
}

/** A result without a comparison; with our own rates if there are any. */
export function skipped(aim: Aim | Measurement, reason: string, ours: readonly number[] = [], used = ''): Result {
  const valueSpread = ours.length > 0 ? spreadOf(ours) : null;
  return {
    ...targetOf(aim),
    value: valueSpread?.median ?? null,
    valueSpread,
    peerValue: null,
    peerSpread: null,
    ratio: null,
    ratioSpread: null,
    met: null,
    rounds: ours.length,
    used,
    skipped: reason,
  };
}

const SCALES: readonly [number, string][] = [
  [1e6, 'M'],
  [1e3, 'k'],
];

function rateText(value: number): string {
  const [scale, letter] = SCALES.find(([scale]) => value >= scale) ?? [1, ''];
  return `${(value / scale).toPrecision(3)}${letter}`;
}

const cell = (spread: Spread | null, text: (value: number) => string): string =>
  spread === null ? '-' : `${text(spread.median)} (${text(spread.min)}-${text(spread.max)})`;

const ratioText = (ratio: number): string => (ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(2));

function targetText({ target, targetOf }: Result): string {
  if (target === null) return '';
  if (targetOf === 'ratio') return `>= ${target}`;
  return `${targetOf === 'atMost' ? '<=' : '>='} ${rateText(target)}`;
}

function verdict({ met, skipped }: Result): string {
  if (skipped !== undefined) return 'skipped';
  if (met === null) return '';
  return met ? 'met' : 'NOT MET';
}

/** The table for a terminal: medians, with the least and the most of the rounds. */
export function table(results: readonly Result[]): string {
  const head = ['row', 'unit', 'xfrmsync', 'peer', 'ratio', 'target', ''];
  const lines = results.map((r) => [
    r.name,
    r.unit,
    cell(r.valueSpread, rateText),
    cell(r.peerSpread, rateText),
    cell(r.ratioSpread, ratioText),
    targetText(r),
    verdict(r),
  ]);
  const rows = [head, ...lines];
  const widths = head.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const text = rows.map((row) =>
    row
      .map((value, i) => value.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const notes = results.map(
    (r) =>
      `${r.name}: ${r.what}${r.peer === null ? '' : `; peer: ${r.peer}`}. ${r.skipped ?? ''}${r.skipped && r.used ? '. ' : ''}${r.used}`,
  );
  return `${text.join('\n')}\n\n${notes.join('\n')}\n`;
}
