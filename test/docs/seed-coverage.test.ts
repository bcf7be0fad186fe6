import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { type Document, parseDocument, readDocument, repository } from './documents.ts';

/** docs/seed-coverage.md: every statement has code and a test, and what is named is there. */

/** Folders of recordings; the document links to the first and means all. */
const kernels = ['6.1-amd64', '6.12-amd64', '6.1-uml'];

interface Row {
  readonly line: number;
  /** Its number, the statement, the code, the tests, and what Linux does. */
  readonly cells: readonly string[];
}

const COLUMNS = 5;

function rows({ prose }: Document): Row[] {
  return prose.flatMap((text, i) => {
    if (!/^\| *[A-Z]\d+ *\|/.test(text)) return [];
    const cells = text.split('|').map((cell) => cell.trim());
    return [{ line: i + 1, cells: cells.slice(1, -1) }];
  });
}

interface Reference {
  readonly path: string;
  /** What is said to be in that file. */
  readonly names: readonly string[];
}

/** Links of a cell, each with the code spans that follow it. */
function references(cell: string): Reference[] {
  const found: { path: string; names: string[] }[] = [];
  for (const [, path, name] of cell.matchAll(/\[[^\]]*\]\(([^)]+)\)|`([^`]+)`/g)) {
    if (path !== undefined) found.push({ path: join('docs', path), names: [] });
    else found.at(-1)?.names.push(name as string);
  }
  return found;
}

const texts = new Map<string, string>();

function textOf(path: string): string {
  const known = texts.get(path);
  if (known !== undefined) return known;
  const bytes = readFileSync(join(repository, path));
  const text = (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
  texts.set(path, text);
  return text;
}

const escaped = (name: string): string => name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Scenarios by name, tests by their title as it stands in the program, code as a word. */
function names(path: string, name: string): boolean {
  const text = textOf(path);
  if (path.startsWith('test/vectors')) return text.includes(`{"name":"${name}",`);
  if (path.startsWith('test')) return ["'", '"', '`'].some((quote) => text.includes(`${quote}${name}${quote}`));
  return new RegExp(`(?<![A-Za-z0-9_$])${escaped(name)}(?![A-Za-z0-9_$])`).test(text);
}

function referenceFaults(cell: string, folder: 'src' | 'test'): string[] {
  const all = references(cell);
  if (all.length === 0) return [`nothing in ${folder} is linked`];
  return all.flatMap(({ path, names: wanted }) => {
    if (!path.startsWith(`${folder}/`)) return [`${path} is not in ${folder}`];
    if (!existsSync(join(repository, path))) return [`${path} is not there`];
    if (wanted.length === 0) return [`nothing is named in ${path}`];
    const paths = path.startsWith('test/vectors/6.1-amd64/')
      ? kernels.map((kernel) => path.replace('6.1-amd64', kernel))
      : [path];
    return paths.flatMap((at) => wanted.filter((name) => !names(at, name)).map((name) => `${at} has no ${name}`));
  });
}

function faults({ cells }: Row): string[] {
  const [, , code = '', tests = ''] = cells;
  return [
    ...(cells.length === COLUMNS ? [] : [`${cells.length} columns`]),
    ...(cells.includes('') ? ['an empty cell'] : []),
    ...(cells.some((cell) => /\bopen\b|\bTODO\b/i.test(cell)) ? ['not done'] : []),
    ...referenceFaults(code, 'src'),
    ...referenceFaults(tests, 'test'),
  ];
}

const document = readDocument('docs/seed-coverage.md');
const all = rows(document);

describe('every statement of the documents has its code and its test', () => {
  test('there are rows, numbered without gaps', () => {
    const numbers = all.map(({ cells: [number = ''] }) => number);
    const sections = [...new Set(numbers.map((number) => number[0]))];
    expect(sections).toEqual(['A', 'B', 'C', 'D', 'E', 'F']);
    const counted = sections.flatMap((section) =>
      numbers.filter((number) => number[0] === section).map((_, i) => `${section}${i + 1}`),
    );
    expect(numbers).toEqual(counted);
    expect(numbers.length).toBeGreaterThan(60);
  });

  test.each(all.map((row) => [row.cells[0], row] as const))('%s', (_, row) => {
    expect(faults(row)).toEqual([]);
  });

  test('rows that the text refers to exist', () => {
    const numbers = new Set(all.map(({ cells: [number] }) => number));
    const named = document.prose.flatMap((line) => [...line.matchAll(/\b[A-F]\d{1,2}\b/g)].map(([number]) => number));
    expect(named.filter((number) => !numbers.has(number))).toEqual([]);
  });

  test('the folders of recordings are those that there are', () => {
    const folders = readdirSync(join(repository, 'test/vectors')).filter((name) => /^\d/.test(name));
    expect(folders.sort()).toEqual([...kernels].sort());
  });
});

const CODE = '[a](../src/xfrm/structs.ts) `aeventId`';
const TEST = '[b](../test/docs/links.test.ts) `command lines are found`';

test.each([
  [`| A1 | it does | ${CODE} | ${TEST} | The same. |`, undefined],
  [`| A1 | it does | | ${TEST} | The same. |`, 'an empty cell'],
  [`| A1 | it does | ${CODE} | ${TEST} | |`, 'an empty cell'],
  [`| A1 | it does | ${CODE} | ${TEST} |`, '4 columns'],
  [`| A1 | it does | ${CODE} | ${TEST} | Open. |`, 'not done'],
  [`| A1 | it does | by hand | ${TEST} | The same. |`, 'nothing in src is linked'],
  [`| A1 | it does | ${CODE} | [b](../src/index.ts) \`x\` | The same. |`, 'src/index.ts is not in test'],
  [`| A1 | it does | [a](../src/none.ts) \`x\` | ${TEST} | The same. |`, 'src/none.ts is not there'],
  [`| A1 | it does | [a](../src/index.ts) | ${TEST} | The same. |`, 'nothing is named in src/index.ts'],
  [`| A1 | it does | ${CODE.replace('Id', 'I')} | ${TEST} | The same. |`, 'src/xfrm/structs.ts has no aeventI'],
  [
    `| A1 | it does | ${CODE} | ${TEST.replace('found', 'lost')} | The same. |`,
    'test/docs/links.test.ts has no command lines are lost',
  ],
  [
    `| A1 | it does | ${CODE} | [v](../test/vectors/6.1-amd64/newae.jsonl.gz) \`newae-tlv\` | The same. |`,
    'test/vectors/6.1-uml/newae.jsonl.gz has no newae-tlv',
  ],
])('the check can fail: %s', (text, fault) => {
  const [row] = rows(parseDocument('docs/seed-coverage.md', text));
  const found = row === undefined ? ['no row'] : faults(row);
  if (fault === undefined) expect(found).toEqual([]);
  else expect(found).toContain(fault);
});
