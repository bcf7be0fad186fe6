import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Compiled peers, fetched packages and the corpus. Only its owner may write there, as programs are run from it. */
export function cacheDirectory(): string {
  const base = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  return process.env.XFRMSYNC_BENCH_CACHE ?? join(base, 'xfrmsync-bench');
}

/** A file of the peers. It lies beside the sources, which tsc does not copy: this file runs from build/bench/. */
export function peerSource(...parts: string[]): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error('The bench runs from a checkout: no package.json above it');
    directory = parent;
  }
  return join(directory, 'bench', ...parts);
}
