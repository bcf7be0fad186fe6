/** strongSwan for the guests, fetched and not installed. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../lab.ts';

const FETCH_TIMEOUT_MS = 5 * 60_000;

/** Never throws. */
export async function strongswanPackages(): Promise<{ ok: true; tree: string } | { ok: false; why: string }> {
  const here = dirname(fileURLToPath(import.meta.url));
  // The script stays in the source tree; compiled, this file runs from build/test/lab/strongswan.
  const beside = join(here, 'packages.sh');
  const script = existsSync(beside) ? beside : join(here, '../../../../test/lab/strongswan/packages.sh');
  try {
    const { status, stdout, stderr } = await run([script], { timeoutMs: FETCH_TIMEOUT_MS });
    return status === 0 ? { ok: true, tree: stdout.trim() } : { ok: false, why: stderr.trim() };
  } catch (error) {
    return { ok: false, why: (error as Error).message };
  }
}
