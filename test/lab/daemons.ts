/** The program under test, on both gateways, through its command line alone. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Gateway, SYNC } from './world.ts';

export interface Status {
  node: string;
  role: 'active' | 'standby';
  term: number;
  peers: { connected: boolean }[];
  complete: boolean;
  sas: number;
}

export type Settings = Readonly<Record<string, Readonly<Record<string, string | number | boolean>>>>;

const run = promisify(execFile);
/** One command of the CLI: starting Node.js alone takes most of a second in an emulated machine. */
const COMMAND_TIMEOUT_MS = 60_000;
const POLL_MS = 300;
const LOG_LINES_SHOWN = 15;
const nodeName = (gateway: Gateway) => (gateway === 'gwa' ? 'a' : 'b');

/** Sets keys of a TOML text made of plain tables, whether they are there or not. */
export function withSettings(toml: string, settings: Settings): string {
  const tables = toml.split(/^(?=\[[^\]]+\]\s*$)/m);
  for (const [table, keys] of Object.entries(settings)) {
    let at = tables.findIndex((text) => text.startsWith(`[${table}]`));
    if (at < 0) {
      tables.push('\n');
      at = tables.push(`[${table}]\n`) - 1;
    }
    let text = tables[at] as string;
    for (const [key, value] of Object.entries(keys)) {
      const line = `${key} = ${JSON.stringify(value)}`;
      const old = new RegExp(`^${key}\\s*=.*$`, 'm');
      text = old.test(text) ? text.replace(old, () => line) : text.replace(/\n/, () => `\n${line}\n`);
    }
    tables[at] = text;
  }
  return tables.join('');
}

export class Daemons {
  readonly #program: string;
  readonly #directory: string;
  readonly #running = new Map<Gateway, ChildProcess>();

  /** `program`: the JavaScript file of the CLI; `directory`: private to this run. */
  constructor(program: string, directory: string) {
    this.#program = program;
    this.#directory = directory;
  }

  #config(gateway: Gateway): string {
    return join(this.#directory, 'cluster', nodeName(gateway), 'xfrmsync.toml');
  }

  #log(gateway: Gateway): string {
    return join(this.#directory, `${gateway}.log`);
  }

  async init(settings: Settings): Promise<void> {
    const nodes = (['gwa', 'gwb'] as const).flatMap((gateway) => ['--node', `${nodeName(gateway)}=${SYNC[gateway]}`]);
    const args = [this.#program, 'init', join(this.#directory, 'cluster'), '--cluster', 'lab', ...nodes];
    await run(process.execPath, args, { timeout: COMMAND_TIMEOUT_MS });
    for (const gateway of ['gwa', 'gwb'] as const) {
      const file = this.#config(gateway);
      writeFileSync(file, withSettings(readFileSync(file, 'utf8'), settings));
    }
  }

  start(gateway: Gateway): void {
    const log = openSync(this.#log(gateway), 'a');
    const args = ['netns', 'exec', gateway, process.execPath, this.#program, 'daemon', '-c', this.#config(gateway)];
    // `ip netns exec` becomes the program: the child's id is the daemon's.
    this.#running.set(gateway, spawn('ip', args, { stdio: ['ignore', log, log] }));
    closeSync(log);
  }

  /** SIGKILL, as sudden as the death of a machine. */
  async kill(gateway: Gateway): Promise<void> {
    const child = this.#running.get(gateway);
    this.#running.delete(gateway);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  /** What the daemon said last, for a message about a failure. */
  lastWords(gateway: Gateway): string {
    try {
      return readFileSync(this.#log(gateway), 'utf8').trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join('\n');
    } catch {
      return '(it has written no log)';
    }
  }

  /** A command of the CLI with its JSON answer. @throws Error with what it wrote on stderr */
  async command<T>(gateway: Gateway, words: readonly string[]): Promise<T> {
    const args = [
      'netns',
      'exec',
      gateway,
      process.execPath,
      this.#program,
      ...words,
      '-c',
      this.#config(gateway),
      '--json',
    ];
    try {
      const { stdout } = await run('ip', args, { timeout: COMMAND_TIMEOUT_MS });
      return JSON.parse(stdout) as T;
    } catch (error) {
      const { stderr, message } = error as { stderr?: string; message: string };
      throw new Error(`xfrmsync ${words.join(' ')} on ${gateway}: ${stderr?.trim() || message}`);
    }
  }

  /** Asks until the answer is right. @throws Error after `timeoutMs`, with the last answer and the daemon's last words */
  async until(gateway: Gateway, what: string, right: (status: Status) => boolean, timeoutMs = 60_000): Promise<Status> {
    const deadline = performance.now() + timeoutMs;
    let last = '';
    while (performance.now() < deadline) {
      const child = this.#running.get(gateway);
      if (child && (child.exitCode !== null || child.signalCode !== null)) {
        throw new Error(
          `the daemon on ${gateway} ended (${child.exitCode ?? child.signalCode}):\n${this.lastWords(gateway)}`,
        );
      }
      try {
        const status = await this.command<Status>(gateway, ['status']);
        if (right(status)) return status;
        last = JSON.stringify(status);
      } catch (error) {
        // Not listening yet.
        last = (error as Error).message;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    throw new Error(`${gateway} is not ${what} after ${timeoutMs / 1000} s: ${last}\n${this.lastWords(gateway)}`);
  }

  async stop(): Promise<void> {
    for (const gateway of [...this.#running.keys()]) await this.kill(gateway);
  }
}
