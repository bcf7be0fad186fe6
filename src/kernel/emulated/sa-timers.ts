import { Timer, type Timers } from './timers.ts';

const SLOTS_FIRST = 16;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * Which of several timers that are due at once is the first: of a wheel's slot the one that was armed last (timer.c:enqueue_timer), of
 * high-resolution timers the one that was armed first.
 */
export type Ties = 'last armed first' | 'first armed first';

/**
 * One timer for each SA of a namespace, by slot: a binary heap in typed arrays, some 24 bytes an SA. As with `Timers`, to push a pending
 * one further away is one assignment.
 */
export class SaTimers {
  readonly #timers: Timers;
  readonly #run: (slot: number) => void;
  readonly #wake = new Timer(() => this.#fire());
  readonly #now: () => number;
  readonly #lastFirst: boolean;
  /** When each is due, and at which time it stands in the heap; infinity: not at all. */
  #due = new Float64Array(SLOTS_FIRST).fill(NEVER);
  #heapMs = new Float64Array(SLOTS_FIRST).fill(NEVER);
  #heap = new Int32Array(SLOTS_FIRST);
  #size = 0;
  /** When each was armed, counted in timers. */
  #armed = new Uint32Array(SLOTS_FIRST);
  #count = 0;
  /** Those that are due now, in the order in which they run. */
  readonly #batch: number[] = [];

  constructor(timers: Timers, now: () => number, ties: Ties, run: (slot: number) => void) {
    this.#timers = timers;
    this.#now = now;
    this.#lastFirst = ties === 'last armed first';
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
    const before = this.#due[slot] as number;
    const wasPending = before !== NEVER;
    this.#due[slot] = atMs;
    // A wheel timer that stays in its slot keeps its place there (timer.c:__mod_timer).
    if (before !== atMs || !this.#lastFirst) this.#armed[slot] = ++this.#count;
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
    const batch = this.#batch;
    batch.length = 0;
    while (this.#size > 0) {
      const slot = this.#heap[0] as number;
      if ((this.#heapMs[slot] as number) > now) break;
      const due = this.#due[slot] as number;
      if (due <= now) {
        this.#removeFirst();
        batch.push(slot);
      } else if (due === NEVER) {
        this.#removeFirst();
      } else {
        this.#heapMs[slot] = due;
        this.#down();
      }
    }
    if (batch.length > 1) batch.sort((a, b) => this.#compare(a, b));
    for (const slot of batch) {
      // What ran before may have cancelled it or pushed it away.
      if ((this.#due[slot] as number) > now) continue;
      this.#due[slot] = NEVER;
      this.#run(slot);
    }
    this.#ask();
  }

  #compare(a: number, b: number): number {
    const [dueA, dueB] = [this.#due[a] as number, this.#due[b] as number];
    if (dueA !== dueB) return dueA - dueB;
    const later = (this.#armed[a] as number) - (this.#armed[b] as number);
    return this.#lastFirst ? -later : later;
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
    const armed = new Uint32Array(length);
    armed.set(this.#armed);
    this.#armed = armed;
    this.#due = due;
    this.#heapMs = heapMs;
    this.#heap = heap;
  }
}
