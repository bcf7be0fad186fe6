/**
 * The failover drill on a real kernel. On the host it boots a guest and runs itself there; in the guest it conducts.
 *
 *   node build/test/lab/drill.js [--kernel uml|debian-6.1|debian-6.12] [--seconds N] [--short] [--inbound strict|window] [--json]
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isGuest, runAgainInLab, tellHost } from './again.ts';
import { KERNELS } from './lab.ts';
import { type DrillResult, table } from './results.ts';

const USAGE = `usage: drill [options]

  --kernel NAME      ${KERNELS.join(', ')}                              (default uml)
  --seconds N        of traffic before and after each failover     (default 8)
  --short            the same as --seconds 3
  --inbound POLICY   strict: no replay is accepted, or window: no packet is lost  (default strict)
  --program FILE     the CLI to test                               (default dist/cli/main.js)
  --json             the last line is the result as one JSON object
  --help             this text
`;

const SECONDS_MAX = 600;
/** Booting, building and two attacks, on the slowest kernel. */
const TIMEOUT_BASE_MS = 600_000;

const self = fileURLToPath(import.meta.url);

function usageError(message: string): never {
  process.stderr.write(`drill: ${message}\n${USAGE}`);
  process.exit(2);
}

function readOptions() {
  let values: Record<string, string | boolean | undefined>;
  try {
    values = parseArgs({
      options: {
        kernel: { type: 'string', default: 'uml' },
        seconds: { type: 'string' },
        short: { type: 'boolean', default: false },
        inbound: { type: 'string', default: 'strict' },
        program: { type: 'string', default: join(dirname(self), '..', '..', '..', 'dist', 'cli', 'main.js') },
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
  const seconds = Number(values.seconds ?? (values.short ? 3 : 8));
  if (!(seconds >= 1 && seconds <= SECONDS_MAX)) usageError(`--seconds takes 1 to ${SECONDS_MAX}`);
  const kernel = KERNELS.find((name) => name === values.kernel) ?? usageError(`--kernel takes ${KERNELS.join(', ')}`);
  const { inbound } = values;
  if (inbound !== 'strict' && inbound !== 'window') return usageError('--inbound takes strict or window');
  const program = resolve(String(values.program));
  if (!existsSync(program)) usageError(`${program} is not there: run "npm run build" first`);
  return { kernel, seconds, inbound, program, json: values.json === true } as const;
}

type Options = ReturnType<typeof readOptions>;

async function onHost(options: Options): Promise<number> {
  const started = performance.now();
  const { kernel, seconds } = options;
  const result = await runAgainInLab<DrillResult>(kernel, self, TIMEOUT_BASE_MS + seconds * 4000);
  process.stdout.write(`${table(result)}\n`);
  process.stdout.write(`boot and drill took ${Math.round((performance.now() - started) / 1000)} s\n`);
  if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  return result.ok ? 0 : 1;
}

async function inGuest(options: Options): Promise<number> {
  const { conduct } = await import('./conduct.ts');
  const result = await conduct({ ...options, progress: (text) => process.stdout.write(`${text}\n`) });
  tellHost(result);
  return result.ok ? 0 : 1;
}

const options = readOptions();
try {
  process.exitCode = await (isGuest() ? inGuest(options) : onHost(options));
} catch (error) {
  process.stderr.write(`drill: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
