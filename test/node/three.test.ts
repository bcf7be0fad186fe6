import { afterEach, describe, expect, it, vi } from 'vitest';
import { XfrmClient } from '../../src/client/index.ts';
import { EmulatedKernel } from '../../src/kernel/emulated/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { Cluster, TEST_TIMEOUT_MS } from './daemons.ts';

vi.setConfig({ testTimeout: TEST_TIMEOUT_MS });

const NAMES = ['a', 'b', 'c'] as const;
const SAS = 20;

/** Three daemons on emulated kernels, over TLS on the loopback, each with a link to each. */
describe('three daemons', () => {
  let cluster: Cluster | undefined;
  afterEach(() => cluster?.[Symbol.asyncDispose]());

  async function running(): Promise<Cluster> {
    cluster = await Cluster.make({ names: NAMES });
    const kernels = { a: new EmulatedKernel(), b: new EmulatedKernel(), c: new EmulatedKernel() };
    await using client = await XfrmClient.open(kernels.a);
    for (let i = 0; i < SAS; i++) await client.addSa(sa(0x100 + i));
    for (const name of NAMES) await cluster.start(name, kernels[name]);
    for (const name of ['b', 'c'] as const)
      await cluster.until(name, (s) => s.complete && s.sas === SAS && s.peers.every(({ connected }) => connected));
    await cluster.until('a', (s) => s.peers.every(({ behindMs, bound }) => bound && behindMs !== null));
    return cluster;
  }

  it('the active dies: refused alone, done with the word of the third one, which follows the new active', async () => {
    const { control, until, stop } = bound(await running());
    await stop('c');
    await stop('a');
    await until('b', (s) => s.peers.every(({ connected }) => !connected));
    await expect(control('b', { command: 'promote' })).rejects.toThrow(/1 of 3 nodes are connected.*--force/);
    expect(await control('b', { command: 'dryRun' })).toMatchObject({
      course: 'refused',
      against: expect.arrayContaining([expect.objectContaining({ code: 'minority', refuses: true })]),
    });
    expect(await control('b', { command: 'promote', force: true })).toMatchObject({
      kind: 'takeover',
      term: 2,
      sas: SAS,
    });
  });

  it('a takeover, a switchover to a standby that is named, and everybody follows', async () => {
    const { control, until, stop } = bound(await running());
    await stop('a');
    await until('b', (s) => s.peers.some(({ connected }) => !connected));
    expect(await control('b', { command: 'promote' })).toMatchObject({ kind: 'takeover', term: 2, sas: SAS });
    await until('c', (s) => s.role === 'standby' && s.term === 2 && s.complete);
    await expect(control('b', { command: 'switchover', to: 'a' })).rejects.toThrow('no standby a is connected');
    await until('b', (s) => s.peers.some(({ name, behindMs }) => name === 'c' && behindMs !== null));
    expect(await control('b', { command: 'switchover', to: 'c' })).toMatchObject({ role: 'standby' });
    await until('c', (s) => s.role === 'active' && s.term === 3);
    await until('b', (s) => s.role === 'standby' && s.term === 3 && s.complete);
  });
});

/** Methods that can be taken apart. */
const bound = (cluster: Cluster) => ({
  control: cluster.control.bind(cluster),
  until: cluster.until.bind(cluster),
  stop: cluster.stop.bind(cluster),
});
