import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import type { Slice } from './measure.ts';
import type { Peer } from './toolchain.ts';

/** No command takes longer: slices are a quarter of a second, the slowest check is one pass over the corpus in Python. */
const ANSWER_MS_MAX = 60_000;

type Answer = ReadonlyMap<string, number>;

/** A peer that waits for commands: a line in, a line of KEY=NUMBER words out. While it waits it costs nothing. */
export class PeerProcess implements AsyncDisposable {
  readonly name: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: Interface;
  #waiting: { resolve: (line: string) => void; reject: (error: Error) => void } | undefined;
  #gone: string | undefined;

  constructor(name: string, peer: Exclude<Peer, { missing: string }>, args: readonly string[] = []) {
    this.name = name;
    const [command = '', ...rest] = peer.command;
    this.#child = spawn(command, [...rest, ...args], { env: { ...process.env, ...peer.environment } });
    this.#child.stderr.pipe(process.stderr);
    this.#child.stdin.on('error', () => {}); // 'exit' says more
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#lines.on('line', (line) => this.#settle((waiting) => waiting.resolve(line)));
    this.#child.on('error', (error) => this.#end(error.message));
    this.#child.on('close', (code, signal) => this.#end(`ended with ${signal ?? code}`));
  }

  /** Sends a command and waits for its answer. */
  async ask(command: string): Promise<Answer> {
    if (this.#gone !== undefined) throw new Error(`Peer ${this.name}: ${this.#gone}`);
    if (this.#waiting !== undefined) throw new Error(`Peer ${this.name} has not answered the last command`);
    const line = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(`no answer to "${command}" in ${ANSWER_MS_MAX} ms`), ANSWER_MS_MAX);
      const settled =
        <T>(settle: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(timer);
          settle(value);
        };
      this.#waiting = { resolve: settled(resolve), reject: settled(reject) };
      this.#child.stdin.write(`${command}\n`);
    });
    if (line.startsWith('error')) throw new Error(`Peer ${this.name}: ${line.slice(6)}`);
    return new Map(
      line.split(' ').map((word): [string, number] => {
        const [key = '', value = ''] = word.split('=');
        return [key, Number(value)];
      }),
    );
  }

  async slice(command: string): Promise<Slice> {
    const answer = await this.ask(command);
    return { messages: numberOf(answer, 'messages'), ns: numberOf(answer, 'ns') };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#gone !== undefined) return;
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end();
    this.#child.kill();
    await closed;
  }

  #settle(how: (waiting: { resolve: (line: string) => void; reject: (error: Error) => void }) => void): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) how(waiting);
  }

  #fail(why: string): void {
    this.#settle((waiting) => waiting.reject(new Error(`Peer ${this.name}: ${why}`)));
  }

  #end(why: string): void {
    this.#gone ??= why;
    this.#fail(this.#gone);
  }
}

export function numberOf(answer: Answer, key: string): number {
  const value = answer.get(key);
  if (value === undefined || Number.isNaN(value)) throw new Error(`A peer's answer lacks ${key}`);
  return value;
}
