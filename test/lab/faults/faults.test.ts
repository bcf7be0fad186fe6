import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { labAvailable, run } from '../lab.ts';
import { FAULT_CASES } from './cases.ts';
import type { FaultsResult } from './results.ts';

/** Every fault case on a real kernel, in its short form: `npm run faults:lab -- --short`. */

const lab = await labAvailable('uml');
const title = lab.ok ? 'faults in User-Mode Linux' : `faults in User-Mode Linux (skipped: ${lab.why})`;
if (!lab.ok) process.stderr.write(`the lab's kernel is not to be had, the fault cases are skipped: ${lab.why}\n`);

/** It takes a minute and a half on an idle machine. */
const TIMEOUT_MS = 600_000;
const program = join(import.meta.dirname, '../../../build/test/lab/faults/main.js');

describe.skipIf(!lab.ok)(title, () => {
  test(
    'deaths, crashes, a partition, lost events and switchovers: no replay, no number twice, no loss beyond what was shown',
    async () => {
      const { status, stdout, stderr } = await run([process.execPath, program, '--short', '--json'], {
        timeoutMs: TIMEOUT_MS,
      });
      const result = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as FaultsResult;
      const broken = result.cases.flatMap(({ name, error, expectations }) => [
        ...(error === undefined ? [] : [`${name}: ${error}`]),
        ...expectations.filter(({ ok }) => !ok).map((one) => `${name}: ${one.name}: ${one.detail}`),
      ]);
      expect(broken, `${stderr}\n${stdout}`).toEqual([]);
      expect(status).toBe(0);
      // A case that gets lost is a failure, and figures must come from something: SAs, traffic, an attack.
      expect(result.cases.map(({ name }) => name)).toEqual(FAULT_CASES.map(({ name }) => name));
      for (const one of result.cases) {
        expect(one, one.name).toMatchObject({ replaysAccepted: 0, outboundNumbersReused: 0, spisKept: one.sas });
        expect(one.sas, one.name).toBeGreaterThanOrEqual(18);
        expect(one.packetsSent, one.name).toBeGreaterThan(one.sas * 20);
        expect(one.replaysTried, one.name).toBeGreaterThan(one.packetsSent / 2);
        if (one.bound === null) expect(one.packetsLost, one.name).toBe(0);
        else expect(one.bound.refused, one.name).toBeLessThanOrEqual(one.bound.lossMax);
      }
    },
    TIMEOUT_MS + 10_000,
  );
});
