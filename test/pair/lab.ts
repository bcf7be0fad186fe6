/**
 * The checks of a pair of gateways on Linux: real SAs, real packets, nodes in this process. Runs as root of a guest; prints one line of
 * JSON, the outcome of every check.
 */
import { execFileSync } from 'node:child_process';
import { release } from 'node:os';
import type { LabCheck, LabReport } from '../lab/lab-report.ts';
import { LinuxMachine } from './linux-machine.ts';
import { pairChecks } from './suite.ts';

// Of the guest alone, and in memory; the host's file system, as some guests see it, has no Unix sockets.
process.env.TMPDIR = '/run';
execFileSync('ip', ['link', 'set', 'lo', 'up']);
const outcomes: LabCheck[] = [];
const begin = performance.now();
for (const [name, check] of Object.entries(pairChecks)) {
  const start = performance.now();
  const outcome = await check(async (connections) => new LinuxMachine(connections)).then(
    () => ({ ok: true }),
    (error: Error) => ({ ok: false, error: error.stack ?? String(error) }),
  );
  outcomes.push({ name, ms: Math.round(performance.now() - start), ...outcome });
}
const report: LabReport = { kernel: release(), ms: Math.round(performance.now() - begin), checks: outcomes };
console.log(JSON.stringify(report));
