/** The host's side of the lab: whether kernels can be booted here, and running a command on one of them. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const KERNELS = ['uml', 'debian-6.1', 'debian-6.12'] as const;
export type LabKernel = (typeof KERNELS)[number];

/** The first fetch downloads some 40 MB (User-Mode Linux) or 100 MB (a Debian kernel). */
const FETCH_TIMEOUT_MS = 10 * 60_000;
/** A boot takes some seconds on an idle machine. */
const BOOT_TIMEOUT_MS = 5 * 60_000;
/** The guest ends itself at its own time limit; this much later it is killed from outside. */
const KILL_AFTER_MS = 15_000;

export interface RunOptions {
  timeoutMs?: number;
  /** Environment variables that the command gets besides PATH, HOME, USER and LANG. */
  env?: Readonly<Record<string, string>>;
  cwd?: string;
  onLine?: (line: string, stream: 'stdout' | 'stderr') => void;
}

export interface RunResult {
  status: number;
  stdout: string;
  stderr: string;
}

/** The scripts stay in the source tree; compiled, this file runs from build/test/lab. */
function labDirectory(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const source = join(here, '..', '..', '..', 'test', 'lab');
  return existsSync(join(here, 'boot-uml.sh')) ? here : source;
}

export const hookFile = (name: 'claim' | 'release'): string => join(labDirectory(), 'hooks', `${name}.sh`);

/** On an emulated machine that has to share its processor a hook takes seconds. */
const HOOK_TIMEOUT_MS = 60_000;

/** For the daemons' configuration. */
export const hookSettings = () => ({
  claim: hookFile('claim'),
  release: hookFile('release'),
  timeout_ms: HOOK_TIMEOUT_MS,
});

function bootCommand(kernel: LabKernel): string[] {
  if (kernel === 'uml') return [join(labDirectory(), 'boot-uml.sh')];
  return [join(labDirectory(), 'boot-debian.sh'), '--kernel', kernel.slice('debian-'.length)];
}

export function run(argv: readonly string[], options: RunOptions & { timeoutMs: number }): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const [program, ...args] = argv as [string, ...string[]];
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const text = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      createInterface({ input: child[stream] }).on('line', (line) => {
        text[stream] += `${line}\n`;
        options.onLine?.(line, stream);
      });
    }
    const timer = setTimeout(() => child.kill('SIGTERM'), options.timeoutMs + KILL_AFTER_MS);
    const interrupted = () => child.kill('SIGTERM');
    process.on('SIGINT', interrupted).on('SIGTERM', interrupted);
    const done = () => {
      clearTimeout(timer);
      process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
    };
    child.on('error', (error) => {
      done();
      reject(error);
    });
    child.on('close', (status) => {
      done();
      resolve({ status: status ?? 125, ...text });
    });
  });
}

/** Whether a kernel boots here; fetches it the first time. Never throws. */
export async function labAvailable(kernel: LabKernel = 'uml'): Promise<{ ok: true } | { ok: false; why: string }> {
  if (process.platform !== 'linux')
    return { ok: false, why: `the lab's kernels run on Linux, this is ${process.platform}` };
  try {
    const fetched = await run([...bootCommand(kernel), '--fetch'], { timeoutMs: FETCH_TIMEOUT_MS });
    if (fetched.status !== 0) return { ok: false, why: fetched.stderr.trim() };
    const booted = await runInLab(kernel, ['true'], { timeoutMs: BOOT_TIMEOUT_MS });
    return booted.status === 0 ? { ok: true } : { ok: false, why: booted.stderr.trim() };
  } catch (error) {
    return { ok: false, why: (error as Error).message };
  }
}

/**
 * Boots a kernel and runs a command on it as root, in the same directory and with the same files. Status 124: time limit; 125: the guest
 * did not start or died.
 */
export function runInLab(kernel: LabKernel, command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const timeoutMs = options.timeoutMs ?? 300_000;
  const env = Object.entries(options.env ?? {}).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  const argv = [...bootCommand(kernel), '--timeout', String(Math.ceil(timeoutMs / 1000)), ...env, '--', ...command];
  return run(argv, { ...options, timeoutMs });
}
