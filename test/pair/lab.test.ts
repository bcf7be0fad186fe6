/** Runs test/pair/lab.ts on a kernel that has ESP, where one can be booted. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { LabReport } from '../client/lab-report.ts';
import { labAvailable, runInLab } from '../lab/lab.ts';
import { pairChecks } from './suite.ts';

const program = fileURLToPath(new URL('../../build/test/pair/lab.js', import.meta.url));
/** It takes half a minute on an idle machine. */
const TIMEOUT_MS = 180_000;

const lab = await labAvailable();
const name = 'a pair of gateways on a kernel with ESP';

if (!lab.ok) {
  console.warn(`Skipped, as no kernel can be booted here: ${name}: ${lab.why}`);
  describe.skip(`${name} (skipped: ${lab.why})`, () => {
    it('runs', () => undefined);
  });
} else {
  it(
    name,
    async () => {
      if (!existsSync(program)) throw new Error(`${program} is missing: npm run build && npm run build:tools`);
      const { status, stdout, stderr } = await runInLab('uml', [process.execPath, program], { timeoutMs: TIMEOUT_MS });
      expect(stderr).toBe('');
      expect(status).toBe(0);
      const report = JSON.parse(stdout) as LabReport;
      for (const { name, error } of report.checks.filter(({ ok }) => !ok)) expect.soft(error, name).toBeUndefined();
      // The same suite as on the emulated kernel; a check that gets lost is a failure.
      expect(report.checks.map((check) => check.name)).toEqual(Object.keys(pairChecks));
    },
    TIMEOUT_MS + 30_000,
  );
}
