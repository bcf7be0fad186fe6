import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';
import { XfrmClient } from '../../src/client/index.ts';
import { linuxKernel } from '../../src/kernel/index.ts';
import type { Status } from '../../src/node/index.ts';
import { policy } from '../../src/simulator/sas.ts';
import { describeNative, type Namespace, newNamespace } from '../kernel/native.ts';
import { Cluster, TEST_TIMEOUT_MS } from './daemons.ts';

vi.setConfig({ testTimeout: TEST_TIMEOUT_MS });

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** This kernel's XFRM in two namespaces. It has no ESP: policies alone go over, and everything else is as it is. */
describeNative('two nodes on this kernel', () => {
  async function world() {
    const namespaces: Record<'a' | 'b', Namespace> = { a: await newNamespace(), b: await newNamespace() };
    const clients = {
      a: await XfrmClient.open(linuxKernel({ namespace: namespaces.a.path })),
      b: await XfrmClient.open(linuxKernel({ namespace: namespaces.b.path })),
    };
    return {
      namespaces,
      clients,
      networks: async (name: 'a' | 'b') =>
        (await clients[name].dumpPolicies()).map(({ body }) => (body.sel.daddr.w0 >>> 16) & 255).sort((x, y) => x - y),
      async [Symbol.asyncDispose]() {
        for (const client of Object.values(clients)) client.close();
        for (const namespace of Object.values(namespaces)) await namespace[Symbol.asyncDispose]();
      },
    };
  }

  it('policies go over, change, and go; promote and demote work', async () => {
    await using cluster = await Cluster.make();
    await using w = await world();
    for (const n of [1, 2, 3]) await w.clients.a.addPolicy(policy(`10.${n}.0.0`));
    for (const name of ['a', 'b'] as const)
      await cluster.start(name, linuxKernel({ namespace: w.namespaces[name].path }));
    await cluster.until('b', (s) => s.complete && s.policies === 3);
    // A standby is complete when it knows everything; its kernel follows.
    await cluster.when(async () => (await w.networks('b')).join() === '1,2,3');
    await w.clients.a.addPolicy(policy('10.4.0.0'));
    await w.clients.a.deletePolicy({ sel: policy('10.1.0.0').body.sel, dir: 1 });
    await w.clients.a.updatePolicy(policy('10.2.0.0', { priority: 7 }));
    await cluster.until('b', (s) => s.policies === 3);
    await cluster.when(async () => (await w.networks('b')).join() === '2,3,4');
    expect(await cluster.control('b', { command: 'promote' })).toMatchObject({ kind: 'switchover', term: 2 });
    await w.clients.b.flushPolicies();
    await cluster.until('a', (s) => s.complete && s.policies === 0);
    await cluster.when(async () => (await w.networks('a')).length === 0);
    expect(await cluster.control('b', { command: 'demote' })).toEqual({ role: 'standby', term: 2 });
    await cluster.until('a', (s) => s.role === 'active' && s.term === 3);
    for (const name of ['a', 'b'] as const) expect(cluster.lines[name].filter(({ level }) => level >= 50)).toEqual([]);
  });

  it('the program itself: killed, taken over, started again as a standby, ended by SIGTERM', async () => {
    await using cluster = await Cluster.make();
    // Both in one namespace with nothing in it: this is about processes.
    await using namespace = await newNamespace();
    const inside = (command: string, args: readonly string[]): ChildProcess =>
      spawn('nsenter', [`--net=${namespace.path}`, command, ...args], { stdio: 'ignore' });
    await once(inside('ip', ['link', 'set', 'lo', 'up']), 'close');
    const start = (name: 'a' | 'b'): ChildProcess =>
      inside(process.execPath, [main, 'daemon', '-c', cluster.file(name)]);
    const reach = (name: 'a' | 'b', right: (status: Status) => boolean): Promise<void> =>
      cluster.when(async () => {
        const status = await cluster.status(name).catch(() => undefined);
        return status !== undefined && right(status);
      });
    const children = { a: start('a'), b: start('b') };
    try {
      await reach('b', (s) => s.complete && s.peers.every(({ connected }) => connected));
      children.a.kill('SIGKILL');
      await once(children.a, 'close');
      await expect(cluster.status('a')).rejects.toMatchObject({ code: 'ERR_NO_DAEMON' });
      await reach('b', (s) => !s.peers.some(({ connected }) => connected));
      expect(await cluster.control('b', { command: 'promote' })).toMatchObject({ kind: 'takeover', term: 2 });
      children.a = start('a');
      await reach('a', (s) => s.role === 'standby' && s.complete && s.term === 2);
      for (const child of [children.a, children.b]) {
        const ended = once(child, 'close');
        child.kill('SIGTERM');
        expect(await ended).toEqual([0, null]);
      }
    } finally {
      for (const child of Object.values(children)) child.kill('SIGKILL');
    }
  });
});
