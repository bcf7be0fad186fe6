import type { ChildProcess } from 'node:child_process';
import type { Relay } from './relay.ts';

type Methods = Pick<Relay, 'ports' | 'wire' | 'counts' | 'replay' | 'reused' | 'spis' | 'lastNumbers' | 'skips'>;
type Method = keyof Methods;

export interface PathCall {
  readonly id: number;
  readonly method: Method;
  readonly args: unknown[];
}

export interface PathAnswer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

type Waiting = { resolve: (result: never) => void; reject: (error: Error) => void; timer: NodeJS.Timeout };

/** A replay of everything is the longest that the path is asked for. */
const ANSWER_MS = 120_000;

/** The conductor's end of the channel to the path: the methods of `Relay`, in another process. */
export class PathClient {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #id = 0;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (message) => this.#onAnswer(message as PathAnswer));
    child.once('exit', () => this.#failAll('the path process has ended'));
  }

  call<K extends Method>(method: K, ...args: Parameters<Methods[K]>): Promise<Awaited<ReturnType<Methods[K]>>> {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      const late = (): void => this.#fail(id, `the path did not answer "${method}" within ${ANSWER_MS / 1000} s`);
      this.#waiting.set(id, { resolve, reject, timer: setTimeout(late, ANSWER_MS) });
      this.#child.send({ id, method, args } satisfies PathCall, (error) => {
        if (error) this.#fail(id, `the path cannot be asked "${method}": ${error.message}`);
      });
    });
  }

  #onAnswer({ id, result, error }: PathAnswer): void {
    if (error !== undefined) this.#fail(id, `the path: ${error}`);
    else this.#take(id)?.resolve(result as never);
  }

  #fail(id: number, text: string): void {
    this.#take(id)?.reject(new Error(text));
  }

  #failAll(text: string): void {
    for (const id of [...this.#waiting.keys()]) this.#fail(id, text);
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    clearTimeout(waiting?.timer);
    return waiting;
  }
}
