/**
 * The fault cases on a real kernel: `npm run faults:lab`. On the host it boots a guest and runs itself there.
 *
 *   node build/test/lab/faults/main.js [CASE...] [--kernel uml|debian-6.1|debian-6.12] [--short] [--json]
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isGuest, runAgainInLab, tellHost } from '../again.ts';
import { KERNELS } from '../lab.ts';
import { FAULT_CASES } from './cases.ts';
import { FULL, SHORT } from './form.ts';
import { type FaultsResult, table } from './results.ts';

const USAGE = `usage: faults [options] [CASE...]

Cases (all of them without a word):
${FAULT_CASES.map(({ name, about }) => `  ${name.padEnd(18)} ${about}`).join('\n')}

  --kernel NAME      ${KERNELS.join(', ')}    (default uml)
  --short            fewer SAs, less traffic, 3 switchovers for 20
  --program FILE     the CLI to test                (default dist/cli/main.js)
  --json             the last line is the result as one JSON object
  --help             this text
`;

/** All cases in full, on the slowest kernel. */
const TIMEOUT_MS = 3_600_000;

const self = fileURLToPath(import.meta.url);

function usageError(message: string): never {
  process.stderr.write(`faults: ${message}\n${USAGE}`);
  process.exit(2);
}

function readOptions() {
  let parsed: { values: Record<string, string | boolean | undefined>; positionals: string[] };
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: {
        kernel: { type: 'string', default: 'uml' },
        short: { type: 'boolean', default: false },
        program: { type: 'string', default: join(dirname(self), '..', '..', '..', '..', 'dist', 'cli', 'main.js') },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    return usageError((error as Error).message);
  }
  const { values, positionals } = parsed;
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const unknown = positionals.find((name) => !FAULT_CASES.some((one) => one.name === name));
  if (unknown !== undefined) usageError(`there is no case "${unknown}"`);
  const cases = FAULT_CASES.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  const kernel = KERNELS.find((name) => name === values.kernel) ?? usageError(`--kernel takes ${KERNELS.join(', ')}`);
  const program = resolve(String(values.program));
  if (!existsSync(program)) usageError(`${program} is not there: run "npm run build" first`);
  return { cases, kernel, form: values.short ? SHORT : FULL, program, json: values.json === true } as const;
}

type Options = ReturnType<typeof readOptions>;

async function onHost({ kernel, json }: Options): Promise<number> {
  const result = await runAgainInLab<FaultsResult>(kernel, self, TIMEOUT_MS);
  process.stdout.write(`${table(result)}\n`);
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
  return result.ok ? 0 : 1;
}

async function inGuest({ program, form, cases }: Options): Promise<number> {
  const { runFaults } = await import('./run.ts');
  const result = await runFaults({ program, form, cases, progress: (text) => process.stdout.write(`${text}\n`) });
  tellHost(result);
  return result.ok ? 0 : 1;
}

const options = readOptions();
try {
  process.exitCode = await (isGuest() ? inGuest(options) : onHost(options));
} catch (error) {
  process.stderr.write(`faults: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
