import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { labAvailable, run } from '../lab.ts';
import { parseChildSas } from './charon.ts';
import { parseEvents } from './kernel-events.ts';
import { strongswanPackages } from './packages.ts';
import { STEPS, type StrongswanResult } from './steps.ts';

/** The daemons beside strongSwan on a real kernel: `npm run strongswan:lab`. */

const lab = await labAvailable('uml');
const packages = lab.ok ? await strongswanPackages() : lab;
const why = packages.ok ? '' : ` (skipped: ${packages.why})`;
if (!packages.ok)
  process.stderr.write(`a kernel or strongSwan is not to be had, the steps beside it are skipped: ${packages.why}\n`);

/** Those that have a part in safety, and what comes before them. */
const SHORT = 'ceilings,switchover,traps,death,renegotiate,cut-off';
/** They take two to three minutes on a machine that has time for them. */
const TIMEOUT_MS = 1_200_000;
const program = join(import.meta.dirname, '../../../build/test/lab/strongswan/main.js');

describe.skipIf(!packages.ok)(`beside strongSwan in User-Mode Linux${why}`, () => {
  test(
    'two charons and a third: ceilings, re-keys, a switchover, a takeover, and what they do to each other',
    async () => {
      const { status, stdout, stderr } = await run([process.execPath, program, '--only', SHORT, '--json'], {
        timeoutMs: TIMEOUT_MS,
      });
      const result = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as StrongswanResult;
      const broken = result.steps.flatMap(({ name, error, expectations }) => [
        ...(error === undefined ? [] : [`${name}: ${error}`]),
        ...expectations.filter(({ ok }) => !ok).map((one) => `${name}: ${one.name}: ${one.detail}`),
      ]);
      expect(broken, `${stderr}\n${stdout}`).toEqual([]);
      expect(status).toBe(0);
      // A step that gets lost is a failure, and figures must come from something.
      expect(result.steps.map(({ name }) => name)).toEqual([STEPS[0]?.name, ...SHORT.split(',')]);
      expect(result.version).toMatch(/^\d/);
      const facts = Object.assign({}, ...result.steps.map((step) => step.facts)) as Record<string, number>;
      expect(facts['ceilings written before the re-key']).toBeGreaterThanOrEqual(3);
      expect(facts['replays tried']).toBeGreaterThan(1000);
      expect(facts['ESP frames recorded']).toBeGreaterThan(1000);
    },
    TIMEOUT_MS + 10_000,
  );
});

test('`ip xfrm monitor` is read: who was added, updated, deleted, and why an SA ended', () => {
  const lines = `src 192.0.2.10 dst 192.0.2.2
\tproto esp spi 0xc784b6a3 reqid 101 mode tunnel
Updated src 10.77.1.0/24 dst 10.9.0.0/24 
\tdir in priority 375423 ptype main 
Deleted src 192.0.2.10 dst 192.0.2.2
\tproto esp spi 0x000000c1 reqid 101 mode tunnel
Expired src 192.0.2.10 dst 192.0.2.2
\tproto esp spi 0xc784b6a3 reqid 101 mode tunnel
\tlifetime current:
\t  84000(bytes), 1000(packets)
\thard 0`.split('\n');
  expect(parseEvents(lines)).toEqual([
    { kind: 'new', of: 'sa', spi: 0xc784b6a3 },
    { kind: 'updated', of: 'policy', spi: 0 },
    { kind: 'deleted', of: 'sa', spi: 0xc1 },
    { kind: 'expired', of: 'sa', spi: 0xc784b6a3, packets: 1000, hard: false },
  ]);
});

test('`swanctl --list-sas --raw` is read: the CHILD_SAs of all IKE_SAs', () => {
  const text =
    'list-sa event {lab {uniqueid=1 version=2 state=ESTABLISHED child-sas {limited-1 {name=limited uniqueid=1 reqid=101 state=INSTALLED ' +
    'mode=TUNNEL protocol=ESP spi-in=c4c14181 spi-out=c784b6a3 local-ts=[10.9.0.0/24]} esn-2 {name=esn uniqueid=2 reqid=102 ' +
    'state=REKEYING mode=TUNNEL protocol=ESP spi-in=c0597781 spi-out=c68f39ca esn=1}}}}\nlist-sas reply {}\n';
  expect(parseChildSas(text)).toEqual([
    { name: 'limited', uniqueId: '1', reqid: 101, state: 'INSTALLED', spiIn: 0xc4c14181, spiOut: 0xc784b6a3 },
    { name: 'esn', uniqueId: '2', reqid: 102, state: 'REKEYING', spiIn: 0xc0597781, spiOut: 0xc68f39ca },
  ]);
});
