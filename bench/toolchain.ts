import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory, peerSource } from './places.ts';

/** A program to start, or the word that says why there is none. */
export type Peer = { command: readonly string[]; environment: Readonly<Record<string, string>> } | { missing: string };

const COMMAND_MS_MAX = 120_000;

function run(command: string, args: readonly string[], environment: Record<string, string> = {}, cwd?: string) {
  return spawnSync(command, args, {
    encoding: 'utf8',
    timeout: COMMAND_MS_MAX,
    env: { ...process.env, ...environment },
    ...(cwd === undefined ? {} : { cwd }),
  });
}

const worked = (done: SpawnSyncReturns<string>): boolean => done.error === undefined && done.status === 0;
const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';

interface Libraries {
  compileFlags: readonly string[];
  linkFlags: readonly string[];
  environment: Record<string, string>;
}

const NO_LIBRARIES: Libraries = { compileFlags: [], linkFlags: [], environment: {} };

/** Compiles one of the C peers with -O2, unless the cache has it. */
function compile(name: string, libraries: Libraries): Peer {
  const flags = ['-O2', '-std=gnu11', ...libraries.compileFlags];
  const digest = createHash('sha256').update(JSON.stringify([flags, libraries.linkFlags]));
  for (const file of ['peer.h', 'netlink.h', `${name}.c`]) digest.update(readFileSync(peerSource('c', file)));
  const output = join(cacheDirectory(), `${name}-${digest.digest('hex').slice(0, 16)}`);
  const peer: Peer = { command: [output], environment: libraries.environment };
  if (existsSync(output)) return peer;
  mkdirSync(cacheDirectory(), { recursive: true, mode: 0o700 });
  const fresh = `${output}.${process.pid}`;
  const done = run('cc', [...flags, '-o', fresh, peerSource('c', `${name}.c`), ...libraries.linkFlags]);
  if (done.error !== undefined) return { missing: 'no C compiler (cc) on this machine' };
  if (!worked(done)) return { missing: `${name}.c does not compile: ${done.stderr.trim().split('\n')[0] ?? ''}` };
  renameSync(fresh, output);
  return peer;
}

/** A peer that needs the C library and the kernel's headers alone. */
export const compilePeer = (name: string): Peer => compile(name, NO_LIBRARIES);

/** Debian packages unpacked into the cache, nothing installed. Returns the root, or why not. */
function unpackPackages(packages: readonly string[]): { root: string } | { missing: string } {
  const root = join(cacheDirectory(), `packages-${packages.join('+')}`);
  if (existsSync(root)) return { root };
  const fresh = `${root}.${process.pid}`;
  mkdirSync(fresh, { recursive: true, mode: 0o700 });
  try {
    const fetched = run('apt-get', ['download', ...packages], {}, fresh);
    if (fetched.error !== undefined) return { missing: 'not installed, and no apt-get to fetch it with' };
    if (!worked(fetched))
      return { missing: `not installed, and apt-get could not fetch it: ${lastLine(fetched.stderr)}` };
    for (const file of readdirSync(fresh).filter((name) => name.endsWith('.deb'))) {
      const unpacked = run('dpkg-deb', ['-x', file, 'root'], {}, fresh);
      if (!worked(unpacked)) return { missing: `fetched, but dpkg-deb failed on ${file}` };
    }
    renameSync(join(fresh, 'root'), root);
    return { root };
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

const LIBNL_PACKAGES = ['libnl-xfrm-3-dev', 'libnl-xfrm-3-200', 'libnl-3-dev', 'libnl-3-200'];
const LIBNL_LINK = ['-lnl-xfrm-3', '-lnl-3'];

/** The folders of shared libraries under a root, such as usr/lib/x86_64-linux-gnu. */
function libraryFolders(root: string): string[] {
  return ['lib', 'usr/lib']
    .map((folder) => join(root, folder))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder, { withFileTypes: true }).map((entry) => ({ folder, entry })))
    .filter(({ entry }) => entry.isDirectory() && entry.name.includes('-linux-'))
    .map(({ folder, entry }) => join(folder, entry.name));
}

/** A peer that uses libnl-xfrm: the installed one, else Debian's packages unpacked into the cache. */
export function compileLibnlPeer(name: string): Peer {
  const installed = compile(name, { ...NO_LIBRARIES, compileFlags: ['-I/usr/include/libnl3'], linkFlags: LIBNL_LINK });
  if ('command' in installed || installed.missing.startsWith('no C compiler')) return installed;
  const unpacked = unpackPackages(LIBNL_PACKAGES);
  if ('missing' in unpacked) return { missing: `libnl-xfrm-3-dev is ${unpacked.missing}` };
  const folders = libraryFolders(unpacked.root);
  return compile(name, {
    compileFlags: [`-I${join(unpacked.root, 'usr/include/libnl3')}`],
    linkFlags: [...folders.map((folder) => `-L${folder}`), ...LIBNL_LINK],
    environment: { LD_LIBRARY_PATH: folders.join(':') },
  });
}

/** Debian's interpreter is tried first: its packages are not seen by another python3 that comes earlier in PATH. */
const PYTHONS = ['/usr/bin/python3', 'python3'];

/** A script that uses pyroute2: the installed one, else Debian's package unpacked into the cache (it is pure Python). */
export function pyroutePeer(script: string): Peer {
  const pythons = PYTHONS.filter((python) => worked(run(python, ['-c', ''])));
  if (pythons.length === 0) return { missing: 'no python3 on this machine' };
  const find = (environment: Record<string, string>): Peer | undefined => {
    const python = pythons.find((python) => worked(run(python, ['-c', 'import pyroute2.netlink'], environment)));
    return python === undefined ? undefined : { command: [python, peerSource('python', script)], environment };
  };
  const installed = find({});
  if (installed !== undefined) return installed;
  const unpacked = unpackPackages(['python3-pyroute2']);
  if ('missing' in unpacked) return { missing: `python3-pyroute2 is ${unpacked.missing}` };
  const fetched = find({ PYTHONPATH: join(unpacked.root, 'usr/lib/python3/dist-packages') });
  return fetched ?? { missing: 'python3-pyroute2 was fetched, but no python3 here can import it' };
}

/** The version of pyroute2 that a peer uses, for the notes. */
export function pyrouteVersion(peer: Peer): string {
  if ('missing' in peer) return '';
  const [python = 'python3'] = peer.command;
  const code = 'import importlib.metadata as m, sys; print(m.version("pyroute2"), "on Python", sys.version.split()[0])';
  const done = run(python, ['-c', code], { ...peer.environment });
  return worked(done) ? done.stdout.trim() : '';
}
