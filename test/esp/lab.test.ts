/** Runs test/esp/lab.ts on a kernel that has ESP, where one can be booted. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { LabReport } from '../client/lab-report.ts';
import { labAvailable, runInLab } from '../lab/lab.ts';
import { algorithms } from './sas.ts';

const program = fileURLToPath(new URL('../../build/test/esp/lab.js', import.meta.url));
const TIMEOUT_MS = 120_000;
/** Modes, families, encapsulation, numbers: what each algorithm goes through. */
const CASES = 24;

const lab = await labAvailable();
const name = 'ESP with a real kernel, both ways';

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
      expect(report.checks.map(({ name }) => name)).toEqual(Object.keys(algorithms));
      // The lab's kernel has all of them.
      for (const { name, facts } of report.checks) expect(facts, name).toMatchObject({ present: true, cases: CASES });
    },
    TIMEOUT_MS + 30_000,
  );
}
