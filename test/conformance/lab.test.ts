/** The recorded scenarios on a kernel like the one that they come from, where one can be booted. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { labAvailable, runInLab } from '../lab/lab.ts';

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const vectors = fileURLToPath(new URL('../vectors/6.1-uml', import.meta.url));
/** It takes about 50 seconds on an idle machine, most of which the scenarios spend waiting for timers. */
const TIMEOUT_MS = 15 * 60_000;
/** One that gets lost is a failure. */
const TOTALS = { passed: 566, failed: 0, skipped: 0 };

const lab = await labAvailable();
const name = 'the scenarios of 6.1-uml on User-Mode Linux';

if (!lab.ok) {
  console.warn(`Skipped, as no kernel can be booted here: ${name}: ${lab.why}`);
  describe.skip(`${name} (skipped: ${lab.why})`, () => {
    it('runs', () => undefined);
  });
} else {
  it(
    name,
    async () => {
      if (!existsSync(program)) throw new Error(`${program} is missing: npm run build`);
      const command = [process.execPath, program, 'conformance', '--target', 'linux', '--json', vectors];
      const { stdout } = await runInLab('uml', command, { timeoutMs: TIMEOUT_MS });
      const lines = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(lines.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
      expect(lines.at(-1)).toEqual(TOTALS);
    },
    TIMEOUT_MS + 120_000,
  );
}
