import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../../src/node/index.ts';
import { xfrmsync } from './run.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'xfrmsync-init-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const init = (...args: readonly string[]) => xfrmsync(['init', folder, '--cluster', 'c', ...args]);

describe('the ends of the link', () => {
  it.each([
    ['one port for both', ['a=10.0.0.1', 'b=10.0.0.2'], ['10.0.0.1', 4510], ['10.0.0.2', 4510]],
    ['a port of its own', ['a=127.0.0.1:5001', 'b=127.0.0.1:5002'], ['127.0.0.1', 5001], ['127.0.0.1', 5002]],
    ['IPv6', ['a=[fd00::1]:5001', 'b=fd00::2'], ['fd00::1', 5001], ['fd00::2', 4510]],
  ] as const)('%s', async (_, [a, b], ...ends) => {
    expect((await init('--node', a, '--node', b)).code).toBe(0);
    const config = await readConfig(join(folder, 'a', 'xfrmsync.toml'));
    const [own, other] = ends.map(([host, port]) => ({ host, port }));
    expect(config.link.listen).toEqual(own);
    expect(config.peer[0]?.address).toEqual(other);
    expect(await readFile(join(folder, 'b', 'xfrmsync.toml'), 'utf8')).toContain('[peer]');
  });

  it.each(['a=10.0.0.1:0', 'a=10.0.0.1:65536', 'a=[10.0.0.1', 'a=host:4510', 'a='])('refuses %s', async (node) => {
    const { code, stderr } = await init('--node', node, '--node', 'b=10.0.0.2');
    expect(code).toBe(2);
    expect(stderr).toContain('--node');
  });
});
