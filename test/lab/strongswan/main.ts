/**
 * The daemons beside strongSwan, on a real kernel: `npm run strongswan:lab`. On the host it fetches strongSwan, boots a guest and runs itself
 * there.
 *
 *   node build/test/lab/strongswan/main.js [--only STEPS] [--kernel uml|debian-6.1|debian-6.12] [--json]
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isGuest, runAgainInLab, tellHost } from '../again.ts';
import { KERNELS } from '../lab.ts';
import { strongswanPackages } from './packages.ts';
import { STEPS, type StrongswanResult } from './steps.ts';

const USAGE = `usage: strongswan [options]

Steps, one after the other:
${STEPS.map(({ name, about }) => `  ${name.padEnd(18)} ${about}`).join('\n')}

  --only STEPS       some of them, with commas; the first one always runs
  --kernel NAME      ${KERNELS.join(', ')}    (default uml)
  --program FILE     the CLI to test                (default dist/cli/main.js)
  --json             the last line is the result as one JSON object
  --help             this text
`;

const TIMEOUT_MS = 1_800_000;
const TREE = 'XFRMSYNC_STRONGSWAN';
const self = fileURLToPath(import.meta.url);

function usageError(message: string): never {
  process.stderr.write(`strongswan: ${message}\n${USAGE}`);
  process.exit(2);
}

function readOptions() {
  let values: Record<string, string | boolean | undefined>;
  try {
    values = parseArgs({
      options: {
        only: { type: 'string', default: STEPS.map(({ name }) => name).join(',') },
        kernel: { type: 'string', default: 'uml' },
        program: { type: 'string', default: join(dirname(self), '..', '..', '..', '..', 'dist', 'cli', 'main.js') },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    return usageError((error as Error).message);
  }
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const kernel = KERNELS.find((name) => name === values.kernel) ?? usageError(`--kernel takes ${KERNELS.join(', ')}`);
  const only = String(values.only).split(',');
  const unknown = only.find((name) => !STEPS.some((step) => step.name === name));
  if (unknown !== undefined) usageError(`there is no step "${unknown}"`);
  const steps = STEPS.filter(({ name }, i) => i === 0 || only.includes(name));
  const program = resolve(String(values.program));
  if (!existsSync(program)) usageError(`${program} is not there: run "npm run build" first`);
  return { kernel, steps, program, json: values.json === true } as const;
}

type Options = ReturnType<typeof readOptions>;

function report({ steps }: StrongswanResult): string {
  return steps
    .flatMap(({ name, ok, facts, expectations, error }) => [
      `${ok ? 'held  ' : 'BROKEN'} ${name}${error === undefined ? '' : `: ${error}`}`,
      ...expectations.map((one) => `  ${one.ok ? 'ok    ' : 'BROKEN'} ${one.name}: ${one.detail}`),
      ...Object.entries(facts).map(([what, value]) => `         ${what}: ${value}`),
    ])
    .join('\n');
}

async function onHost({ kernel, json }: Options): Promise<number> {
  const packages = await strongswanPackages();
  if (!packages.ok) throw new Error(`strongSwan is not to be had: ${packages.why}`);
  const result = await runAgainInLab<StrongswanResult>(kernel, self, TIMEOUT_MS, { [TREE]: packages.tree });
  process.stdout.write(
    `${report(result)}\nstrongSwan ${result.version}, Linux ${result.kernel}, ${result.seconds} s\n`,
  );
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
  return result.ok ? 0 : 1;
}

async function inGuest({ program, steps }: Options): Promise<number> {
  const { runSteps } = await import('./run.ts');
  const progress = (text: string) => process.stdout.write(`${text}\n`);
  const result = await runSteps({ program, tree: process.env[TREE] ?? '', steps, progress });
  tellHost(result);
  return result.ok ? 0 : 1;
}

const options = readOptions();
try {
  process.exitCode = await (isGuest() ? inGuest(options) : onHost(options));
} catch (error) {
  process.stderr.write(`strongswan: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
