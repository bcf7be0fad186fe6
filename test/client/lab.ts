/** The checks on the kernel that this runs on, as root of a guest; prints one line of JSON, the outcome of every check. */
import { release } from 'node:os';
import type { LabCheck, LabReport } from '../lab/lab-report.ts';
import { labMachine } from './lab-machine.ts';
import { flush, openPair } from './machine.ts';
import { packetChecks } from './packet-checks.ts';
import { pfkeyChecks } from './pfkey-checks.ts';
import { requestChecks } from './request-checks.ts';

const pair = await openPair(labMachine());
const { machine, a, b } = pair;
const checks: (readonly [name: string, check: () => Promise<object | undefined>])[] = [
  ...Object.entries(requestChecks).map(([name, check]) => [name, () => check(machine.kernel('a'), a)] as const),
  ...Object.entries({ ...packetChecks, ...pfkeyChecks }).map(([name, check]) => [name, () => check(pair)] as const),
];
const outcomes: LabCheck[] = [];
const begin = performance.now();
for (const [name, check] of checks) {
  const start = performance.now();
  await flush(a, b);
  const outcome = await check().then(
    (facts) => ({ ok: true, ...(facts === undefined ? {} : { facts }) }),
    (error: Error) => ({ ok: false, error: error.stack ?? String(error) }),
  );
  outcomes.push({ name, ms: Math.round(performance.now() - start), ...outcome });
}
a.close();
b.close();
const report: LabReport = { kernel: release(), ms: Math.round(performance.now() - begin), checks: outcomes };
console.log(JSON.stringify(report));
