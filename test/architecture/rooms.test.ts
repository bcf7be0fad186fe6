import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { describe, expect, test } from 'vitest';

/** docs/architecture.md: a room imports only from rooms above it in this list, and a guest only from its room's host. */
const rooms = [
  'wire',
  'netlink',
  'xfrm',
  'pfkey',
  'kernel',
  'esp',
  'client',
  'conformance',
  'replica',
  'link',
  'role',
  'gateway',
  'node',
  'simulator',
  'demo',
  'cli',
];

const source = join(import.meta.dirname, '../../src');

interface Import {
  readonly from: string;
  readonly to: string;
}

const sources = (): string[] =>
  readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));

function imports(): Import[] {
  return sources().flatMap((from) => {
    const text = readFileSync(join(source, from), 'utf8');
    const found = text.matchAll(/(?:\bfrom|\bimport\()\s*'(\.[^']+)'/g);
    return [...found].map(([, path]) => ({ from, to: normalize(join(dirname(from), path as string)) }));
  });
}

const roomOf = (file: string): string | undefined => (file.includes('/') ? file.split('/')[0] : undefined);

/** All files that a file leads to. */
function reach(from: string, to: ReadonlyMap<string, readonly string[]>): Set<string> {
  const seen = new Set<string>();
  const next = [from];
  for (let file = next.pop(); file !== undefined; file = next.pop())
    for (const other of to.get(file) ?? [])
      if (!seen.has(other)) {
        seen.add(other);
        next.push(other);
      }
  return seen;
}

/** Files that import each other, however many lie between them. */
function circles(all: readonly Import[]): string[][] {
  const to = new Map<string, string[]>();
  for (const { from, to: other } of all) to.set(from, [...(to.get(from) ?? []), other]);
  const reached = new Map([...to.keys()].map((file) => [file, reach(file, to)]));
  const found = new Map<string, string[]>();
  for (const [file, others] of reached)
    if (others.has(file)) {
      const circle = [...others].filter((other) => reached.get(other)?.has(file)).sort();
      found.set(circle.join(), circle);
    }
  return [...found.values()].sort();
}

/** What is wrong with an import, if anything. */
function fault({ from, to }: Import): string | undefined {
  const [here, there] = [roomOf(from), roomOf(to)];
  if (here === undefined) return undefined; // src/index.ts: the public face of several rooms
  if (there === undefined) return `${from} imports ${to}: rooms do not know the package's face`;
  if (here === there) return undefined;
  if (!rooms.includes(there)) return `${from} imports ${to}: not a room in the list`;
  if (rooms.indexOf(there) > rooms.indexOf(here)) return `${from} imports ${to}: ${there} is below ${here}`;
  // The emulated kernel and the machine under the real one are loaded only by those who want them; frames are of no use to users of the
  // package.
  const doors =
    there === 'kernel' ? ['index.ts', 'emulated/index.ts', 'linux/index.ts', 'unix/index.ts'] : ['index.ts'];
  if (!doors.includes(relative(there, to))) return `${from} imports ${to}: a room is entered through its index.ts`;
  return undefined;
}

describe('rooms', () => {
  test('the list names every room there is', () => {
    const there = readdirSync(source, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(there.map(({ name }) => name).sort()).toEqual([...rooms].sort());
  });

  test('no room imports from a room below it, or past the door of another', () => {
    const all = imports();
    expect(all.length).toBeGreaterThan(100);
    expect(all.map(fault).filter((text) => text !== undefined)).toEqual([]);
  });

  test('no files import each other, but for those that are one thing', () => {
    expect(circles(imports())).toEqual([
      // A machine, its namespaces, and who is told of the numbers in them.
      ['kernel/emulated/host.ts', 'kernel/emulated/namespace.ts', 'kernel/emulated/replay-notify.ts'],
      // A world, and those who act in it.
      ['simulator/faults.ts', 'simulator/operator.ts', 'simulator/world.ts'],
    ]);
  });

  test('the replica is built of floors', () => {
    const floors = ['sa', 'state', 'active', 'standby', 'reign'];
    const floorOf = (file: string): number => floors.indexOf(file.split('/')[1] ?? '');
    const inside = imports().filter(({ from, to }) => [from, to].every((file) => roomOf(file) === 'replica'));
    const upwards = inside.filter(({ from, to }) => floorOf(from) >= 0 && floorOf(to) > floorOf(from));
    expect(inside.length).toBeGreaterThan(100);
    expect(upwards).toEqual([]);
  });

  test.each([
    [{ from: 'xfrm/json.ts', to: 'client/index.ts' }, 'below'],
    [{ from: 'client/client.ts', to: 'xfrm/json.ts' }, 'index.ts'],
    [{ from: 'netlink/payload.ts', to: 'index.ts' }, 'face'],
  ])('the rule can fail: %o', (wrong, word) => {
    expect(fault(wrong)).toContain(word);
  });

  test('koffi is imported by one file alone', () => {
    const importers = sources().filter((file) =>
      /(?:from|import\()\s*'koffi'/.test(readFileSync(join(source, file), 'utf8')),
    );
    expect(importers).toEqual(['kernel/linux/libc.ts']);
  });

  test('PF_KEY knows nothing of netlink', () => {
    const others = imports().filter(({ from, to }) => roomOf(from) === 'pfkey' && roomOf(to) !== 'pfkey');
    expect(others.length).toBeGreaterThan(0);
    expect(others.filter(({ to }) => to !== 'wire/index.ts')).toEqual([]);
  });

  test('the replica has no I/O and no clock', () => {
    const files = sources().filter((name) => roomOf(name) === 'replica');
    expect(files.length).toBeGreaterThan(20);
    for (const file of files) {
      expect(readFileSync(join(source, file), 'utf8'), file).not.toMatch(
        /from 'node:|Date\.now|performance\.|setTimeout|setInterval|process\./,
      );
    }
  });
});
