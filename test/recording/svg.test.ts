import { describe, expect, it } from 'vitest';
import { type Cast, formatCast, parseCast } from '../../recording/cast.ts';
import { film } from '../../recording/film.ts';
import { svg } from '../../recording/svg.ts';
import { textOf } from '../../recording/terminal.ts';

const ESC = '\x1b';
const header = { version: 2, width: 12, height: 4 } as const;

/** Five pictures, four of them a second, the third in two pieces; then a result of two screens. */
const cast: Cast = {
  header,
  events: [
    [0, 'o', `${ESC}[?1049h${ESC}[H1 <&> first`],
    [0.25, 'o', `${ESC}[H2`],
    [0.5, 'o', `${ESC}[H-`],
    [0.51, 'o', `${ESC}[H3\r\n${ESC}[36m ▁▁█${ESC}[39m`],
    [0.75, 'o', `${ESC}[H4`],
    [1, 'i', 'typed'],
    [1, 'o', `${ESC}[H5`],
    [1.5, 'o', `${ESC}[?1049lhead\r\n\r\na\r\nb\r\nc\r\n${ESC}[32mok${ESC}[39m  all\r\n`],
  ],
};
const frames = film(cast, { framesPerSecond: 2, lineSeconds: 0.5 });
const words = { title: 'A <run>', description: 'One & all' };

describe('an asciicast', () => {
  it('is read as it was written', () => {
    expect(parseCast(formatCast(cast))).toEqual(cast);
  });

  it.each([
    ['', 'line 1'],
    ['{"version":1,"width":80,"height":24}', 'line 1'],
    ['{"version":2,"width":0,"height":24}', 'line 1'],
    ['{"version":2,"width":80,"height":24}\n[0,"o"]', 'line 2'],
    ['{"version":2,"width":80,"height":24}\n[1,"o","a"]\n[0,"o","b"]', 'line 3'],
    ['{"version":2,"width":80,"height":24}\nnothing', 'line 2'],
  ])('is refused if it is none: %j', (text, word) => {
    expect(() => parseCast(text)).toThrow(word);
  });
});

describe('a film', () => {
  it('shows whole pictures alone, thinned, each for as long as it stood', () => {
    const live = frames.slice(0, 3);
    expect(live.map(({ rows }) => textOf(rows[0] ?? []))).toEqual(['1 <&> first', '3 <&> first', '5 <&> first']);
    expect(live.map(({ seconds }) => Number(seconds.toFixed(2)))).toEqual([0.51, 0.49, 0.5]);
  });

  it('ends with all that was printed, in pages that begin behind an empty line', () => {
    expect(frames.slice(3).map(({ rows }) => rows.map(textOf))).toEqual([
      ['head', '', '', ''],
      ['a', 'b', 'c', 'ok  all'],
    ]);
    expect(frames.slice(3).map(({ seconds }) => seconds)).toEqual([1, 2]);
  });

  it('is not made of a recording that was cut off', () => {
    expect(() => film({ header, events: cast.events.slice(0, 3) }, { framesPerSecond: 2, lineSeconds: 1 })).toThrow(
      'ends within',
    );
  });
});

describe('the SVG', () => {
  const picture = svg(frames, words);

  it('has a name and a role, and neither scripts nor anything from elsewhere', () => {
    expect(picture).toMatch(/^<svg [^>]*role="img" aria-labelledby="t d"/);
    expect(picture).toContain('<title id="t">A &lt;run&gt;</title>');
    expect(picture).toContain('<desc id="d">One &amp; all</desc>');
    expect(picture).not.toMatch(/<script|<foreignObject|<image|@import|url\(|\son\w+=/);
    expect(picture.match(/https?:[^"]*/g)).toEqual(['http://www.w3.org/2000/svg']);
    expect([...picture.matchAll(/href="([^"]*)"/g)].every(([, target]) => target?.startsWith('#'))).toBe(true);
  });

  it('shows each frame at its time, in a loop, and the last one where nothing moves', () => {
    const width = 12 * 9 + 32;
    expect(picture).toContain('#f{animation:f 4.500s step-end infinite}');
    const keys = [...picture.matchAll(/([\d.]+)%\{transform:translateX\(-?(\d+)px\)\}/g)];
    expect(keys.map(([, at, x]) => [Number(at), Number(x)])).toEqual([
      [0, width],
      [11.333, 2 * width],
      [22.222, 3 * width],
      [33.333, 4 * width],
      [55.556, 0],
    ]);
  });

  it('writes each row once, wherever it is seen, with every letter in its cell', () => {
    expect(picture.match(/>1 &lt;&amp;&gt; first</g)).toHaveLength(1);
    expect(picture).toContain('textLength="99">1 &lt;&amp;&gt; first</text>');
    const [, id] = /<g id="(\w+)"><path/.exec(picture) ?? [];
    expect(picture.match(new RegExp(`href="#${id}" y="18"`, 'g'))).toHaveLength(2);
    expect(picture).toContain('<text class="c32" x="0" y="13.5" textLength="18">ok</text>');
    expect(picture).toContain('<text x="36" y="13.5" textLength="27">all</text>');
  });

  it('draws blocks as eighths of a cell, neighbours in one outline', () => {
    expect(picture).toContain('<path class="c36" d="M9 18V15.75H27V0H36V18z"/>');
  });

  it('has colours for what it uses', () => {
    const classes = new Set([...picture.matchAll(/class="([^"]+)"/g)].flatMap(([, names]) => names?.split(' ') ?? []));
    expect(classes).toEqual(new Set(['c32', 'c36']));
    for (const name of classes) expect(picture).toContain(`.${name}{fill:`);
  });

  it('needs a frame', () => {
    expect(() => svg([], words)).toThrow(RangeError);
  });
});
