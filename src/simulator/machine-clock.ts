import type { Clock } from '../kernel/emulated/index.ts';

/** The clock of one machine: it was booted at another time than others, and its time of day is off, and jumps. */
export class MachineClock implements Clock {
  readonly #world: Clock;
  readonly #upMs: number;
  /** How far the time of day is off. */
  skewMs: number;

  /** `upMs`: for how long the machine has been up; whole milliseconds. */
  constructor(world: Clock, upMs: number, skewMs: number) {
    this.#world = world;
    this.#upMs = upMs;
    this.skewMs = skewMs;
  }

  monotonicMs(): number {
    return this.#world.monotonicMs() + this.#upMs;
  }

  realtimeMs(): number {
    return this.#world.realtimeMs() + this.skewMs;
  }

  wake(atMs: number, run: () => void): void {
    this.#world.wake(atMs - this.#upMs, run);
  }
}
