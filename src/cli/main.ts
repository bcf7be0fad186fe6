#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import * as ae from './ae.ts';
import * as conformance from './conformance.ts';
import * as control from './control.ts';
import * as daemon from './daemon.ts';
import * as decode from './decode.ts';
import { ExitCode, exitCodeHelp } from './exit-codes.ts';
import { exitCodeOf, lineOf } from './failure.ts';
import * as init from './init.ts';
import * as monitor from './monitor.ts';
import { endQuietlyWithReader } from './output.ts';
import * as policy from './policy.ts';
import * as sa from './sa.ts';

/** Every group of commands, in the order of the help. */
const commands: readonly ((program: Command) => void)[] = [
  init.register,
  daemon.register,
  control.register,
  sa.register,
  policy.register,
  ae.register,
  monitor.register,
  decode.register,
  conformance.register,
];

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

function buildProgram(): Command {
  const program = new Command('xfrmsync')
    .description('IPsec SAs, policies and counters of Linux: look at them, change them, watch them, carry them over.')
    .version(version)
    .exitOverride()
    // Commander's own complaints go through the same door as all others.
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError()
    .configureHelp({ sortOptions: false })
    .addHelpText('after', exitCodeHelp);
  for (const register of commands) register(program);
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
  await buildProgram().parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
