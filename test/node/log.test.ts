import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const openLog = join(import.meta.dirname, '../../dist/node/log.js');

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'xfrmsync-log-'));
});
afterEach(() => rm(directory, { recursive: true }));

/** A process of its own: what goes to standard error is part of the matter. Prints its memory when it is done. */
async function logging(file: string | undefined, lines: number) {
  const settings = { level: 'info', ...(file ? { file } : {}) };
  const program = `
    import { openLog } from ${JSON.stringify(openLog)};
    import { setImmediate } from 'node:timers/promises';
    const log = openLog('a', ${JSON.stringify(settings)});
    await setImmediate();
    for (let i = 0; i < ${lines}; i++) {
      log.info({ i, key: 'c0ffee', algAead: { key: 'c0ffee' } }, 'x'.repeat(200));
      if (i % 100 === 0) await setImmediate();
    }
    await setImmediate();
    console.log(process.memoryUsage().rss);`;
  const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', program], {
    maxBuffer: 1 << 28,
  });
  return { rss: Number(stdout), stderr };
}

describe('the log', () => {
  it('goes to standard error by default, one JSON object a line, without keys', async () => {
    const { stderr } = await logging(undefined, 3);
    const lines = stderr.trim().split('\n');
    expect(lines.map((line) => JSON.parse(line)).map(({ i, node }) => [i, node])).toEqual([
      [0, 'a'],
      [1, 'a'],
      [2, 'a'],
    ]);
    expect(stderr).not.toContain('c0ffee');
  });

  it('goes to a file, behind what is there', async () => {
    const file = join(directory, 'log');
    await writeFile(file, '{"i":-1}\n');
    const { stderr } = await logging(file, 2);
    expect(stderr).toBe('');
    expect(
      (await readFile(file, 'utf8'))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).i),
    ).toEqual([-1, 0, 1]);
  });

  it.each([
    ['a full disk', () => '/dev/full'],
    ['a folder in its place', () => directory],
  ])('%s: said once on standard error, the program goes on, and memory does not grow with it', async (_, file) => {
    const { rss, stderr } = await logging(file(), 100_000);
    const lines = stderr.trim().split('\n');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^xfrmsync: cannot write the log .*; the node goes on without it$/);
    expect(rss).toBeLessThan(256 << 20);
  });
});
