import type { Clock } from './clock.ts';

/**
 * Timers of one emulated machine: a binary heap over the injected clock. To push a pending timer further away, what the replay timer of a
 * busy SA does all the time, costs one assignment: the heap learns of it when the old time comes.
 */
export class Timer {
  readonly run: () => void;
  /** When it is due; infinity: not pending. */
  dueMs = Number.POSITIVE_INFINITY;
  /** Its time in the heap, at most `dueMs`; NaN: not in the heap. */
  heapMs = Number.NaN;

  constructor(run: () => void) {
    this.run = run;
  }
}

export class Timers {
  readonly #clock: Clock;
  readonly #heap: Timer[] = [];
  readonly #fire = (): void => this.#run();
  #wakeMs = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Sets the time of a timer; says whether it was pending (mod_timer). */
  arm(timer: Timer, atMs: number): boolean {
    const wasPending = timer.dueMs !== Number.POSITIVE_INFINITY;
    timer.dueMs = atMs;
    if (timer.heapMs <= atMs) return wasPending;
    if (Number.isNaN(timer.heapMs)) {
      timer.heapMs = atMs;
      this.#heap.push(timer);
      this.#up(this.#heap.length - 1);
    } else {
      timer.heapMs = atMs;
      this.#up(this.#heap.indexOf(timer));
    }
    this.#ask();
    return wasPending;
  }

  cancel(timer: Timer): void {
    timer.dueMs = Number.POSITIVE_INFINITY;
  }

  #ask(): void {
    const first = this.#heap[0];
    if (first === undefined || first.heapMs >= this.#wakeMs) return;
    this.#wakeMs = first.heapMs;
    this.#clock.wake(first.heapMs, this.#fire);
  }

  #run(): void {
    this.#wakeMs = Number.POSITIVE_INFINITY;
    const now = this.#clock.monotonicMs();
    for (let first = this.#heap[0]; first !== undefined && first.heapMs <= now; first = this.#heap[0]) {
      if (first.dueMs <= now) {
        this.#removeFirst();
        first.dueMs = Number.POSITIVE_INFINITY;
        first.run();
      } else if (first.dueMs === Number.POSITIVE_INFINITY) {
        this.#removeFirst();
      } else {
        first.heapMs = first.dueMs;
        this.#down(0);
      }
    }
    this.#ask();
  }

  #removeFirst(): void {
    const heap = this.#heap;
    (heap[0] as Timer).heapMs = Number.NaN;
    const last = heap.pop() as Timer;
    if (heap.length === 0) return;
    heap[0] = last;
    this.#down(0);
  }

  #up(index: number): void {
    const heap = this.#heap;
    const timer = heap[index] as Timer;
    let at = index;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((heap[parent] as Timer).heapMs <= timer.heapMs) break;
      heap[at] = heap[parent] as Timer;
      at = parent;
    }
    heap[at] = timer;
  }

  #down(index: number): void {
    const heap = this.#heap;
    const timer = heap[index] as Timer;
    let at = index;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && (heap[child + 1] as Timer).heapMs < (heap[child] as Timer).heapMs) child++;
      if ((heap[child] as Timer).heapMs >= timer.heapMs) break;
      heap[at] = heap[child] as Timer;
      at = child;
    }
    heap[at] = timer;
  }
}

/** Slots of one level of the timer wheel, and by how many bits a level is coarser than the one before (kernel/time/timer.c). */
const WHEEL_SLOTS = 63;
const LEVEL_BITS = 3;
const LEVELS = 9;

/**
 * The jiffy in which a wheel timer fires that was armed at `now` for `delay` jiffies later: the further away, the coarser
 * (timer.c:calc_index). Numbers beyond 2^31 stay exact as doubles.
 */
export function wheelExpiry(now: number, delay: number): number {
  let level = 0;
  let reach = WHEEL_SLOTS;
  while (delay >= reach && level < LEVELS - 1) {
    level++;
    reach *= 1 << LEVEL_BITS;
  }
  const grain = 2 ** (LEVEL_BITS * level);
  return (Math.floor((now + delay) / grain) + 1) * grain;
}
