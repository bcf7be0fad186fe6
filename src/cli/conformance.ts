import { type Command, Option } from 'commander';
import type { CodecResult } from '../conformance/index.ts';
import { ExitCode } from './exit-codes.ts';
import { CliError, usageError } from './failure.ts';
import { paint, print, printJson } from './output.ts';

interface ConformanceOptions {
  readonly target: 'codec';
  readonly json?: boolean;
}

/** Scenarios between two lines of progress. */
const PROGRESS_EVERY = 100;

export function register(program: Command): void {
  program
    .command('conformance')
    .description('compare with what real kernels did: recorded vectors')
    .argument('<path...>', 'vector files (.jsonl or .bin, also .gz), or directories of them')
    .addOption(new Option('--target <target>', 'what is compared').choices(['codec']).default('codec'))
    .option('--json', 'print JSON, one result a line')
    .addHelpText(
      'after',
      `
codec: every recorded message is decoded and encoded again, and must give the same bytes.
The exit code is 1 if anything differs.

Example:
  xfrmsync conformance --target codec vectors/`,
    )
    .action(conformance);
}

async function conformance(paths: string[], options: ConformanceOptions): Promise<void> {
  // Loaded when it is needed: its checks of the vectors' form would double the time that any command takes to start.
  const { checkCodec, VectorError } = await import('../conformance/index.ts');
  const totals: Record<CodecResult['outcome'], number> = { passed: 0, failed: 0, skipped: 0 };
  try {
    for (const path of paths) {
      for await (const result of checkCodec(path)) {
        totals[result.outcome]++;
        await show(result, options);
        showProgress(totals);
      }
    }
  } catch (error) {
    if (error instanceof VectorError) throw usageError(error.message, error);
    throw error;
  } finally {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  }
  const { passed, failed, skipped } = totals;
  if (options.json) await printJson({ passed, failed, skipped });
  else await print(`${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`);
  if (failed > 0)
    throw new CliError(ExitCode.FAILED, `${failed} of ${passed + failed + skipped} differ from what was recorded`);
}

async function show({ name, outcome, detail, counts }: CodecResult, options: ConformanceOptions): Promise<void> {
  if (options.json) await printJson({ name, outcome, counts: { ...counts }, ...(detail !== undefined && { detail }) });
  else if (outcome === 'failed') await print(`${paint('alarm', 'failed')}  ${name}\n${indented(detail ?? '')}`);
}

const indented = (text: string): string => text.replace(/^/gm, '    ');

/** On a terminal only, where the line is written over. */
function showProgress(totals: Readonly<Record<string, number>>): void {
  const done = Object.values(totals).reduce((sum, n) => sum + n, 0);
  if (process.stderr.isTTY && done % PROGRESS_EVERY === 0) process.stderr.write(`\r${done} scenarios`);
}
