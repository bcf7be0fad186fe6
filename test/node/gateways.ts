import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { callControl, initCluster, type Status } from '../../src/node/index.ts';
import { type Namespace, newNamespace } from '../kernel/native.ts';

/** Two machines in small: a network namespace each, a cable between them, and the program as its users start it. */

type Name = 'a' | 'b';
const names = ['a', 'b'] as const;
export const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const addresses = { a: '10.255.77.1', b: '10.255.77.2' };
const PORT = 4510;
const run = promisify(execFile);
/** A program has little of a busy machine, and starting Node.js takes most of what a test takes. */
const WAIT_MS = 60_000;
/** Quick enough to wait for, seldom enough to leave the processor to the daemons. */
const ASK_MS = 50;
/** For tests with these programs: longer than any wait in them. */
export const TEST_TIMEOUT_MS = 2 * WAIT_MS;

interface Daemon {
  readonly name: Name;
  readonly child: ChildProcess;
  /** All of its standard error so far. */
  readonly stderr: () => string;
  /** Exit code and signal. */
  readonly ended: Promise<[number | null, string | null]>;
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One run of the program. A `prefix` is what it is started with: nsenter, setpriv. */
export async function xfrmsync(args: readonly string[], prefix: readonly string[] = []): Promise<Outcome> {
  const [command = '', ...rest] = [...prefix, process.execPath, main, ...args];
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (piece: Buffer) => {
      text[name] += piece.toString();
    });
  }
  const [code] = (await once(child, 'close')) as [number];
  return { code, ...text };
}

export class Gateways implements AsyncDisposable {
  readonly directory: string;
  readonly namespaces: Readonly<Record<Name, Namespace>>;
  readonly daemons: Daemon[] = [];

  private constructor(directory: string, namespaces: Record<Name, Namespace>) {
    this.directory = directory;
    this.namespaces = namespaces;
  }

  static async make(): Promise<Gateways> {
    const directory = await mkdtemp(join(tmpdir(), 'xfrmsync-pair-'));
    const gateways = new Gateways(directory, { a: await newNamespace(), b: await newNamespace() });
    try {
      const nodes = names.map((name) => ({ name, address: addresses[name] }));
      await initCluster({ directory, cluster: 'test', nodes, port: PORT });
      const [pid] = /\d+/.exec(gateways.namespaces.b.path) as RegExpExecArray;
      await gateways.ip('a', 'link', 'add', 'sync0', 'type', 'veth', 'peer', 'name', 'sync0', 'netns', pid as string);
      for (const name of names) {
        await gateways.ip(name, 'address', 'add', `${addresses[name]}/24`, 'dev', 'sync0');
        await gateways.ip(name, 'link', 'set', 'lo', 'up');
        await gateways.ip(name, 'link', 'set', 'sync0', 'up');
      }
    } catch (error) {
      await gateways[Symbol.asyncDispose]();
      throw error;
    }
    return gateways;
  }

  file(name: Name, file = 'xfrmsync.toml'): string {
    return join(this.directory, name, file);
  }

  inside(name: Name): string[] {
    return ['nsenter', `--net=${this.namespaces[name].path}`];
  }

  async ip(name: Name, ...args: string[]): Promise<void> {
    const [command = '', ...rest] = [...this.inside(name), 'ip', ...args];
    await run(command, rest);
  }

  /** Replaces `from`, which must be there, in the configuration. */
  async edit(name: Name, from: string | RegExp, to: string): Promise<void> {
    const text = await readFile(this.file(name), 'utf8');
    const changed = text.replace(from, () => to);
    if (changed === text) throw new Error(`${from} is not in the configuration of ${name}`);
    await writeFile(this.file(name), changed);
  }

  /** What is in `wrapped` is given the daemon's command, and must become it. */
  start(name: Name, stderrTo: 'pipe' | number = 'pipe', wrapped: readonly string[] = []): Daemon {
    const daemon = [process.execPath, main, 'daemon', '-c', this.file(name)];
    const [command = '', ...rest] = [...this.inside(name), ...wrapped, ...daemon];
    const child = spawn(command, rest, { stdio: ['ignore', 'ignore', stderrTo] });
    let text = '';
    child.stderr?.on('data', (piece: Buffer) => {
      text += piece.toString();
    });
    const ended = once(child, 'close') as Daemon['ended'];
    const started = { name, child, stderr: () => text, ended };
    this.daemons.push(started);
    return started;
  }

  async status(name: Name): Promise<Status | undefined> {
    const asked = callControl(this.file(name, 'control.sock'), { command: 'status' });
    return asked.catch(() => undefined) as Promise<Status | undefined>;
  }

  /** Gives up with all that is known, when the time is up or the daemon has ended. */
  async until(name: Name, right: (status: Status) => boolean): Promise<Status> {
    let status: Status | undefined;
    const daemon = this.daemons.findLast((one) => one.name === name);
    await when(
      async () => {
        status = await this.status(name);
        if (status === undefined && daemon !== undefined && hasEnded(daemon)) throw new Error(`${name} has ended`);
        return status !== undefined && right(status);
      },
      () => `${name} answers ${JSON.stringify(status)}`,
    ).catch((cause: Error) => {
      const said = this.daemons.map((one) => `${one.name} said:\n${one.stderr()}`);
      throw new Error([cause.message, ...said].join('\n'), { cause });
    });
    return status as unknown as Status;
  }

  command(name: Name, ...args: string[]): Promise<Outcome> {
    return xfrmsync([...args, '-c', this.file(name)], this.inside(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child } of this.daemons) child.kill('SIGKILL');
    await Promise.all(this.daemons.map(({ ended }) => ended));
    for (const name of names) await this.namespaces[name][Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true, force: true });
  }
}

const hasEnded = ({ child }: Daemon): boolean => child.exitCode !== null || child.signalCode !== null;

/** Until the condition holds. Gives up before the test's own time-out, so that what the test has started is ended. */
export async function when(
  right: () => boolean | Promise<boolean>,
  what: () => string = () => `not so: ${right}`,
): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await right())) {
    if (performance.now() > deadline) throw new Error(`after ${WAIT_MS} ms: ${what()}`);
    await sleep(ASK_MS);
  }
}

/** Texts of the JSON lines of a log. */
export const texts = (log: string): string[] =>
  log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => (JSON.parse(line) as { msg: string }).msg);
