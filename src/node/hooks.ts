import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { Config } from './config-schema.ts';

/** What a program says on standard error is kept up to here; the last line of it is shown. */
const OUTPUT_MAX = 16 * 1024;

/**
 * Runs the `claim` or `release` program; undefined if it succeeded or there is none, otherwise why it failed. After the time limit it is
 * killed with all that it has started, and not waited for any longer, whatever it holds open.
 */
export function runHook(
  config: Config,
  name: 'claim' | 'release',
  term: number,
  from: string | undefined,
): Promise<string | undefined> {
  const path = config.hooks[name];
  if (path === undefined) return Promise.resolve(undefined);
  const env = {
    ...process.env,
    XFRMSYNC_NODE: config.node.name,
    XFRMSYNC_CLUSTER: config.node.cluster,
    XFRMSYNC_ROLE: name === 'claim' ? 'active' : 'standby',
    XFRMSYNC_TERM: String(term),
    XFRMSYNC_FROM: from ?? '',
  };
  const { timeout_ms: timeoutMs } = config.hooks;
  return new Promise((resolve) => {
    // A process group of its own, so that its children end with it.
    let child: ChildProcess;
    try {
      child = spawn(path, [], { env, detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
    } catch (error) {
      // No memory, for one.
      resolve(`${path}: ${(error as Error).message}`);
      return;
    }
    // Without a descriptor left there is none, and `error` follows.
    const stderr: Readable | null | undefined = child.stderr;
    let said = '';
    const done = (how: string | undefined): void => {
      clearTimeout(timer);
      stderr?.destroy();
      const last = said.trim().split('\n').at(-1)?.slice(0, 200) ?? '';
      resolve(how === undefined ? undefined : `${path}: ${how}${last === '' ? '' : `: ${last}`}`);
    };
    const timer = setTimeout(() => {
      if (child.pid !== undefined) killGroup(child.pid);
      done(`took longer than ${timeoutMs} ms`);
    }, timeoutMs);
    stderr?.on('data', (bytes: Buffer) => {
      said = (said + bytes.toString('utf8')).slice(-OUTPUT_MAX);
    });
    child.once('error', (error) => done(error.message));
    child.once('exit', (status, signal) => {
      if (status === 0) return done(undefined);
      const how = status === null ? `ended by ${signal}` : `status ${status}`;
      // What it said last may still be in the pipe; a child that keeps the pipe open is not waited for.
      const told = setTimeout(done, 100, how);
      stderr?.once('end', () => {
        clearTimeout(told);
        done(how);
      });
    });
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has just ended by itself.
  }
}
