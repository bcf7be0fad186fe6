/** asciicast v2: a header line, then one line for each piece of output. https://docs.asciinema.org/manual/asciicast/v2/ */

export interface CastHeader {
  readonly version: 2;
  /** Columns and rows. */
  readonly width: number;
  readonly height: number;
  /** Seconds since 1970. */
  readonly timestamp?: number;
  readonly command?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Seconds since the start, kind (`o`: output), text. */
export type CastEvent = readonly [seconds: number, kind: string, text: string];

export interface Cast {
  readonly header: CastHeader;
  readonly events: readonly CastEvent[];
}

/** An hour of the demo has some 15,000. */
const EVENTS_MAX = 100_000;

export function formatCast({ header, events }: Cast): string {
  const lines = events.map(([seconds, kind, text]) => JSON.stringify([Number(seconds.toFixed(6)), kind, text]));
  return `${[JSON.stringify(header), ...lines].join('\n')}\n`;
}

/** @throws Error with the number of the line, if the text is no asciicast v2 */
export function parseCast(text: string): Cast {
  const [first = '', ...rest] = text.trimEnd().split('\n');
  const header = json(first, 1) as Partial<CastHeader> | null;
  if (header?.version !== 2 || !whole(header.width) || !whole(header.height))
    throw new Error('line 1: not the header of an asciicast of version 2');
  if (rest.length > EVENTS_MAX) throw new Error(`${rest.length} events; at most ${EVENTS_MAX} are read`);
  let last = 0;
  const events = rest.map((line, i) => {
    const event = json(line, i + 2);
    if (!isEvent(event)) throw new Error(`line ${i + 2}: not [seconds, kind, text]`);
    if (event[0] < last) throw new Error(`line ${i + 2}: before the line above it`);
    last = event[0];
    return event;
  });
  return { header: header as CastHeader, events };
}

const whole = (value: unknown): boolean => Number.isInteger(value) && (value as number) > 0;

function isEvent(value: unknown): value is CastEvent {
  if (!Array.isArray(value) || value.length !== 3) return false;
  return Number.isFinite(value[0]) && typeof value[1] === 'string' && typeof value[2] === 'string';
}

function json(line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(`line ${number}: not JSON`);
  }
}
