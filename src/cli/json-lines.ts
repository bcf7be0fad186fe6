import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { type AnyXfrmMessage, JsonError, messageFromJson, type XfrmKind, type XfrmMessage } from '../xfrm/index.ts';
import { usageError } from './failure.ts';

/** Characters in one line: an SA with the largest bitmap and long keys has some thousand. */
const LINE_MAX = 1 << 20;

export interface NumberedMessage<K extends XfrmKind> {
  /** For error texts: `FILE line 3`. */
  readonly where: string;
  readonly message: XfrmMessage<K>;
}

/** Messages of one kind, one JSON object a line, as the list commands print them. `-` is standard input. Empty lines are skipped. */
export async function* readJsonLines<K extends XfrmKind>(path: string, kind: K): AsyncGenerator<NumberedMessage<K>> {
  const name = path === '-' ? 'standard input' : path;
  const input = path === '-' ? process.stdin : createReadStream(path);
  let number = 0;
  try {
    // The stream itself reports a file that cannot be read; readline would pass it on as an uncaught event.
    const failed = new Promise<never>((_, reject) => input.once('error', reject));
    failed.catch(() => {});
    const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
    for (;;) {
      const next = await Promise.race([lines.next(), failed]);
      if (next.done) return;
      number++;
      if (next.value.trim() === '') continue;
      const where = `${name} line ${number}`;
      yield { where, message: parseLine(next.value, kind, where) };
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw usageError(`cannot read ${name}: ${(error as Error).message}`, error);
  }
}

function parseLine<K extends XfrmKind>(line: string, kind: K, where: string): XfrmMessage<K> {
  if (line.length > LINE_MAX) throw usageError(`${where}: longer than ${LINE_MAX} characters`);
  let message: AnyXfrmMessage;
  try {
    message = messageFromJson(JSON.parse(line));
  } catch (error) {
    // The text of a SyntaxError quotes its input, which may hold a key.
    if (error instanceof SyntaxError) throw usageError(`${where}: not JSON`);
    if (error instanceof JsonError) throw usageError(`${where}: ${error.message}`, error);
    throw error;
  }
  if (message.kind !== kind) throw usageError(`${where}: holds ${message.kind}, ${kind} is wanted`);
  return message as XfrmMessage<K>;
}
