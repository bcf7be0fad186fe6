/** Runs test/client/lab.ts on a kernel that has ESP, where one can be booted, with iproute2's word for what the client reads. */
import { labSuite } from '../lab/lab-suite.ts';
import { packetChecks } from './packet-checks.ts';
import { pfkeyChecks } from './pfkey-checks.ts';
import { requestChecks } from './request-checks.ts';

await labSuite({
  name: 'the client on a kernel with ESP',
  program: 'client/lab.js',
  checks: [requestChecks, packetChecks, pfkeyChecks].flatMap((group) => Object.keys(group)),
});
