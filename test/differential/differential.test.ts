import { expect, it } from 'vitest';
import { labAvailable } from '../lab/lab.ts';
import { runOnKernel } from './host.ts';

/** The short form of `npm run differential`: a new seed each time, told when something differs. It runs what `npm run build:tools` made. */

const TIME_MINUTES = '0.3';
/** Against hangs: the boot and the program's start are not in the time above. */
const TIMEOUT_MS = 10 * 60_000;

it(
  'the emulated kernel does what a real one does, whatever it is asked',
  async (context) => {
    const lab = await labAvailable('uml');
    if (!lab.ok) return context.skip(lab.why);
    const seed = String(Date.now() >>> 0);
    const args = [
      '--seed',
      seed,
      '--requests',
      '2000',
      '--minutes',
      TIME_MINUTES,
      '--differences',
      '1',
      '--timers',
      'no',
    ];
    const { status, stderr, findings, last, summary } = await runOnKernel({
      kernel: 'uml',
      args,
      timeoutMs: TIMEOUT_MS,
    });
    console.log(summary ?? `seed ${seed}: no summary`);
    const told = findings.map(({ index, detail }) => `seed ${seed}, sequence ${index}: ${detail}`);
    expect(told).toEqual([]);
    expect({ status, stderr: status === 0 ? '' : `seed ${seed}, sequence ${last}: ${stderr}` }).toEqual({
      status: 0,
      stderr: '',
    });
    expect(summary).toMatch(/ requests, /);
  },
  2 * TIMEOUT_MS,
);
