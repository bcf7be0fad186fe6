import { type Command, Option } from 'commander';
import type { CodecResult, RunReport } from '../conformance/index.ts';
import { ExitCode } from './exit-codes.ts';
import { CliError, usageError } from './failure.ts';
import { paint, print, printJson } from './output.ts';

type Target = 'codec' | 'emulated' | 'linux';

interface ConformanceOptions {
  readonly target: Target;
  readonly anyKernel?: boolean;
  readonly json?: boolean;
}

/** Scenarios between two lines of progress. */
const PROGRESS_EVERY = 10;

export function register(program: Command): void {
  program
    .command('conformance')
    .description('compare with what real kernels did: recorded vectors')
    .argument('<path...>', 'vector files (.jsonl or .bin, also .gz), or directories of them')
    .addOption(
      new Option('--target <target>', 'what is compared').choices(['codec', 'emulated', 'linux']).default('codec'),
    )
    .option('--any-kernel', 'linux: also scenarios of kernels that answer otherwise')
    .option('--json', 'print JSON, one result a line')
    .addHelpText(
      'after',
      `
codec: every recorded message is decoded and encoded again, and must give the same bytes.
emulated: every scenario is carried out on the emulated kernel, which must answer the same bytes.
  Its release, tick rate and alignment are those of the recorded kernel. PF_KEY is skipped.
linux: every scenario is carried out on the kernel of this machine, as root, in network namespaces made for it.
  Scenarios of another release line, tick rate or alignment are skipped unless --any-kernel is given, those with PF_KEY sockets
  where the kernel has none.
The exit code is 1 if anything differs.

Example:
  xfrmsync conformance --target emulated vectors/
  xfrmsync conformance --target linux vectors/6.1-amd64`,
    )
    .action(conformance);
}

async function conformance(paths: string[], options: ConformanceOptions): Promise<void> {
  // Loaded when it is needed: its checks of the vectors' form would double the time that any command takes to start.
  const { checkCodec, checkEmulated, checkLinux, VectorError } = await import('../conformance/index.ts');
  const { anyKernel = false } = options;
  if (anyKernel && options.target !== 'linux') throw usageError('--any-kernel is for --target linux');
  const checks: Record<Target, (path: string) => AsyncIterable<CodecResult | RunReport>> = {
    codec: checkCodec,
    emulated: checkEmulated,
    linux: (path) => checkLinux(path, { anyKernel }),
  };
  const check = checks[options.target];
  const reasons = new Map<string, number>();
  const totals: Record<CodecResult['outcome'], number> = { passed: 0, failed: 0, skipped: 0 };
  try {
    for (const path of paths) {
      for await (const result of check(path)) {
        totals[result.outcome]++;
        if (result.outcome === 'skipped') {
          const reason = result.detail ?? 'not for this target';
          reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
        }
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
  if (!options.json) for (const [reason, count] of reasons) await print(`${count} skipped: ${reason}`);
  if (options.json) await printJson({ passed, failed, skipped });
  else await print(`${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`);
  if (failed > 0)
    throw new CliError(ExitCode.FAILED, `${failed} of ${passed + failed + skipped} differ from what was recorded`);
}

async function show(result: CodecResult | RunReport, options: ConformanceOptions): Promise<void> {
  const { name, outcome, detail } = result;
  const counts = 'counts' in result ? { counts: { ...result.counts } } : {};
  if (options.json) await printJson({ name, outcome, ...counts, ...(detail !== undefined && { detail }) });
  else if (outcome === 'failed') await print(`${paint('alarm', 'failed')}  ${name}\n${indented(detail ?? '')}`);
}

const indented = (text: string): string => text.replace(/^/gm, '    ');

/** On a terminal only, where the line is written over. */
function showProgress(totals: Readonly<Record<string, number>>): void {
  const done = Object.values(totals).reduce((sum, n) => sum + n, 0);
  if (process.stderr.isTTY && done % PROGRESS_EVERY === 0) process.stderr.write(`\r${done} scenarios`);
}
