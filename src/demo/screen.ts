/** A terminal that shows one picture after the other, and is as it was afterwards. */

/** Alternate screen, hidden cursor, no line wrap (DEC private modes 1049, 25 and 7). */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_TO_LINE_END = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';

export class Screen {
  readonly #out: NodeJS.WriteStream;
  #entered = false;
  /** Also when the process ends for a reason that nobody has foreseen. */
  readonly #leave = (): void => this.close();

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  show(lines: readonly string[]): void {
    if (!this.#entered) {
      this.#entered = true;
      process.once('exit', this.#leave);
      this.#out.write(ENTER);
    }
    // A picture that the terminal has not taken yet is not followed by another one.
    if (this.#out.writableNeedDrain) return;
    const shown = lines.slice(0, this.#out.rows ?? lines.length);
    // Each line is cleared before it is written: behind one of full width the cursor stands on its last character.
    const text = shown.map((line, i) => (i === shown.length - 1 ? CLEAR_BELOW : CLEAR_TO_LINE_END) + line);
    this.#out.write(HOME + text.join('\r\n'));
  }

  close(): void {
    if (!this.#entered) return;
    this.#entered = false;
    process.off('exit', this.#leave);
    this.#out.write(LEAVE);
  }
}
