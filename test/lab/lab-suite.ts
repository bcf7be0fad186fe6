import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { labAvailable, runInLab } from './lab.ts';
import type { LabReport } from './lab-report.ts';

export interface LabSuite {
  readonly name: string;
  /** The program that runs the checks in the guest, as a path below the folder of its build: `client/lab.js`. */
  readonly program: string;
  /** The names of all checks, in order: one that gets lost is a failure. */
  readonly checks: readonly string[];
  /** What else must hold of the report. */
  readonly more?: (report: LabReport) => void;
}

/** Against hangs alone: the programs take ten to thirty seconds on an idle machine. */
const TIMEOUT_MS = 10 * 60_000;
/** Time for the boot, beside the program's own. */
const BOOT_MS = 2 * 60_000;

/** Runs a program of checks on a kernel that has ESP, where one can be booted, and reads its report. Skipped with the reason elsewhere. */
export async function labSuite({ name, program, checks, more }: LabSuite): Promise<void> {
  const lab = await labAvailable();
  if (!lab.ok) {
    console.warn(`Skipped, as no kernel can be booted here: ${name}: ${lab.why}`);
    describe.skip(`${name} (skipped: ${lab.why})`, () => {
      it('runs', () => undefined);
    });
    return;
  }
  const file = fileURLToPath(new URL(`../../build/test/${program}`, import.meta.url));
  it(
    name,
    async () => {
      if (!existsSync(file)) throw new Error(`${file} is missing: npm run build && npm run build:tools`);
      const { status, stdout, stderr } = await runInLab('uml', [process.execPath, file], { timeoutMs: TIMEOUT_MS });
      expect(stderr).toBe('');
      expect(status).toBe(0);
      const report = JSON.parse(stdout) as LabReport;
      for (const { name, error } of report.checks.filter(({ ok }) => !ok)) expect.soft(error, name).toBeUndefined();
      expect(report.checks.map((check) => check.name)).toEqual(checks);
      more?.(report);
    },
    TIMEOUT_MS + BOOT_MS,
  );
}
