/** Something has gone wrong, or somebody wants the demo to end: whoever waits is told at once. */
export class Stop {
  readonly #tell: ((error: Error) => void)[] = [];
  #error: Error | undefined;

  /** The first error counts. */
  now(error: Error): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    for (const tell of this.#tell.splice(0)) tell(error);
  }

  get error(): Error | undefined {
    return this.#error;
  }

  /** @throws the error, if there is one by then */
  sleep(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const over = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    return this.or(over).finally(() => clearTimeout(timer));
  }

  /** What `work` gives, unless the stop comes first. */
  or<T>(work: Promise<T>): Promise<T> {
    if (this.#error !== undefined) {
      work.catch(() => {});
      return Promise.reject(this.#error);
    }
    return new Promise((resolve, reject) => {
      this.#tell.push(reject);
      const done = (): void => {
        const at = this.#tell.indexOf(reject);
        if (at >= 0) this.#tell.splice(at, 1);
      };
      work.then(resolve, reject).finally(done);
    });
  }
}

/** The demo was ended on request. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`ended by ${signal}`);
    this.signal = signal;
  }
}
