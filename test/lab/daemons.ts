/** The program under test, on both gateways, through its command line and its control socket. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type ControlRequest, callControl, type Status } from '../../src/node/index.ts';
import { GATEWAYS, type Gateway, SYNC } from './world.ts';

export type Settings = Readonly<
  Record<string, Readonly<Record<string, string | number | boolean | readonly number[]>>>
>;

const run = promisify(execFile);
/** One command of the CLI: starting Node.js alone takes most of a second in an emulated machine. */
const COMMAND_TIMEOUT_MS = 60_000;
const POLL_MS = 100;
const LOG_LINES_SHOWN = 15;
const WITH_BOOT_ID = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"';
/** The other gateway is connected, as a node sees it. */
export const peerSeen = ({ peers }: Status): boolean => peers.every(({ connected }) => connected);
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
  /** What `init` wrote. */
  readonly #written = new Map<Gateway, string>();
  /** Files with a boot id of their own, of gateways that were booted since the guest was. */
  readonly #bootIds = new Map<Gateway, string>();

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
    const nodes = GATEWAYS.flatMap((gateway) => ['--node', `${nodeName(gateway)}=${SYNC[gateway]}`]);
    const args = [this.#program, 'init', join(this.#directory, 'cluster'), '--cluster', 'lab', ...nodes];
    await run(process.execPath, args, { timeout: COMMAND_TIMEOUT_MS });
    for (const gateway of GATEWAYS) this.#written.set(gateway, readFileSync(this.#config(gateway), 'utf8'));
    this.configure(settings);
  }

  /** For daemons that start from now on: these settings beside what `init` wrote, and nothing known of earlier lives. */
  configure(settings: Settings): void {
    for (const gateway of GATEWAYS) {
      writeFileSync(this.#config(gateway), withSettings(this.#written.get(gateway) ?? '', settings));
      rmSync(join(this.#directory, 'cluster', nodeName(gateway), 'state'), { recursive: true, force: true });
    }
  }

  /** The next daemon on this gateway finds that the machine was booted since the last one. */
  booted(gateway: Gateway): void {
    const file = join(this.#directory, `${gateway}.boot-id`);
    writeFileSync(file, `${randomUUID()}\n`);
    this.#bootIds.set(gateway, file);
  }

  start(gateway: Gateway): void {
    const log = openSync(this.#log(gateway), 'a');
    const bootId = this.#bootIds.get(gateway);
    // `ip netns exec` gives its command a mount namespace of its own.
    const within = bootId === undefined ? [] : ['sh', '-c', WITH_BOOT_ID, 'sh', bootId];
    const daemon = [process.execPath, this.#program, 'daemon', '-c', this.#config(gateway)];
    const args = ['netns', 'exec', gateway, ...within, ...daemon];
    // `ip netns exec` becomes the program: the child's id is the daemon's.
    this.#running.set(gateway, spawn('ip', args, { stdio: ['ignore', log, log] }));
    closeSync(log);
  }

  /** SIGKILL, as sudden as the death of a machine; SIGTERM: as its operator stops it. */
  async kill(gateway: Gateway, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const child = this.#running.get(gateway);
    this.#running.delete(gateway);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }

  /** The daemon does not get a processor, or gets it again. */
  freeze(gateway: Gateway, frozen: boolean): void {
    this.#running.get(gateway)?.kill(frozen ? 'SIGSTOP' : 'SIGCONT');
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

  /** What a command asks the daemon, without the start of another program. @throws ControlError */
  async ask<T extends object>(gateway: Gateway, request: ControlRequest): Promise<T> {
    const socket = join(this.#directory, 'cluster', nodeName(gateway), 'control.sock');
    return (await callControl(socket, request, COMMAND_TIMEOUT_MS)) as T;
  }

  status(gateway: Gateway, sas = false): Promise<Status> {
    return this.ask(gateway, { command: 'status', sas });
  }

  /** Asks until the answer is right. @throws Error after `timeoutMs`, with the last answer and the daemon's last words */
  async until(
    gateway: Gateway,
    what: string,
    right: (status: Status) => boolean,
    { sas = false, timeoutMs = 60_000 } = {},
  ): Promise<Status> {
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
        const status = await this.status(gateway, sas);
        if (right(status)) return status;
        last = JSON.stringify({ ...status, list: undefined });
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
