import type { Durable } from '../replica/index.ts';
import type { Random } from './random.ts';
import type { Schedule } from './schedule.ts';

/** Role and term of one machine, as `role/` keeps them: a crash leaves the old or the new, never half of either. */
export class Disk {
  stored: (Durable & { readonly bootId: number }) | undefined;
  /** How many daemons have started from it. */
  lives = 0;
  /** Limits of key managers that ceilings hide, of one boot. */
  limits: { bootId: number; of: readonly (readonly [sa: string, limit: bigint])[] } = { bootId: 0, of: [] };
  /** Writes wait until then. */
  stalledUntilMs = 0;
  /** Writes fail until then. */
  failsUntilMs = 0;
  #under:
    | { readonly value: NonNullable<Disk['stored']>; readonly done: (failure: string | undefined) => void }
    | undefined;
  readonly #schedule: Schedule;
  readonly #random: Random;
  readonly #onStored: (value: Durable) => void;

  constructor(schedule: Schedule, random: Random, onStored: (value: Durable) => void) {
    this.#schedule = schedule;
    this.#random = random;
    this.#onStored = onStored;
  }

  write(value: NonNullable<Disk['stored']>, done: (failure: string | undefined) => void): void {
    const write = { value, done };
    this.#under = write;
    const { nowMs } = this.#schedule;
    const ms = this.#random.between(1, 8) / 4;
    this.#schedule.at(Math.max(nowMs, this.stalledUntilMs) + ms, () => {
      if (this.#under !== write) return; // the writer is gone
      this.#under = undefined;
      if (this.#schedule.nowMs < this.failsUntilMs) done('ENOSPC: no space left on device');
      else {
        this.#store(value);
        done(undefined);
      }
    });
  }

  /** The writer dies: what it was writing is there, or it is not. */
  crash(): void {
    const write = this.#under;
    this.#under = undefined;
    if (write !== undefined && this.#schedule.nowMs >= this.failsUntilMs && this.#random.chance(0.5))
      this.#store(write.value);
  }

  #store(value: NonNullable<Disk['stored']>): void {
    this.stored = value;
    this.#onStored(value);
  }
}
