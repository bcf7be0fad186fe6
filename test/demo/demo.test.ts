import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DemoResult } from '../../src/demo/result.ts';
import { start } from '../cli/run.ts';

/** The whole demo, as its users run it. */

const DEMO_MS = 5 * 60_000;
const SMALL = ['--sas', '16', '--rate', '400', '--duration', '5'];

let folder: string;
let temporary: string | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'xs-'));
  temporary = process.env.TMPDIR;
  process.env.TMPDIR = folder;
});

afterEach(async () => {
  if (temporary === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = temporary;
  await rm(folder, { recursive: true, force: true });
});

/** Every process of the demo has the folder in its command line. */
const processes = (): string[] =>
  execFileSync('ps', ['-A', '-ww', '-o', 'pid=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(folder));

/** The test's own time-out bounds it. */
async function until(right: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await right())) await new Promise((resolve) => setTimeout(resolve, 20));
}

function run(args: readonly string[]): { child: ChildProcess; said: () => string; ended: Promise<unknown[]> } {
  const child = start(['demo', ...args]);
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
  return { child, said: () => text, ended: once(child, 'close') };
}

describe('xfrmsync demo', () => {
  it.each(['netlink', 'pfkey'])(
    'proves what it says, in figures, and leaves nothing behind, with daemons that speak %s',
    async (via) => {
      const { said, ended } = run([...SMALL, '--seed', '11', '--via', via, '--json']);
      const [status] = await ended;
      expect(status, said()).toBe(0);
      const result = JSON.parse(said().trimEnd().split('\n').at(-1) ?? '') as DemoResult;
      expect(result).toMatchObject({
        ok: true,
        seed: 11,
        via,
        sas: 16,
        replaysAccepted: 0,
        outboundNumbersReused: 0,
        spisKept: 16,
      });
      expect(result.expectations.filter(({ ok }) => !ok)).toEqual([]);
      expect(result.packetsSent).toBeGreaterThan(500);
      expect(result.framesRecorded).toBeGreaterThan(500);
      expect(result.replaysTried).toBeGreaterThan(500);
      // A crash costs something, and it is known what.
      expect(result.packetsLost).toBeGreaterThan(0);
      expect(result.takeoverMs).toBeGreaterThan(0);
      expect(result.detectMs).toBeGreaterThan(0);
      expect(result.outageMs).toBeGreaterThan(result.detectMs);
      expect(result.takeover.skipped.min).toBeGreaterThan(0);
      expect(result.phases.reduce((n, { packetsSent }) => n + packetsSent, 0)).toBe(result.packetsSent);
      expect(result.phases.find(({ name }) => name === 'switchover')?.packetsLost).toBe(0);
      expect(await readdir(folder)).toEqual([]);
      expect(processes()).toEqual([]);
    },
    DEMO_MS,
  );

  it(
    'ends in order on Ctrl-C',
    async () => {
      const { child, said, ended } = run(SMALL);
      await until(() => said().includes('traffic on'));
      expect(processes().length).toBe(4);
      child.kill('SIGINT');
      const [status] = await ended;
      expect(status, said()).toBe(130);
      expect(said()).toContain('the demo was ended by SIGINT');
      expect(await readdir(folder)).toEqual([]);
      expect(processes()).toEqual([]);
    },
    DEMO_MS,
  );

  it(
    'takes its processes and its folder with it when it is killed',
    async () => {
      const { child, said, ended } = run(SMALL);
      await until(() => said().includes('traffic on'));
      child.kill('SIGKILL');
      await ended;
      await until(() => processes().length === 0);
      await until(async () => (await readdir(folder)).length === 0);
    },
    DEMO_MS,
  );

  it('says what is wrong with its options', async () => {
    for (const [args, word] of [
      [['--sas', '7'], 'odd'],
      [['--sas', 'many'], '--sas'],
      [['--seed', '-1'], '--seed'],
      [['--duration', '1'], '--duration'],
      [['--via', 'ioctl'], '--via'],
    ] as const) {
      const { said, ended } = run(args);
      const [status] = await ended;
      expect(status).toBe(2);
      expect(said()).toContain(word);
    }
  });
});
