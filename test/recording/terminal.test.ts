import { describe, expect, it } from 'vitest';
import { Terminal, textOf, UnknownSequence } from '../../recording/terminal.ts';
import { Screen } from '../../src/demo/screen.ts';

const ESC = '\x1b';

function shown(text: string, columns = 10, rows = 3): string[] {
  const terminal = new Terminal(columns, rows);
  terminal.write(text);
  terminal.end();
  return terminal.screen.map(textOf);
}

describe('a terminal', () => {
  it.each([
    ['lines', 'one\r\ntwo', ['one', 'two', '']],
    ['a line feed keeps the column', 'one\ntwo', ['one', '   two', '']],
    ['a carriage return does not erase', 'three\rtw', ['twree', '', '']],
    ['scrolling', '1\r\n2\r\n3\r\n4\r\n', ['3', '4', '']],
    ['a long line goes on below', '0123456789ab', ['0123456789', 'ab', '']],
    ['a full line stays where it is until more comes', '0123456789\r\nab', ['0123456789', 'ab', '']],
    ['no wrap: the last column is written again', `${ESC}[?7l0123456789ab`, ['012345678b', '', '']],
    ['erase to the end of the line', `abcdef\r${ESC}[Kxy`, ['xy', '', '']],
    ['erasing behind a full line takes its last character', `0123456789${ESC}[K`, ['012345678', '', '']],
    ['erase below', `a\r\nb\r\nc${ESC}[H${ESC}[J`, ['', '', '']],
    ['erase all, the cursor stays', `ab${ESC}[2Jc`, ['  c', '', '']],
    ['home', `a\r\nb${ESC}[Hc`, ['c', 'b', '']],
    ['the alternate screen leaves the main one as it was', `ab${ESC}[?1049hxyz${ESC}[?1049lc`, ['abc', '', '']],
    ['blocks', '▁█', ['▁█', '', '']],
  ])('%s', (_, text, expected) => {
    expect(shown(text)).toEqual(expected);
  });

  it('takes text in pieces of any size', () => {
    const text = `a${ESC}[?7lb${ESC}[1;32mc${ESC}[22;39md${ESC}[Ke`;
    const whole = new Terminal(10, 2);
    whole.write(text);
    const pieces = new Terminal(10, 2);
    for (const character of text) pieces.write(character);
    pieces.end();
    expect(pieces.screen).toEqual(whole.screen);
    expect(textOf(pieces.screen[0] ?? [])).toBe('abcde');
  });

  it('knows what is bold, dim and coloured', () => {
    const terminal = new Terminal(10, 1);
    terminal.write(`${ESC}[1ma${ESC}[22m${ESC}[2mb${ESC}[22m${ESC}[31mc${ESC}[39md${ESC}[1;36me${ESC}[mf`);
    expect(terminal.screen[0]?.slice(0, 6).map(({ style }) => style)).toEqual([
      { bold: true, dim: false, foreground: undefined },
      { bold: false, dim: true, foreground: undefined },
      { bold: false, dim: false, foreground: 31 },
      { bold: false, dim: false, foreground: undefined },
      { bold: true, dim: false, foreground: 36 },
      { bold: false, dim: false, foreground: undefined },
    ]);
  });

  it('keeps what has scrolled off the main screen, and not off the other one', () => {
    const terminal = new Terminal(10, 2);
    terminal.write(`1\r\n2\r\n3\r\n${ESC}[?1049hx\r\ny\r\nz${ESC}[?1049l4`);
    expect(terminal.paper.map(textOf)).toEqual(['1', '2', '3', '4']);
  });

  it.each([
    '\t',
    '\b',
    '\x07',
    'é',
    '漢',
    '\x7f',
    `${ESC}c`,
    `${ESC}[5A`,
    `${ESC}[38;5;1m`,
    `${ESC}[?2004h`,
    `${ESC}[1K`,
    `${ESC}]0;x`,
  ])('does not pretend to know %j', (text) => {
    expect(() => shown(`a${text}`)).toThrow(UnknownSequence);
  });

  it('does not wait for ever for the end of a sequence', () => {
    expect(() => shown(`${ESC}[1`)).toThrow(UnknownSequence);
    const terminal = new Terminal(10, 1);
    expect(() => terminal.write(`${ESC}[${'1'.repeat(100)}`)).toThrow(UnknownSequence);
  });
});

describe('the screen of the demo', () => {
  it('shows lines of full width whole, and nothing of the picture before', () => {
    const terminal = new Terminal(10, 3);
    const out = { rows: 3, write: (text: string) => terminal.write(text) } as unknown as NodeJS.WriteStream;
    const screen = new Screen(out);
    terminal.write('before');
    screen.show(['x'.repeat(10), 'yyyyy', 'z'.repeat(10)]);
    screen.show(['0123456789', 'y', '0123456789', 'too low']);
    expect(terminal.screen.map(textOf)).toEqual(['0123456789', 'y', '0123456789']);
    screen.show(['a', 'b'.repeat(10)]);
    expect(terminal.screen.map(textOf)).toEqual(['a', 'b'.repeat(10), '']);
    screen.close();
    expect(terminal.screen.map(textOf)).toEqual(['before', '', '']);
  });
});
