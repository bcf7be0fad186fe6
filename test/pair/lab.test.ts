/** Runs test/pair/lab.ts on a kernel that has ESP, where one can be booted: the same suite as on the emulated kernel. */
import { labSuite } from '../lab/lab-suite.ts';
import { pairChecks } from './suite.ts';

await labSuite({
  name: 'a pair of gateways on a kernel with ESP',
  program: 'pair/lab.js',
  checks: Object.keys(pairChecks),
});
