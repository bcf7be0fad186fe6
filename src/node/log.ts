import { mkdirSync, openSync, write, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { type DestinationStream, type Logger, pino } from 'pino';
import type { Config } from './config-schema.ts';

/** Keys have no business in a log; should one ever get near it, it is not written (S6). */
const redact = {
  paths: ['key', '*.key', '*.*.key', 'algAead', 'algAuth', 'algAuthTrunc', 'algCrypt'],
  censor: '(hidden)',
};

/** Lines that wait for a slow disk; what is beyond is dropped. */
const WAITING_MAX = 1 << 20;

/**
 * JSON lines to standard error or to a file. A log that cannot be written (a full disk) is said once on standard error and never
 * stops the node, nor does a slow disk hold it up.
 */
export function openLog(name: string, { level, file }: Config['log']): Logger {
  const base = { node: name };
  const options = { level, redact, base, timestamp: pino.stdTimeFunctions.isoTime };
  return pino(options, file === undefined ? standardError : new LogFile(file));
}

/** Written at once, so that the last line before a crash is there. */
const standardError: DestinationStream = {
  write(line) {
    try {
      writeSync(2, line);
    } catch {
      // A full disk, or a reader that is gone or does not read: nobody is left who could be told.
    }
  },
};

/** Appends to a file, one write at a time. */
class LogFile implements DestinationStream {
  readonly #path: string;
  #fd: number | undefined;
  #waiting: string[] = [];
  #bytes = 0;
  #writing = false;
  #said = false;

  constructor(path: string) {
    this.#path = path;
    try {
      mkdirSync(dirname(path), { recursive: true });
      this.#fd = openSync(path, 'a', 0o640);
    } catch (error) {
      this.#complain(error as Error);
    }
  }

  write(line: string): void {
    if (this.#fd === undefined || this.#bytes + line.length > WAITING_MAX) return;
    this.#waiting.push(line);
    this.#bytes += line.length;
    this.#next();
  }

  /** What waits is written before this returns. */
  flush(done?: (error?: Error) => void): void {
    const text = this.#take();
    try {
      if (this.#fd !== undefined && text !== '') writeSync(this.#fd, text);
    } catch (error) {
      this.#complain(error as Error);
    }
    done?.();
  }

  #next(): void {
    if (this.#writing || this.#fd === undefined || this.#waiting.length === 0) return;
    this.#writing = true;
    write(this.#fd, this.#take(), (error) => {
      this.#writing = false;
      // Lines that could not be written are gone; the next ones are tried, there may be room again.
      if (error) this.#complain(error);
      this.#next();
    });
  }

  #take(): string {
    const text = this.#waiting.join('');
    this.#waiting = [];
    this.#bytes = 0;
    return text;
  }

  #complain(error: Error): void {
    if (this.#said) return;
    this.#said = true;
    standardError.write(
      `xfrmsync: cannot write the log ${this.#path}: ${error.message}; the node goes on without it\n`,
    );
  }
}
