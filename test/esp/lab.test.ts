/** Runs test/esp/lab.ts on a kernel that has ESP, where one can be booted. */
import { expect } from 'vitest';
import { labSuite } from '../lab/lab-suite.ts';
import { algorithms } from './sas.ts';

/** Modes, families, encapsulation, numbers: what each algorithm goes through. */
const CASES = 24;

await labSuite({
  name: 'ESP with a real kernel, both ways',
  program: 'esp/lab.js',
  checks: Object.keys(algorithms),
  // The lab's kernel has all of them.
  more: ({ checks }) => {
    for (const { name, facts } of checks) expect(facts, name).toMatchObject({ present: true, cases: CASES });
  },
});
