import type { Expectation } from './results.ts';

/** What a run has to prove, each with what was found. */
export class Expectations {
  readonly list: Expectation[] = [];
  readonly #say: (text: string) => void;

  constructor(say: (text: string) => void) {
    this.#say = say;
  }

  check(name: string, ok: boolean, detail: string): void {
    this.list.push({ name, ok, detail });
    if (!ok) this.#say(`BROKEN: ${name}: ${detail}`);
  }

  get ok(): boolean {
    return this.list.every(({ ok }) => ok);
  }
}
