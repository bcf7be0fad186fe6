/** The live view: one picture of the demo as lines of text, at most 80 columns and 24 lines. No terminal here. */
import type { Painter } from './table.ts';

export interface NodePicture {
  readonly name: string;
  /** Absent: no process, or no answer. */
  readonly role?: string;
  readonly term?: number;
  readonly sas?: number;
  readonly complete?: boolean;
  readonly unseenMs?: number | null;
  /** Holds the shared addresses. */
  readonly holds: boolean;
}

export interface Picture {
  readonly seed: number;
  readonly seconds: number;
  readonly durationS: number;
  readonly phase: string;
  readonly nodes: readonly NodePicture[];
  readonly sent: number;
  readonly delivered: number;
  /** Sent a while ago and not arrived. */
  readonly lost: number;
  readonly recorded: number;
  readonly replayed: number;
  readonly accepted: number;
  /** Of the last second. */
  readonly sentPps: number;
  readonly deliveredPps: number;
  /** Delivered in each quarter of a second, the latest last. */
  readonly history: readonly number[];
  /** What the highest bar stands for. */
  readonly historyTop: number;
  readonly events: readonly string[];
}

export const COLUMNS = 80;
const LINES = 24;
const HISTORY = 76;
const BARS = { unicode: ' ▁▂▃▄▅▆▇█', ascii: ' .:-=+*%#' } as const;
const BAR_ROWS = 2;
const EVENTS_SHOWN = 8;
const STATE = 37;

export function draw(picture: Picture, paint: Painter, unicode: boolean): string[] {
  const { seed, seconds, durationS, phase, nodes, events } = picture;
  const lines = [
    paint(
      'bold',
      cut(`xfrmsync demo   ${phase}`.padEnd(COLUMNS - 26)) +
        cut(`${seconds.toFixed(0)} s of about ${durationS} s`.padStart(25)),
    ),
    cut(`two gateways, a peer, an attacker between them: each a process   seed ${seed}`),
    '',
    ...nodes.map((node) => nodeLine(node, paint)),
    '',
    cut(`packets    sent ${count(picture.sent)}   delivered ${count(picture.delivered)}   lost ${count(picture.lost)}`),
    cut(`per second sent ${count(picture.sentPps)}   delivered ${count(picture.deliveredPps)}`),
    attackLine(picture, paint),
    '',
    cut('delivered in each quarter of a second'),
    ...bars(picture.history, picture.historyTop, unicode).map((line) => paint('cyan', line)),
    paint('dim', `${'-'.repeat(HISTORY - 4)} now`),
    '',
    ...events.slice(-EVENTS_SHOWN).map(cut),
  ];
  return lines.slice(0, LINES);
}

function nodeLine(node: NodePicture, paint: Painter): string {
  const name = `gateway ${node.name}`.padEnd(12);
  if (node.role === undefined) return `${name}${paint('red', 'down')}`;
  const { role, term = 0, sas = 0, complete, unseenMs } = node;
  const state =
    role === 'active'
      ? `${sas} SAs`
      : `${sas} SAs, ${complete ? 'complete' : 'not complete'}${typeof unseenMs === 'number' ? `, ${unseenMs} ms unseen` : ''}`;
  const holds = node.holds ? '<- traffic' : '';
  return `${name}${paint(role === 'active' ? 'green' : 'yellow', role.padEnd(8))} term ${String(term).padEnd(3)} ${state.slice(0, STATE).padEnd(STATE + 1)}${holds}`;
}

function attackLine({ recorded, replayed, accepted }: Picture, paint: Painter): string {
  const text = cut(
    `attacker   recorded ${count(recorded)}   replayed ${count(replayed)}   accepted ${count(accepted)}`,
  );
  return accepted > 0 ? paint('red', text) : text;
}

/** Rows of bars, the upper one first. */
export function bars(history: readonly number[], top: number, unicode: boolean): string[] {
  const steps = unicode ? BARS.unicode : BARS.ascii;
  const full = steps.length - 1;
  const shown = history.slice(-HISTORY);
  return Array.from({ length: BAR_ROWS }, (_, i) => {
    const below = (BAR_ROWS - 1 - i) * full;
    return shown
      .map((value) => {
        const height = top === 0 ? 0 : Math.round((Math.min(value, top) / top) * full * BAR_ROWS);
        // What is more than nothing is seen.
        const least = value > 0 ? Math.max(1, height) : 0;
        return steps[Math.min(full, Math.max(0, least - below))] as string;
      })
      .join('')
      .padStart(HISTORY);
  });
}

const cut = (line: string): string => (line.length <= COLUMNS ? line : `${line.slice(0, COLUMNS - 1)}~`);
const count = (n: number): string => String(Math.round(n)).padEnd(6);
