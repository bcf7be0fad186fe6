import type { VirtualClock } from '../kernel/emulated/index.ts';

/** What is to happen, in the order of the virtual clock; at the same time, in the order in which it was asked for. */
export class Schedule {
  readonly #clock: VirtualClock;
  readonly #heap: Entry[] = [];
  #asked = 0;
  /** Events that have happened. */
  steps = 0;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  get nowMs(): number {
    return this.#clock.monotonicMs();
  }

  after(ms: number, run: () => void): void {
    this.at(this.nowMs + ms, run);
  }

  at(ms: number, run: () => void): void {
    // Times are whole 64ths: sums of them are exact, so that no clock with an offset sees a timer too early.
    const entry = { ms: Math.max(this.nowMs, Math.ceil(ms * GRAIN) / GRAIN), order: this.#asked++, run };
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, heap[parent] as Entry)) break;
      heap[at] = heap[parent] as Entry;
      at = parent;
    }
    heap[at] = entry;
  }

  /** Lets the next thing happen, a timer of a kernel or an event. False: there is none until `untilMs`, which is now. */
  next(untilMs: number): boolean {
    const first = this.#heap[0];
    const eventMs = first?.ms ?? Number.POSITIVE_INFINITY;
    const timerMs = this.#clock.nextMs;
    if (Math.min(eventMs, timerMs) > untilMs) {
      this.#clock.advanceTo(untilMs);
      return false;
    }
    this.steps++;
    this.#clock.advanceTo(Math.min(eventMs, timerMs));
    if (first !== undefined && eventMs < timerMs) {
      this.#removeFirst();
      first.run();
    }
    return true;
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child++;
      if (!isBefore(heap[child] as Entry, last)) break;
      heap[at] = heap[child] as Entry;
      at = child;
    }
    heap[at] = last;
  }
}

interface Entry {
  readonly ms: number;
  readonly order: number;
  readonly run: () => void;
}

const GRAIN = 64;

const isBefore = (a: Entry, b: Entry): boolean => a.ms < b.ms || (a.ms === b.ms && a.order < b.order);
