import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { labAvailable, run } from './lab.ts';
import type { DrillResult } from './results.ts';

/** The main job on a real kernel, in its short form: `npm run drill:lab -- --short`. */

const lab = await labAvailable('uml');
const title = lab.ok ? 'the drill in User-Mode Linux' : `the drill in User-Mode Linux (skipped: ${lab.why})`;
if (!lab.ok) process.stderr.write(`the lab's kernel is not to be had, the drill is skipped: ${lab.why}\n`);

const DRILL_TIMEOUT_MS = 400_000;
const program = join(import.meta.dirname, '../../build/test/lab/drill.js');

describe.skipIf(!lab.ok)(title, () => {
  test(
    'a gateway dies, another one carries on: nothing accepted twice, no number used twice, SPIs kept',
    async () => {
      const { status, stdout, stderr } = await run([process.execPath, program, '--short', '--json'], {
        timeoutMs: DRILL_TIMEOUT_MS,
      });
      const result = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as DrillResult;
      const broken = result.expectations.filter(({ ok }) => !ok);
      expect(broken, `${stderr}\n${stdout}`).toEqual([]);
      expect(status).toBe(0);
      expect(result).toMatchObject({ replaysAccepted: 0, outboundNumbersReused: 0, spisKept: result.sas });
      // The figures must come from something: SAs, traffic, a recording, an attack.
      expect(result.sas).toBeGreaterThanOrEqual(20);
      expect(result.packetsSent).toBeGreaterThan(result.sas * 20);
      expect(result.replaysTried).toBeGreaterThan(1000);
      expect(result.framesRecorded).toBeGreaterThan(1000);
      expect(result.packetsLost).toBeLessThan(result.packetsSent / 2);
    },
    DRILL_TIMEOUT_MS + 10_000,
  );
});
