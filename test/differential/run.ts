import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { KERNELS, type LabKernel } from '../lab/lab.ts';
import { runOnKernel, saveFinding } from './host.ts';

/**
 * `npm run differential -- --kernel uml --requests 100000 --seed 1`: the long form. Findings are written to a directory as scenarios that
 * `xfrmsync conformance --target emulated` takes. Status 1: the kernels differ.
 */

const { values } = parseArgs({
  options: {
    kernel: { type: 'string', default: 'uml' },
    seed: { type: 'string', default: String(Date.now() >>> 0) },
    from: { type: 'string', default: '0' },
    requests: { type: 'string', default: '100000' },
    sequences: { type: 'string' },
    differences: { type: 'string', default: '10' },
    minutes: { type: 'string', default: '60' },
    timers: { type: 'string', default: 'yes' },
    out: { type: 'string', default: join('build', 'differential') },
  },
});
if (!KERNELS.includes(values.kernel as LabKernel)) {
  console.error(`--kernel takes ${KERNELS.join(', ')}`);
  process.exit(2);
}

/** For booting, and for the last sequence to come to its end. */
const MARGIN_MS = 5 * 60_000;

const { kernel, out, ...rest } = values;
const args = Object.entries(rest).flatMap(([name, value]) => [`--${name}`, value as string]);
console.log(`${kernel}, seed ${values.seed}`);
const result = await runOnKernel({
  kernel: kernel as LabKernel,
  args,
  timeoutMs: Number(values.minutes) * 60_000 + MARGIN_MS,
  onText: (text) => console.log(text),
  onFinding(finding) {
    console.log(`\nsequence ${finding.index}, in ${saveFinding(finding, out)}\n${finding.detail}\n`);
  },
});
if (result.status > 1) console.error(`status ${result.status}; sequence ${result.last} was under way`);
process.exitCode = result.status;
