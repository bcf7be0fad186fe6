import { Timer, type Timers } from './timers.ts';

const SLOTS_FIRST = 16;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * One timer for each SA of a namespace, by slot: a binary heap in typed arrays, some twenty bytes an SA. As with `Timers`, to push a pending
 * one further away is one assignment.
 */
export class SaTimers {
  readonly #timers: Timers;
  readonly #run: (slot: number) => void;
  readonly #wake = new Timer(() => this.#fire());
  readonly #now: () => number;
  /** When each is due, and at which time it stands in the heap; infinity: not at all. */
  #due = new Float64Array(SLOTS_FIRST).fill(NEVER);
  #heapMs = new Float64Array(SLOTS_FIRST).fill(NEVER);
  #heap = new Int32Array(SLOTS_FIRST);
  #size = 0;

  constructor(timers: Timers, now: () => number, run: (slot: number) => void) {
    this.#timers = timers;
    this.#now = now;
    this.#run = run;
  }

  isPending(slot: number): boolean {
    return slot < this.#due.length && this.#due[slot] !== NEVER;
  }

  /** When it is due; infinity: not at all. */
  dueMs(slot: number): number {
    return this.#due[slot] ?? NEVER;
  }

  /** Sets the time of a timer; says whether it was pending (mod_timer). */
  arm(slot: number, atMs: number): boolean {
    if (slot >= this.#due.length) this.#grow(slot);
    const wasPending = this.#due[slot] !== NEVER;
    this.#due[slot] = atMs;
    const heapMs = this.#heapMs[slot] as number;
    if (heapMs <= atMs) return wasPending;
    this.#heapMs[slot] = atMs;
    if (heapMs === NEVER) {
      this.#heap[this.#size] = slot;
      this.#up(this.#size++);
    } else {
      this.#up(this.#heap.subarray(0, this.#size).indexOf(slot));
    }
    if (this.#heap[0] === slot) this.#ask();
    return wasPending;
  }

  cancel(slot: number): void {
    if (slot < this.#due.length) this.#due[slot] = NEVER;
  }

  #ask(): void {
    if (this.#size === 0) return;
    const first = this.#heapMs[this.#heap[0] as number] as number;
    if (first < this.#wake.dueMs) this.#timers.arm(this.#wake, first);
  }

  #fire(): void {
    const now = this.#now();
    while (this.#size > 0) {
      const slot = this.#heap[0] as number;
      if ((this.#heapMs[slot] as number) > now) break;
      const due = this.#due[slot] as number;
      if (due <= now) {
        this.#removeFirst();
        this.#due[slot] = NEVER;
        this.#run(slot);
      } else if (due === NEVER) {
        this.#removeFirst();
      } else {
        this.#heapMs[slot] = due;
        this.#down();
      }
    }
    this.#ask();
  }

  #removeFirst(): void {
    this.#heapMs[this.#heap[0] as number] = NEVER;
    this.#size--;
    if (this.#size === 0) return;
    this.#heap[0] = this.#heap[this.#size] as number;
    this.#down();
  }

  #up(from: number): void {
    const heap = this.#heap;
    const slot = heap[from] as number;
    const ms = this.#heapMs[slot] as number;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((this.#heapMs[heap[parent] as number] as number) <= ms) break;
      heap[at] = heap[parent] as number;
      at = parent;
    }
    heap[at] = slot;
  }

  #down(): void {
    const heap = this.#heap;
    const slot = heap[0] as number;
    const ms = this.#heapMs[slot] as number;
    const msAt = (at: number): number => this.#heapMs[heap[at] as number] as number;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && msAt(child + 1) < msAt(child)) child++;
      if (msAt(child) >= ms) break;
      heap[at] = heap[child] as number;
      at = child;
    }
    heap[at] = slot;
  }

  #grow(slot: number): void {
    const length = Math.max(slot + 1, Math.ceil(1.25 * this.#due.length));
    const due = new Float64Array(length).fill(NEVER);
    due.set(this.#due);
    const heapMs = new Float64Array(length).fill(NEVER);
    heapMs.set(this.#heapMs);
    const heap = new Int32Array(length);
    heap.set(this.#heap);
    this.#due = due;
    this.#heapMs = heapMs;
    this.#heap = heap;
  }
}
