import { parseArgs } from 'node:util';
import { linuxFacts } from '../../src/conformance/linux-facts.ts';
import { linuxTargetOn } from '../../src/conformance/linux-target.ts';
import { openSystem } from '../../src/kernel/linux/index.ts';
import { campaign, type Totals, textOfTotals } from './campaign.ts';
import { findingLine, startLine } from './lines.ts';

/**
 * The part of `npm run differential` that runs in the guest, as root of a kernel that nobody else uses. Progress and findings go to
 * stdout, a line each.
 */

const usage = `usage: main.js [--seed N] [--from N] [--requests N] [--sequences N] [--minutes N] [--differences N]
               [--timers yes|no]`;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    requests: { type: 'string', default: '10000' },
    sequences: { type: 'string', default: '1000000000' },
    minutes: { type: 'string', default: '60' },
    differences: { type: 'string', default: '10' },
    timers: { type: 'string', default: 'yes' },
  },
});

function numberOf(name: 'seed' | 'from' | 'requests' | 'sequences' | 'minutes' | 'differences'): number {
  const number = Number(values[name]);
  if (Number.isFinite(number) && number >= 0) return number;
  console.error(usage);
  process.exit(2);
}

const PROGRESS_MS = 10_000;
let shown = performance.now();
const progress = (totals: Totals): void => {
  if (performance.now() - shown < PROGRESS_MS) return;
  shown = performance.now();
  console.log(`${textOfTotals(totals)}, next ${totals.next}`);
};

const system = await openSystem();
const profile = linuxFacts(system);
const totals = campaign({
  seed: numberOf('seed'),
  from: numberOf('from'),
  requests: numberOf('requests'),
  sequences: numberOf('sequences'),
  timeMs: 60_000 * numberOf('minutes'),
  differencesMax: numberOf('differences'),
  timers: values.timers === 'yes',
  profile,
  real: (scenario) => linuxTargetOn(system, scenario),
  onStart: (index) => console.log(startLine(index)),
  onProgress: progress,
  onDifference: ({ recorded, detail }, index) => console.log(findingLine({ index, detail, scenario: recorded })),
});
console.log(`${profile.kernel}, seed ${values.seed}: ${textOfTotals(totals)}`);
process.exitCode = totals.differences > 0 ? 1 : 0;
