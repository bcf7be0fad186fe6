/** Runs test/client/lab.ts on a kernel that has ESP, where one can be booted, with iproute2's word for what the client reads. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { labAvailable, runInLab } from '../lab/lab.ts';
import type { LabReport } from './lab-report.ts';
import { packetChecks } from './packet-checks.ts';
import { pfkeyChecks } from './pfkey-checks.ts';
import { requestChecks } from './request-checks.ts';

const program = fileURLToPath(new URL('../../build/test/client/lab.js', import.meta.url));
/** It takes ten seconds on an idle machine. */
const TIMEOUT_MS = 120_000;
/** What lab.ts runs; a check that gets lost is a failure. */
const checks = [requestChecks, packetChecks, pfkeyChecks].flatMap((group) => Object.keys(group));

const lab = await labAvailable();
const name = 'the client on a kernel with ESP';

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
      expect(report.checks.map(({ name }) => name)).toEqual(checks);
    },
    TIMEOUT_MS + 30_000,
  );
}
