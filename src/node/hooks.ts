import { execFile } from 'node:child_process';
import type { Config } from './config.ts';

const OUTPUT_MAX = 64 * 1024;

/** Runs the `claim` or `release` program; undefined if it succeeded or there is none, otherwise why it failed. */
export function runHook(config: Config, name: 'claim' | 'release', term: number): Promise<string | undefined> {
  const path = config.hooks[name];
  if (path === undefined) return Promise.resolve(undefined);
  const env = {
    ...process.env,
    XFRMSYNC_NODE: config.node.name,
    XFRMSYNC_CLUSTER: config.node.cluster,
    XFRMSYNC_ROLE: name === 'claim' ? 'active' : 'standby',
    XFRMSYNC_TERM: String(term),
  };
  return new Promise((resolve) => {
    execFile(path, [], { env, timeout: config.hooks.timeout_ms, maxBuffer: OUTPUT_MAX }, (error, _stdout, stderr) => {
      if (error === null) return resolve(undefined);
      const said = stderr.trim().split('\n').at(-1) ?? '';
      const how = error.killed ? `took longer than ${config.hooks.timeout_ms} ms` : `status ${error.code ?? 'unknown'}`;
      resolve(`${path}: ${how}${said === '' ? '' : `: ${said.slice(0, 200)}`}`);
    });
  });
}
