/**
 * Whether, and where, this machine lets the tests talk to its own kernel. Root will do, and so will an ordinary user inside
 * `unshare -Urn`; the tests take a network namespace of their own in either case, so that they disturb nobody.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe } from 'vitest';
import type { Batch, KernelSocket } from '../../src/kernel/kernel.ts';
import { linuxKernel } from '../../src/kernel/linux/linux.ts';
import { type Message, messages } from './messages.ts';

export interface Namespace extends AsyncDisposable {
  /** To be given to `linuxKernel`, or to nsenter --net=. */
  readonly path: string;
}

/** A network namespace that lives as long as a child process, which ends with this one at the latest: its stdin closes. */
export async function newNamespace(): Promise<Namespace> {
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; exec cat >/dev/null'], { stdio: 'pipe' });
  let errors = '';
  holder.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ready = await Promise.race([
    once(holder.stdout, 'data').then(() => true),
    once(holder, 'close').then(() => false),
    once(holder, 'error').then(() => false),
  ]);
  if (!ready) throw new Error(`unshare --net: ${errors.trim()}`);
  return {
    path: `/proc/${holder.pid}/ns/net`,
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await once(holder, 'close');
    },
  };
}

async function whyNotNative(): Promise<string | undefined> {
  if (process.platform !== 'linux') return `${process.platform} is not Linux`;
  try {
    await using namespace = await newNamespace();
    await using socket = await linuxKernel({ namespace: namespace.path }).open({ groups: [1] });
    return socket.portId > 0 ? undefined : 'no port id';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Why this machine's kernel is out of reach; undefined if it is not. */
export const whyNot = await whyNotNative();

/** As vitest's `describe`; where the kernel is out of reach the tests are skipped, and their title says why. */
export function describeNative(name: string, body: () => void): void {
  if (whyNot === undefined) {
    describe(name, body);
    return;
  }
  console.warn(`Skipped, as this machine's own kernel is out of reach: ${name}: ${whyNot}`);
  describe.skip(`${name} (skipped: ${whyNot})`, body);
}

/** Every message that came to `socket`, the moment it came. */
export function collect(socket: KernelSocket): Message[] {
  const all: Message[] = [];
  socket.receive((batch: Batch) => {
    for (const message of messages(batch)) all.push(message);
  });
  return all;
}

/** Lets the event loop turn until `done`; the test's own time-out bounds it. */
export async function turnsUntil(done: () => boolean): Promise<void> {
  while (!done()) await turn();
}

export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

export interface Program extends AsyncDisposable {
  /** Where `kernel/index.js` and `messages.js` lie. */
  readonly directory: string;
  /** Runs an ES module's source beside them; arguments before `node` come from `prefix`. */
  run(source: string, prefix?: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }>;
}

const repository = fileURLToPath(new URL('../..', import.meta.url));

/** This room as JavaScript in a directory of its own, for tests that need a process to themselves; with koffi or without it. */
export async function newProgram(options: { koffi: boolean }): Promise<Program> {
  const directory = await mkdtemp(join(tmpdir(), 'xfrmsync-kernel-'));
  await writeFile(join(directory, 'package.json'), '{ "type": "module" }');
  await transpile(join(repository, 'src/kernel'), join(directory, 'kernel'), [
    'datagrams.ts',
    'errors.ts',
    'index.ts',
    'kernel.ts',
  ]);
  await transpile(join(repository, 'src/kernel/unix'), join(directory, 'kernel/unix'));
  await transpile(join(repository, 'src/kernel/linux'), join(directory, 'kernel/linux'));
  await transpile(join(repository, 'test/kernel'), directory, ['messages.ts']);
  if (options.koffi) await symlink(join(repository, 'node_modules'), join(directory, 'node_modules'));
  let runs = 0;
  return {
    directory,
    async run(source, prefix = []) {
      const file = join(directory, `main-${runs++}.js`);
      await writeFile(file, source);
      const command = [...prefix, process.execPath, file];
      return finished(spawn(command[0] as string, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] }));
    },
    async [Symbol.asyncDispose]() {
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function transpile(from: string, to: string, only?: readonly string[]): Promise<void> {
  await mkdir(to, { recursive: true });
  const files = only ?? (await readdir(from)).filter((file) => file.endsWith('.ts'));
  for (const file of files) {
    const { outputText } = ts.transpileModule(await readFile(join(from, file), 'utf8'), {
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
        rewriteRelativeImportExtensions: true,
      },
    });
    await writeFile(join(to, file.replace(/\.ts$/, '.js')), outputText);
  }
}

async function finished(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.on('data', (chunk: Buffer) => {
      text[name] += chunk.toString();
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...text };
}
