/** Writes frames as one animated SVG: a strip of all of them, of which the picture shows one after the other. No scripts, no fonts. */
import type { Frame } from './film.ts';
import type { Cell, Row, Style } from './terminal.ts';

export interface Words {
  readonly title: string;
  readonly description: string;
}

/** Pixels. Fonts differ in the width of their letters; textLength puts each into its cell. */
const CELL = { width: 9, height: 18, baseline: 13.5 } as const;
const FONT_SIZE = 15;
const MARGIN = 16;
const FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace";
/** A dark terminal with an edge, which is seen on a light page and on a dark one. */
const COLOURS = { ground: '#14181f', edge: '#596270', text: '#d3d9e0' } as const;
const PALETTE: Readonly<Record<number, string>> = {
  30: '#6b7480',
  31: '#ff7b72',
  32: '#56d364',
  33: '#e3b341',
  34: '#79b8ff',
  35: '#d2a8ff',
  36: '#56c8d8',
  37: '#ffffff',
};
/** U+2581 to U+2588 fill so many eighths of the cell, from below. */
const BLOCK_BEFORE = 0x2580;
const EIGHTHS = 8;

/** @throws RangeError if there is no frame */
export function svg(frames: readonly Frame[], { title, description }: Words): string {
  const last = frames.at(-1);
  if (last === undefined) throw new RangeError('no frame to show');
  const width = (last.rows[0]?.length ?? 0) * CELL.width + 2 * MARGIN;
  const height = last.rows.length * CELL.height + 2 * MARGIN;
  // The last frame stands at the beginning of the strip: it is what a viewer without animation shows.
  const place = (i: number): number => ((i + 1) % frames.length) * width;
  const total = frames.reduce((sum, { seconds }) => sum + seconds, 0);
  const { definitions, strip } = layOut(frames, place);
  const used = Object.entries(PALETTE).filter(([number]) => definitions.includes(classOf(Number(number))));
  let at = 0;
  const keys = frames.map(({ seconds }, i) => {
    const key = `${Number(((100 * at) / total).toFixed(3))}%{transform:translateX(${-place(i)}px)}`;
    at += seconds;
    return key;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="t d" xml:space="preserve">
<title id="t">${escaped(title)}</title>
<desc id="d">${escaped(description)}</desc>
<style>
text{white-space:pre;font:${FONT_SIZE}px ${FONTS};fill:${COLOURS.text}}
.b{font-weight:bold}.d{opacity:.6}${used.map(([number, colour]) => `.${classOf(Number(number))}{fill:${colour}}`).join('')}
#f{animation:f ${total.toFixed(3)}s step-end infinite}
@media(prefers-reduced-motion:reduce){#f{animation:none}}
@keyframes f{${keys.join('')}}
</style>
<defs>
${definitions}
</defs>
<rect x=".5" y=".5" width="${width - 1}" height="${height - 1}" rx="8" fill="${COLOURS.ground}" stroke="${COLOURS.edge}"/>
<g id="f">
${strip}
</g>
</svg>
`;
}

/** Most rows are the same in many frames: each is written once. */
function layOut(frames: readonly Frame[], place: (i: number) => number): { definitions: string; strip: string } {
  const rows = new Map<string, string>();
  const strip = frames.map((frame, i) => {
    const uses = frame.rows.map((row, y) => {
      const drawn = draw(row);
      if (drawn === '') return '';
      const id = rows.get(drawn) ?? `r${rows.size.toString(36)}`;
      rows.set(drawn, id);
      return `<use href="#${id}" y="${y * CELL.height}"/>`;
    });
    return `<g transform="translate(${place(i) + MARGIN} ${MARGIN})">${uses.join('')}</g>`;
  });
  const definitions = [...rows].map(([drawn, id]) => `<g id="${id}">${drawn}</g>`);
  return { definitions: definitions.join('\n'), strip: strip.join('\n') };
}

/** A row at the origin, a piece for each run of cells that look alike. */
function draw(row: Row): string {
  let drawn = '';
  for (let from = 0; from < row.length; ) {
    const first = row[from] as Cell;
    let to = from + 1;
    while (to < row.length && alike(first, row[to] as Cell)) to++;
    drawn += isBlock(first) ? blocks(row, from, to) : letters(row, from, to);
    from = to;
  }
  return drawn;
}

function letters(row: Row, from: number, to: number): string {
  const text = row
    .slice(from, to)
    .map(({ character }) => character)
    .join('');
  const shown = text.trim();
  if (shown === '') return '';
  const x = (from + text.length - text.trimStart().length) * CELL.width;
  const names = classes((row[from] as Cell).style);
  return `<text${names} x="${x}" y="${CELL.baseline}" textLength="${shown.length * CELL.width}">${escaped(shown)}</text>`;
}

/** As terminals do, by their definition and not by a font: the outline of neighbours of whatever height. */
function blocks(row: Row, from: number, to: number): string {
  let path = `M${from * CELL.width} ${CELL.height}`;
  let level = 0;
  for (let x = from; x < to; x++) {
    const eighths = ((row[x] as Cell).character.codePointAt(0) as number) - BLOCK_BEFORE;
    if (eighths !== level) path += `${x > from ? `H${x * CELL.width}` : ''}V${CELL.height * (1 - eighths / EIGHTHS)}`;
    level = eighths;
  }
  const { style } = row[from] as Cell;
  const names = classes(style) || ` fill="${COLOURS.text}"`;
  return `<path${names} d="${path}H${to * CELL.width}V${CELL.height}z"/>`;
}

const isBlock = ({ character }: Cell): boolean => character > String.fromCodePoint(BLOCK_BEFORE);

function alike(a: Cell, b: Cell): boolean {
  const { bold, dim, foreground } = a.style;
  if (isBlock(a) !== isBlock(b)) return false;
  return bold === b.style.bold && dim === b.style.dim && foreground === b.style.foreground;
}

const classOf = (foreground: number): string => `c${foreground}`;

function classes({ bold, dim, foreground }: Style): string {
  const names = [bold ? 'b' : '', dim ? 'd' : '', foreground === undefined ? '' : classOf(foreground)];
  const text = names.filter((name) => name !== '').join(' ');
  return text === '' ? '' : ` class="${text}"`;
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
