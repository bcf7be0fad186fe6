/**
 * A terminal for the characters and control sequences that the demo writes, as xterm takes them (ECMA-48, DEC private modes).
 * Whatever else comes is an error: what this terminal shows is what any other one would.
 */

/** Numbers of SGR 30 to 37, or nothing: the terminal's own. */
export interface Style {
  readonly bold: boolean;
  readonly dim: boolean;
  readonly foreground: number | undefined;
}

export interface Cell {
  readonly character: string;
  readonly style: Style;
}

export type Row = readonly Cell[];

interface Page {
  rows: Cell[][];
  x: number;
  y: number;
  style: Style;
}

const PLAIN: Style = { bold: false, dim: false, foreground: undefined };
const BLANK: Cell = { character: ' ', style: PLAIN };
/** Of the main screen. */
const SCROLLED_ROWS_MAX = 10_000;

const ESCAPE = '\x1b';
/** Behind the escape character. */
const CONTROL = /^\[(?<mark>\??)(?<parameters>[\d;]*)(?<final>[@-~])/;
/** May become a sequence when more of it comes. */
const BEGINNING = /^(?:\[\??[\d;]*)?$/;
const SEQUENCE_MAX = 24;
/** ASCII, and the lower block elements, of which each takes one cell. */
const PRINTABLE = /^[\x20-\x7e\u2581-\u2588]$/;

export class UnknownSequence extends Error {
  override readonly name = 'UnknownSequence';
  readonly code = 'UNKNOWN_SEQUENCE';

  constructor(text: string) {
    super(`the terminal does not know ${JSON.stringify(text)}`);
  }
}

export class Terminal {
  readonly #columns: number;
  readonly #rows: number;
  readonly #main: Page;
  #page: Page;
  readonly #scrolled: Row[] = [];
  #wraps = true;
  /** The last column is written, and the next character belongs into the next line. */
  #full = false;
  #rest = '';

  constructor(columns: number, rows: number) {
    this.#columns = columns;
    this.#rows = rows;
    this.#main = this.#blankPage();
    this.#page = this.#main;
  }

  /** What is seen now. */
  get screen(): readonly Row[] {
    return this.#page.rows.map((row) => [...row]);
  }

  get alternate(): boolean {
    return this.#page !== this.#main;
  }

  /** Everything on the main screen down to the cursor, with what has left it at the top. */
  get paper(): readonly Row[] {
    const { rows, x, y } = this.#main;
    return [...this.#scrolled, ...rows.slice(0, x === 0 ? y : y + 1).map((row) => [...row])];
  }

  /** @throws UnknownSequence */
  write(text: string): void {
    const all = this.#rest + text;
    this.#rest = '';
    let at = 0;
    while (at < all.length) {
      const character = all[at] as string;
      if (character !== ESCAPE) {
        this.#put(character);
        at++;
        continue;
      }
      const tail = all.slice(at + 1, at + SEQUENCE_MAX);
      const groups = CONTROL.exec(tail)?.groups;
      if (groups === undefined) {
        if (tail.length === SEQUENCE_MAX - 1 || !BEGINNING.test(tail)) throw new UnknownSequence(ESCAPE + tail);
        this.#rest = ESCAPE + tail;
        return;
      }
      const { mark = '', parameters = '', final = '' } = groups;
      this.#control(mark, parameters, final);
      at += 2 + mark.length + parameters.length + final.length;
    }
  }

  /** @throws UnknownSequence if the text ended within a sequence */
  end(): void {
    if (this.#rest !== '') throw new UnknownSequence(this.#rest);
  }

  #put(character: string): void {
    const page = this.#page;
    if (character === '\r') {
      page.x = 0;
      this.#full = false;
    } else if (character === '\n') this.#lineFeed();
    else if (PRINTABLE.test(character)) {
      if (this.#full && this.#wraps) {
        page.x = 0;
        this.#lineFeed();
      }
      (page.rows[page.y] as Cell[])[page.x] = { character, style: page.style };
      this.#full = page.x === this.#columns - 1;
      if (!this.#full) page.x++;
    } else throw new UnknownSequence(character);
  }

  #lineFeed(): void {
    const page = this.#page;
    this.#full = false;
    if (page.y < this.#rows - 1) {
      page.y++;
      return;
    }
    const [top] = page.rows.splice(0, 1);
    page.rows.push(this.#blankRow());
    if (page !== this.#main || top === undefined) return;
    if (this.#scrolled.length === SCROLLED_ROWS_MAX) throw new Error(`more than ${SCROLLED_ROWS_MAX} rows of output`);
    this.#scrolled.push(top);
  }

  #control(mark: string, parameters: string, final: string): void {
    if (mark === '?' && (final === 'h' || final === 'l')) {
      this.#mode(parameters, final === 'h');
      return;
    }
    if (mark === '' && final === 'm') {
      for (const number of parameters.split(';')) this.#style(Number(number));
      return;
    }
    const page = this.#page;
    switch (`${mark}${parameters}${final}`) {
      case 'H':
        page.x = 0;
        page.y = 0;
        this.#full = false;
        return;
      case 'K':
        (page.rows[page.y] as Cell[]).fill(BLANK, page.x);
        return;
      case 'J':
        (page.rows[page.y] as Cell[]).fill(BLANK, page.x);
        for (let y = page.y + 1; y < this.#rows; y++) page.rows[y] = this.#blankRow();
        return;
      case '2J':
        page.rows = this.#blankPage().rows;
        return;
    }
    throw new UnknownSequence(`${ESCAPE}[${mark}${parameters}${final}`);
  }

  #mode(parameters: string, on: boolean): void {
    switch (parameters) {
      case '7': // DECAWM
        this.#wraps = on;
        return;
      case '25': // DECTCEM: no cursor is drawn anyway
        return;
      case '1049': // the alternate screen, blank; the main one keeps its cursor
        this.#page = on ? this.#blankPage() : this.#main;
        this.#full = false;
        return;
    }
    throw new UnknownSequence(`${ESCAPE}[?${parameters}${on ? 'h' : 'l'}`);
  }

  #style(number: number): void {
    const page = this.#page;
    if (number === 0) page.style = PLAIN;
    else if (number === 1) page.style = { ...page.style, bold: true };
    else if (number === 2) page.style = { ...page.style, dim: true };
    else if (number === 22) page.style = { ...page.style, bold: false, dim: false };
    else if (number >= 30 && number <= 37) page.style = { ...page.style, foreground: number };
    else if (number === 39) page.style = { ...page.style, foreground: undefined };
    else throw new UnknownSequence(`${ESCAPE}[${number}m`);
  }

  #blankRow(): Cell[] {
    return new Array<Cell>(this.#columns).fill(BLANK);
  }

  #blankPage(): Page {
    return { rows: Array.from({ length: this.#rows }, () => this.#blankRow()), x: 0, y: 0, style: PLAIN };
  }
}

/** A row as text, without the blanks at its end. */
export const textOf = (row: Row): string =>
  row
    .map(({ character }) => character)
    .join('')
    .trimEnd();
