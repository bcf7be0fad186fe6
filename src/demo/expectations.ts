import type { Expectation } from './result.ts';

/** What must hold, and whether it does. */
export class Expectations {
  readonly all: Expectation[] = [];

  check(name: string, ok: boolean, detail: string): void {
    this.all.push({ name, ok, detail });
  }

  get ok(): boolean {
    return this.all.every(({ ok }) => ok);
  }
}
