/** The processes of a demo: started on a leash, watched, and ended without exception. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FOLDER_VARIABLE } from './folder.ts';

export interface Program {
  /** For messages and the log file. */
  readonly name: string;
  /** A JavaScript file. */
  readonly file: string;
  readonly args: readonly string[];
}

const LOG_LINES_SHOWN = 5;
const LINE_MAX = 300;
/** How long a process may take to end when it is asked to. */
const STOP_MS = 3_000;
const leash = new URL('./leash.js', import.meta.url).href;

/** The file of a program of this folder, as it is when it is built. */
export const programFile = (name: string): string => fileURLToPath(new URL(`./${name}.js`, import.meta.url));

export class Processes {
  readonly #folder: string;
  readonly #onEnd: (error: Error) => void;
  readonly #running = new Map<string, ChildProcess>();

  /** `onEnd`: a process has ended that nobody has asked to. */
  constructor(folder: string, onEnd: (error: Error) => void) {
    this.#folder = folder;
    this.#onEnd = onEnd;
  }

  start({ name, file, args }: Program): ChildProcess {
    const log = openSync(this.#log(name), 'a', 0o600);
    // A process group of its own: Ctrl-C is for the demo, which ends the others in order.
    const child = spawn(process.execPath, ['--import', leash, file, ...args], {
      detached: true,
      stdio: ['ignore', log, log, 'ipc'],
      serialization: 'advanced',
      env: { ...process.env, [FOLDER_VARIABLE]: this.#folder },
    });
    closeSync(log);
    this.#running.set(name, child);
    const ended = (how: string): void => {
      if (this.#running.get(name) !== child) return;
      this.#running.delete(name);
      this.#onEnd(new Error(`${name} has ended (${how}); it said last:\n${this.lastWords(name)}`));
    };
    child.once('error', (error) => ended(error.message));
    child.once('exit', (status, signal) => ended(signal ?? `status ${status}`));
    return child;
  }

  pid(name: string): number | undefined {
    return this.#running.get(name)?.pid;
  }

  /** SIGKILL: as sudden as the death of a machine. */
  kill(name: string): Promise<void> {
    return this.#end(name, 'SIGKILL');
  }

  /** What a process said last, for a message about a failure. */
  lastWords(name: string): string {
    try {
      const lines = readFileSync(this.#log(name), 'utf8').trimEnd().split('\n').slice(-LOG_LINES_SHOWN);
      return lines.map((line) => `  ${line.slice(0, LINE_MAX)}`).join('\n');
    } catch {
      return '  (nothing)';
    }
  }

  /** Ends all that still runs, first in peace. */
  async stop(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((name) => this.#end(name, 'SIGTERM')));
  }

  async #end(name: string, signal: NodeJS.Signals): Promise<void> {
    const child = this.#running.get(name);
    // From now on its end is what was asked for.
    this.#running.delete(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const insist = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    child.kill(signal);
    await ended;
    clearTimeout(insist);
  }

  #log(name: string): string {
    return join(this.#folder, `${name}.log`);
  }
}
