import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';
import type { JsonObject } from '../xfrm/index.ts';
import { ExitCode } from './exit-codes.ts';
import { CliError, usageError } from './failure.ts';

/** A reader that goes away (`xfrmsync monitor | head`) ends the program without a word. */
export function endQuietlyWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(ExitCode.OK);
    process.stderr.write(`xfrmsync: cannot write: ${error.message}\n`);
    process.exit(ExitCode.FAILED);
  });
}

/** Waits while the reader is behind, so that what is not yet read stays bounded. */
export async function print(text: string): Promise<void> {
  if (!process.stdout.write(`${text}\n`)) await once(process.stdout, 'drain');
}

/** One object a line. */
export function printJson(object: JsonObject): Promise<void> {
  return print(JSON.stringify(object));
}

const styles = { strong: '1', faint: '2', alarm: '31' } as const;

/** Colours for people at a terminal only; https://no-color.org. */
export function paint(style: keyof typeof styles, text: string): string {
  const { NO_COLOR, TERM } = process.env;
  const wanted = process.stdout.isTTY === true && (NO_COLOR ?? '') === '' && TERM !== 'dumb';
  return wanted ? `\x1b[${styles[style]}m${text}\x1b[0m` : text;
}

/** Asks at a terminal; elsewhere only --yes will do. */
export async function confirm(question: string, yes: boolean | undefined): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY) throw usageError(`${question} Nothing was done: say --yes`);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new CliError(ExitCode.FAILED, 'nothing was done');
  } finally {
    terminal.close();
  }
}
