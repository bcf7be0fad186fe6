/** Time comes from outside: the machine's clock, or one that a test or the simulator moves by hand. */
export interface Clock {
  /** Milliseconds that never go back (CLOCK_BOOTTIME). */
  monotonicMs(): number;
  /** Milliseconds since the epoch (CLOCK_REALTIME). */
  realtimeMs(): number;
  /** Asks for `run` to be called at `atMs` of the monotonic clock. Each call replaces what `run` had asked for before. */
  wake(atMs: number, run: () => void): void;
}

/** setTimeout takes at most this; a longer wait is made of several. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** The clock of this machine. Waiting for a timer does not keep the process alive. */
export function systemClock(): Clock {
  const pending = new Map<() => void, NodeJS.Timeout>();
  return {
    monotonicMs: () => performance.now(),
    realtimeMs: () => Date.now(),
    wake(atMs, run) {
      clearTimeout(pending.get(run));
      const delay = Math.min(Math.max(0, Math.ceil(atMs - performance.now())), TIMEOUT_MS_MAX);
      const fire = (): void => {
        pending.delete(run);
        run();
      };
      pending.set(run, setTimeout(fire, delay).unref());
    },
  };
}

/** A clock that stands still until it is told to move. */
export class VirtualClock implements Clock {
  readonly #wakes = new Map<() => void, number>();
  #epochMs: number;
  #nowMs = 0;

  /** `epochMs`: the time of day at the start. */
  constructor(epochMs = 1_700_000_000_000) {
    this.#epochMs = epochMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  realtimeMs(): number {
    return this.#epochMs + this.#nowMs;
  }

  wake(atMs: number, run: () => void): void {
    this.#wakes.set(run, atMs);
  }

  /** When the next timer is due; infinity if none is. */
  get nextMs(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#wakes.values());
  }

  /** Moves to `atMs`, running what is due on the way, in order. */
  advanceTo(atMs: number): void {
    for (let next = this.nextMs; next <= atMs; next = this.nextMs) {
      this.#nowMs = Math.max(this.#nowMs, next);
      for (const [run, when] of this.#wakes) {
        if (when > this.#nowMs) continue;
        this.#wakes.delete(run);
        run();
        break;
      }
    }
    this.#nowMs = Math.max(this.#nowMs, atMs);
  }

  /** Sets the time of day forward, or back if negative, as an administrator or NTP does; timers and the monotonic clock stay. */
  stepRealtime(ms: number): void {
    this.#epochMs += ms;
  }

  advance(ms: number): void {
    this.advanceTo(this.#nowMs + ms);
  }
}
