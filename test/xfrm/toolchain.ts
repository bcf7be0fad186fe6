import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A C program that is compiled for a test, or the word why it cannot be. */
export type Compiled = { run(input?: Uint8Array): string; remove(): void } | { missing: string };

export function compile(source: string, flags: readonly string[] = []): Compiled {
  const directory = mkdtempSync(join(tmpdir(), 'xfrmsync-cc-'));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  const program = join(directory, 'program');
  writeFileSync(`${program}.c`, source);
  const { status, error, stderr } = spawnSync('cc', ['-o', program, `${program}.c`, ...flags], { encoding: 'utf8' });
  if (status === 0) {
    return { run: (input) => execFileSync(program, { input: input ?? '', encoding: 'utf8', timeout: 20_000 }), remove };
  }
  remove();
  // Only what is absent excuses a test; a program that is wrong does not.
  const header = /fatal error: ([\w./-]+): No such file/.exec(stderr ?? '')?.[1];
  if (error) return { missing: 'no C compiler (cc)' };
  if (header) return { missing: `no header ${header}` };
  throw new Error(stderr);
}
