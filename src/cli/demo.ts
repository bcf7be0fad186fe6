import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { Interrupted, runDemo, SAS_MAX } from '../demo/index.ts';
import { ExitCode } from './exit-codes.ts';
import { usageError } from './failure.ts';
import { type Via, viaOption } from './pfkey.ts';

const SEED_END = 2 ** 32;
const RATE_MAX = 10_000;
const DURATION = { min: 5, max: 3_600 } as const;
/** What a shell says of a program that a signal has ended. */
const SIGNAL_BASE = 128;
const SIGNAL_NUMBERS: Partial<Record<NodeJS.Signals, number>> = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

interface Options {
  readonly sas: string;
  readonly rate: string;
  readonly duration: string;
  readonly seed?: string;
  readonly via: Via;
  readonly keep?: boolean;
  readonly json?: boolean;
}

export function register(program: Command): void {
  program
    .command('demo')
    .description('show a failover on this machine: two gateways, a peer, an attacker, all of them ordinary processes')
    .option('--sas <number>', 'security associations, two on each connection', '256')
    .option('--rate <number>', 'packets a second, over all flows', '1000')
    .option('--duration <seconds>', 'about how long it takes; more SAs may need more', '36')
    .option('--seed <number>', 'decides all that is random but the keys; without it another one each time')
    .addOption(viaOption("how the gateways' daemons reach their kernels"))
    .option('--keep', 'leave everything running afterwards, to look at it')
    .option('--json', 'the last line is the result as one JSON object')
    .addHelpText(
      'after',
      `
Kernels are emulated and packets travel over UDP on the loopback: no root, no kernel support, no fixed port, nothing left behind.
The exit code is 1 if a packet was accepted twice, a number was used twice, an SPI changed, or anything else did not hold.

Examples:
  $ xfrmsync demo
  $ xfrmsync demo --sas 1000 --seed 7
  $ xfrmsync demo --json | tail -1
  $ xfrmsync demo --via pfkey         # counters by the replay notifications of PF_KEY
  $ xfrmsync demo --keep`,
    )
    .action(async (options: Options) => {
      const sas = whole('--sas', options.sas, 2, SAS_MAX);
      if (sas % 2 !== 0) throw usageError(`--sas: ${sas} is odd, and a connection has two of them`);
      try {
        const { ok } = await runDemo({
          program: fileURLToPath(new URL('./main.js', import.meta.url)),
          sas,
          ratePps: whole('--rate', options.rate, 10, RATE_MAX),
          durationS: whole('--duration', options.duration, DURATION.min, DURATION.max),
          seed: options.seed === undefined ? randomInt(SEED_END) : whole('--seed', options.seed, 0, SEED_END - 1),
          via: options.via,
          live: process.stdout.isTTY === true && process.env.TERM !== 'dumb',
          keep: options.keep === true,
          json: options.json === true,
        });
        if (!ok) process.exitCode = ExitCode.FAILED;
      } catch (error) {
        if (!(error instanceof Interrupted)) throw error;
        process.stderr.write(`xfrmsync: the demo was ${error.message}\n`);
        process.exitCode = SIGNAL_BASE + (SIGNAL_NUMBERS[error.signal] ?? 0);
      }
    });
}

function whole(option: string, text: string, min: number, max: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max))
    throw usageError(`${option}: "${text}" is not a whole number from ${min} to ${max}`);
  return value;
}
