/** The recorded scenarios on a kernel like the one that they come from, where one can be booted. */
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { labTest } from '../lab/lab-suite.ts';

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const vectors = fileURLToPath(new URL('../vectors/6.1-uml', import.meta.url));
/** One that gets lost is a failure. */
const TOTALS = { passed: 566, failed: 0, skipped: 0 };

const command = [process.execPath, program, 'conformance', '--target', 'linux', '--json', vectors];
await labTest('the scenarios of 6.1-uml on User-Mode Linux', { file: program, command }, ({ stdout }) => {
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
  expect(lines.at(-1)).toEqual(TOTALS);
});
