/** Which pictures of a recording are shown, and for how long. */
import type { Cast } from './cast.ts';
import { type Row, Terminal, textOf } from './terminal.ts';

export interface Frame {
  readonly rows: readonly Row[];
  readonly seconds: number;
}

export interface FilmOptions {
  /** Of the live view, at most. */
  readonly framesPerSecond: number;
  /** For each line of a page of what was printed after the live view. */
  readonly lineSeconds: number;
}

/** What a program has written at once may arrive in pieces: a picture is what stands for so long. */
const SETTLED_SECONDS = 0.03;
/** A page begins behind an empty row, if one is so near to its top. */
const NEAR_TOP = 1 / 3;

/**
 * The alternate screen in real time, thinned; then what was printed on the main screen, a page after the other, as when one pages through
 * it.
 *
 * @throws UnknownSequence; Error if the recording ends in the alternate screen
 */
export function film(cast: Cast, { framesPerSecond, lineSeconds }: FilmOptions): Frame[] {
  const { width, height } = cast.header;
  const terminal = new Terminal(width, height);
  const live: { at: number; rows: readonly Row[] }[] = [];
  let leftAt = 0;
  const output = cast.events.filter(([, kind]) => kind === 'o');
  output.forEach(([at, , text], i) => {
    const before = terminal.alternate;
    terminal.write(text);
    if (before && !terminal.alternate) leftAt = at;
    const next = output[i + 1]?.[0] ?? Number.POSITIVE_INFINITY;
    const last = live.at(-1)?.at ?? Number.NEGATIVE_INFINITY;
    // A hair less than the interval: a view of just that rate is not to lose every other picture.
    if (terminal.alternate && next - at >= SETTLED_SECONDS && at - last >= 0.9 / framesPerSecond)
      live.push({ at, rows: terminal.screen });
  });
  terminal.end();
  if (terminal.alternate) throw new Error('the recording ends within the live view');
  const blank = new Terminal(width, 1).screen[0] as Row;
  return [
    ...live.map(({ at, rows }, i) => ({ rows, seconds: (live[i + 1]?.at ?? leftAt) - at })),
    ...pages(terminal.paper, height).map((lines) => ({
      rows: [...lines, ...new Array<Row>(height - lines.length).fill(blank)],
      seconds: lines.length * lineSeconds,
    })),
  ];
}

/** Cut from the end. */
function pages(paper: readonly Row[], height: number): (readonly Row[])[] {
  const cut: (readonly Row[])[] = [];
  for (let end = paper.length; end > 0; ) {
    const top = Math.max(0, end - height);
    const near = paper.slice(top, top + Math.floor(height * NEAR_TOP));
    const empty = top === 0 ? -1 : near.findIndex((row) => textOf(row) === '');
    cut.unshift(paper.slice(top + empty + 1, end));
    end = top + empty + 1;
  }
  return cut;
}
