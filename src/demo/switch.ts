import { nowMs } from './clock.ts';
import type { Port } from './recording.ts';

export type Gateway = Exclude<Port, 'peer'>;

/** Knows, as a switch does, which gateway holds the shared address: the last one from which anything came. */
export class Switch {
  #holder: Gateway | undefined;
  #sinceMs = 0;

  get holder(): Gateway | undefined {
    return this.#holder;
  }

  /** Since when, by `nowMs`. */
  get sinceMs(): number {
    return this.#sinceMs;
  }

  heard(from: Gateway): void {
    if (from === this.#holder) return;
    this.#holder = from;
    this.#sinceMs = nowMs();
  }
}
