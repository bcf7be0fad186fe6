import { existsSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import { xfrmsync } from '../cli/run.ts';
import {
  anchors,
  commandLines,
  documents,
  type LinkInDocument,
  localLinks,
  parseDocument,
  repository,
} from './documents.ts';

const all = documents();
const byPath = new Map(all.map((document) => [document.path, document]));

/** What is wrong with a link, if anything. */
function fault({ from, target }: LinkInDocument): string | undefined {
  const [file = '', anchor] = target.split('#');
  const path = file === '' ? from : normalize(join(dirname(from), file)).replace(/\/$/, '');
  if (path.startsWith('..')) return `${target} leaves the repository`;
  if (!existsSync(join(repository, path))) return `${target} is not there`;
  if (anchor === undefined) return undefined;
  if (statSync(join(repository, path)).isDirectory()) return `${target}: a folder has no anchors`;
  const document = byPath.get(path);
  if (document === undefined) return `${target}: anchors are known in the documentation alone`;
  return anchors(document).has(anchor) ? undefined : `${target}: no such heading`;
}

describe('links', () => {
  test('the documentation is found', () => {
    expect([...byPath.keys()]).toEqual(
      expect.arrayContaining(['README.md', 'docs/architecture.md', 'docs/decisions/0001-rooms.md', 'bench/README.md']),
    );
    expect(all.flatMap(localLinks).length).toBeGreaterThan(40);
  });

  test.each(all.map((document) => [document.path, document] as const))('%s: all lead somewhere', (_, document) => {
    expect(localLinks(document).flatMap((link) => (fault(link) ? [`line ${link.line}: ${fault(link)}`] : []))).toEqual(
      [],
    );
  });

  test('every decision is in the list of decisions', () => {
    const list = byPath.get('docs/decisions/README.md');
    const listed = list ? localLinks(list).map(({ target }) => join('docs/decisions', target)) : [];
    const there = [...byPath.keys()].filter((path) => /^docs\/decisions\/\d/.test(path));
    expect(listed.sort()).toEqual(there.sort());
  });

  test.each([
    ['[a](missing.md)', 'not there'],
    ['[a](#nowhere)', 'no such heading'],
    ['[a](../../x)', 'leaves'],
  ])('the check can fail: %s', (text, word) => {
    const [link] = localLinks(parseDocument('docs/safety.md', text));
    expect(link && fault(link)).toContain(word);
  });
});

const helps = new Map<string, Promise<string>>();

/** What `--help` says of a command; empty if there is no such command. */
function helpOf(path: string): Promise<string> {
  const known = helps.get(path) ?? askHelp(path);
  helps.set(path, known);
  return known;
}

async function askHelp(path: string): Promise<string> {
  const { code, stdout } = await xfrmsync([...path.split(' ').filter((word) => word !== ''), '--help']);
  return code === 0 && new RegExp(`^Usage: xfrmsync ${path}( |$)`, 'm').test(stdout) ? stdout : '';
}

/** What is wrong with a command line, if anything. */
async function commandFault(words: readonly string[]): Promise<string | undefined> {
  const [first = '', second = ''] = words;
  if (first.startsWith('-')) return (await helpOf('')).includes(first) ? undefined : `no option ${first}`;
  const group = await helpOf(first);
  if (group === '') return `no command ${first}`;
  const isGroup = /^Usage: xfrmsync \S+ \[options\] \[command\]$/m.test(group);
  if (isGroup && (second === '' || second.startsWith('-'))) return undefined;
  const path = isGroup ? `${first} ${second}` : first;
  const help = await helpOf(path);
  if (help === '') return `no command ${path}`;
  const unknown = words
    .filter((word) => /^--?[a-z]/.test(word))
    .filter((word) => !help.includes(word) && word !== '--help');
  return unknown.length > 0 ? `${path} has no ${unknown.join(', ')}` : undefined;
}

describe('commands', () => {
  const lines = all.flatMap(commandLines);

  test('command lines are found', () => {
    expect(lines.length).toBeGreaterThan(20);
  });

  test('every command and option in the documentation exists', async () => {
    const faults: string[] = [];
    for (const { at, words } of lines) {
      const wrong = await commandFault(words);
      if (wrong) faults.push(`${at}: ${wrong}`);
    }
    expect(faults).toEqual([]);
  });

  test.each([
    ['`xfrmsync frobnicate`', 'no command frobnicate'],
    ['`xfrmsync sa frobnicate`', 'no command sa frobnicate'],
    ['`xfrmsync status --frobnicate`', 'status has no --frobnicate'],
  ])('the check can fail: %s', async (text, wrong) => {
    const [line] = commandLines(parseDocument('x.md', text));
    expect(await commandFault(line?.words ?? [])).toBe(wrong);
  });
});
