#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { ExitCode, exitCodeHelp } from './exit-codes.ts';
import { exitCodeOf, lineOf } from './failure.ts';
import { endQuietlyWithReader } from './output.ts';

type Group = () => Promise<{ readonly register: (program: Command) => void }>;

const control: Group = () => import('./control.ts');

/** Which file has which command, in the order of the help. Only what is asked for is loaded: `promote` is typed in a hurry. */
const groups: Readonly<Record<string, Group>> = {
  init: () => import('./init.ts'),
  daemon: () => import('./daemon.ts'),
  gateway: () => import('./gateway.ts'),
  demo: () => import('./demo.ts'),
  status: control,
  promote: control,
  switchover: control,
  demote: control,
  dismiss: control,
  resync: control,
  sa: () => import('./sa.ts'),
  policy: () => import('./policy.ts'),
  ae: () => import('./ae.ts'),
  monitor: () => import('./monitor.ts'),
  decode: () => import('./decode.ts'),
  conformance: () => import('./conformance.ts'),
  simulate: () => import('./simulate.ts'),
};

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

async function buildProgram(asked: string | undefined): Promise<Command> {
  const program = new Command('xfrmsync')
    .description('IPsec SAs, policies and counters of Linux: look at them, change them, watch them, carry them over.')
    .version(version)
    .exitOverride()
    // Commander's own complaints go through the same door as all others.
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError()
    .configureHelp({ sortOptions: false })
    .addHelpText('after', exitCodeHelp);
  const one = asked !== undefined && Object.hasOwn(groups, asked) ? groups[asked] : undefined;
  for (const group of one ? [one] : new Set(Object.values(groups))) (await group()).register(program);
  return program;
}

/** One line for whatever went wrong, and the exit code that says of which kind it was. */
function report(error: unknown): ExitCode {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return ExitCode.OK; // --help, --version
    const line = error.code === 'commander.help' ? 'a command is missing: see xfrmsync --help' : lineOf(error);
    process.stderr.write(`xfrmsync: ${line.replace(/^error: /, '')}\n`);
    return ExitCode.USAGE;
  }
  process.stderr.write(`xfrmsync: ${lineOf(error)}\n`);
  return exitCodeOf(error);
}

endQuietlyWithReader();
try {
  const program = await buildProgram(process.argv[2]);
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
