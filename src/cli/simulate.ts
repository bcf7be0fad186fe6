import { randomInt } from 'node:crypto';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Failure, RuleSwitch, Totals } from '../simulator/index.ts';
import { ExitCode } from './exit-codes.ts';
import { CliError } from './failure.ts';
import { paint, print, printJson } from './output.ts';

const rules: readonly RuleSwitch[] = [
  'skip',
  'grants',
  'ceiling',
  'strict',
  'terms',
  'generations',
  'parked',
  'durable',
  'complete',
  'monotonic',
  'votes',
  'drain',
];
const SEED_MAX = 2 ** 32;
const PROGRESS_MS = 2_000;

interface SimulateOptions {
  readonly seed?: number;
  readonly takeovers: number;
  readonly without?: RuleSwitch;
  readonly strict?: boolean;
  readonly window?: boolean;
  readonly nodes?: number;
  readonly json?: boolean;
}

export function register(program: Command): void {
  program
    .command('simulate')
    .description('try to break a takeover: whole clusters on a virtual clock, with every fault there is')
    .option('--seed <n>', 'what happens follows from this number alone (default: a random one)', whole(0, SEED_MAX - 1))
    .option('--takeovers <n>', 'stop after so many takeovers and switchovers', whole(1, 1e9), 1_000)
    .addOption(new Option('--without <rule>', 'switch off a safety rule, to see it found').choices(rules))
    .option('--nodes <n>', 'gateways of each cluster (default: 2 to 5)', whole(2, 5))
    .addOption(new Option('--strict', 'every cluster closes inbound windows').conflicts('window'))
    .addOption(new Option('--window', 'every cluster keeps inbound windows as last seen').conflicts('strict'))
    .option('--json', 'print JSON; the last line is the result')
    .addHelpText(
      'after',
      `
Needs no kernel and no privileges: gateways, disks, link, peers and an attacker are simulated; the logic is the daemon's own.
The first violation of a safety rule ends the run; its story is made as short as possible and printed. The same seed and
options tell the same story again. The exit code is 1 if a rule was broken. See docs/simulator.md.

Examples:
  xfrmsync simulate --seed 1 --takeovers 5000
  xfrmsync simulate --seed 1 --without skip      what a takeover without a skip would do
  xfrmsync simulate --window --json`,
    )
    .action(run);
}

function whole(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}

async function run(options: SimulateOptions): Promise<void> {
  const { describePlan, formatLine, shrink, simulate, storyOf } = await import('../simulator/index.ts');
  const { takeovers, without, nodes, json } = options;
  const seed = options.seed ?? randomInt(SEED_MAX);
  const inbound = options.strict ? 'strict' : options.window ? 'window' : undefined;
  if (!json) await print(`seed ${seed}`);
  let shownMs = performance.now();
  const onWorld = (so: Totals): void => {
    if (performance.now() - shownMs < PROGRESS_MS) return;
    shownMs = performance.now();
    process.stderr.write(`${so.takeovers} of ${takeovers} takeovers, ${so.packets} packets, ${so.worlds} clusters\n`);
  };
  const { totals, failure } = simulate({ seed, takeovers, inbound, without, nodes, onWorld });
  if (failure !== undefined) {
    const shrunk = shrink(failure.plan, failure.violation);
    const lines = storyOf(shrunk.plan);
    if (json) for (const line of lines) await printJson({ ...line });
    else await tell(failure, [...describePlan(shrunk.plan), '', ...lines.map(formatLine)]);
  }
  if (json) await printJson(resultOf(totals));
  else await summary(totals);
  if (failure !== undefined)
    throw new CliError(ExitCode.FAILED, `${failure.violation.rule} is broken: ${failure.violation.text}`);
}

async function tell({ world, violation }: Failure, lines: readonly string[]): Promise<void> {
  await print(`\n${paint('alarm', `${violation.rule} is broken`)} in cluster ${world}; the story, made short:\n`);
  for (const line of lines) await print(line);
  await print('');
}

function resultOf(totals: Totals) {
  const { seed, takeovers, steps, violations, packetsLost, lossBound, packets, worlds, virtualMs, faults } = totals;
  const rounded = Math.round(virtualMs);
  return {
    seed,
    takeovers,
    steps,
    violations,
    packetsLost,
    lossBound,
    packets,
    clusters: worlds,
    virtualMs: rounded,
    faults,
  };
}

async function summary(totals: Totals): Promise<void> {
  const { takeovers, worlds, virtualMs, packets, violations, packetsLost, lossBound, faults } = totals;
  await print(
    `${takeovers} takeovers in ${worlds} clusters, ${Math.round(virtualMs / 1000)} s of their time, ${packets} packets: ${violations} violations`,
  );
  await print(
    `refused by windows that a takeover had closed: ${packetsLost} packets; by the reports at most ${lossBound}`,
  );
  const counts = Object.entries(faults).sort(([a], [b]) => (a < b ? -1 : 1));
  await print(counts.map(([kind, count]) => `  ${kind}: ${count}`).join('\n'));
}
