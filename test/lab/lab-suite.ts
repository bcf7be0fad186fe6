import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { labAvailable, runInLab } from './lab.ts';
import type { LabReport } from './lab-report.ts';

/** Tests that run a program on a kernel that has ESP, where one can be booted. Elsewhere they are skipped, with the reason. */

/** Against hangs alone: the programs take ten to fifty seconds on an idle machine. */
const TIMEOUT_MS = 15 * 60_000;
/** Time for the boot, beside the program's own. */
const BOOT_MS = 2 * 60_000;

/** A command in the guest, one of whose words is a file that a build makes; what it says comes to `check`. */
export async function labTest(
  name: string,
  { file, command }: { readonly file: string; readonly command: readonly string[] },
  check: (ended: Awaited<ReturnType<typeof runInLab>>) => void,
): Promise<void> {
  const lab = await labAvailable();
  if (!lab.ok) {
    console.warn(`Skipped, as no kernel can be booted here: ${name}: ${lab.why}`);
    describe.skip(`${name} (skipped: ${lab.why})`, () => {
      it('runs', () => undefined);
    });
    return;
  }
  it(
    name,
    async () => {
      if (!existsSync(file)) throw new Error(`${file} is missing: npm run build && npm run build:tools`);
      check(await runInLab('uml', [...command], { timeoutMs: TIMEOUT_MS }));
    },
    TIMEOUT_MS + BOOT_MS,
  );
}

export interface LabSuite {
  readonly name: string;
  /** The program that runs the checks in the guest, as a path below the folder of its build: `client/lab.js`. */
  readonly program: string;
  /** The names of all checks, in order: one that gets lost is a failure. */
  readonly checks: readonly string[];
  /** What else must hold of the report. */
  readonly more?: (report: LabReport) => void;
}

/** Runs a program of checks, and reads its report. */
export async function labSuite({ name, program, checks, more }: LabSuite): Promise<void> {
  const file = fileURLToPath(new URL(`../../build/test/${program}`, import.meta.url));
  await labTest(name, { file, command: [process.execPath, file] }, ({ status, stdout, stderr }) => {
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const report = JSON.parse(stdout) as LabReport;
    for (const { name, error } of report.checks.filter(({ ok }) => !ok)) expect.soft(error, name).toBeUndefined();
    expect(report.checks.map((check) => check.name)).toEqual(checks);
    more?.(report);
  });
}
