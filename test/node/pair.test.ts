import { readFileSync } from 'node:fs';
import { chmod, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { EmulatedKernel } from '../../src/kernel/emulated/index.ts';
import { makeIdentity } from '../../src/link/index.ts';
import type { DryRun } from '../../src/node/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { raw } from '../link/peers.ts';
import { Cluster, TEST_TIMEOUT_MS } from './daemons.ts';
import { Doors, IN, id, OUT } from './doors.ts';

vi.setConfig({ testTimeout: TEST_TIMEOUT_MS });

let unhandled: unknown[] = [];
const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
beforeEach(() => {
  unhandled = [];
  process.on('unhandledRejection', onUnhandled);
});
afterEach(() => {
  process.off('unhandledRejection', onUnhandled);
  expect(unhandled).toEqual([]);
});

/** How the daemons speak with their kernels. */
const interfaces = ['netlink', 'pfkey'] as const;

/** A link's time-out that a test waits for. */
const SHORT_MS = 1000;

/** A release hook of `a` that takes until the test says `go`, or has ended. */
async function heldHook(cluster: Cluster): Promise<{ go: () => Promise<void> }> {
  const [hook, sign] = [join(cluster.directory, 'held.sh'), join(cluster.directory, 'go')];
  await writeFile(hook, `#!/bin/sh\nwhile [ -e '${hook}' ] && [ ! -e '${sign}' ]; do sleep 0.02; done\n`, {
    mode: 0o755,
  });
  await cluster.set('a', 'hooks', { release: '../held.sh' });
  return { go: () => writeFile(sign, '') };
}

async function running(cluster: Cluster): Promise<Doors> {
  const doors = await Doors.make();
  await cluster.start('a', doors.a);
  await cluster.start('b', doors.b);
  await cluster.until('b', (s) => s.complete && s.unseenMs !== null);
  return doors;
}

describe.each(interfaces)('two daemons over %s', (via) => {
  it('replicate SAs, policies and counters', async () => {
    await using cluster = await Cluster.make({ via });
    const doors = await running(cluster);
    const things = (name: 'a' | 'b') =>
      doors.with(name, async (client) => [
        (await client.dumpSas()).map(({ body }) => body.id.spi).sort(),
        (await client.dumpPolicies()).map(({ body }) => body.sel),
      ]);
    await cluster.when(async () => isDeepStrictEqual(await things('b'), await things('a')));
    doors.transmit('a', 50);
    const known = async () => (await cluster.status('b', true)).list?.find(({ spi }) => Number(spi) === OUT)?.oseq;
    await cluster.when(async () => (await known()) === 50);
    // An event that a packet raises is made before the packet is counted; one of the timer is exact.
    await cluster.when(async () => ((await doors.sa('b', OUT))?.body.curlft.packets ?? 0n) >= 49n);
    await doors.with('a', async (client) => {
      await client.addSa(sa(0x103));
      await client.deleteSa(id(IN));
    });
    await cluster.until('b', (s) => s.sas === 2);
    await cluster.when(
      async () => (await doors.sa('b', IN)) === undefined && (await doors.sa('b', 0x103)) !== undefined,
    );
  });

  it('switch over and back, exactly, with the hooks in order', async () => {
    await using cluster = await Cluster.make({ via });
    const journal = `${cluster.directory}/journal`;
    await writeFile(
      `${cluster.directory}/hook.sh`,
      `#!/bin/sh\necho "$XFRMSYNC_NODE $XFRMSYNC_ROLE $XFRMSYNC_TERM from:$XFRMSYNC_FROM" >> ${journal}\n`,
    );
    await chmod(`${cluster.directory}/hook.sh`, 0o755);
    for (const name of ['a', 'b'] as const)
      await cluster.set(name, 'hooks', { claim: '../hook.sh', release: '../hook.sh' });
    const doors = await running(cluster);
    doors.transmit('a', 7);
    await cluster.until('b', (s) => s.peers[0]?.clockOffsetMs !== null);
    // Two nodes on one machine.
    const [{ clockOffsetMs, clockUncertaintyMs } = {}] = (await cluster.status('b')).peers;
    expect(Math.abs(clockOffsetMs ?? Number.NaN)).toBeLessThanOrEqual(clockUncertaintyMs ?? Number.NaN);
    await cluster.when(async () => {
      const plan = (await cluster.control('b', { command: 'dryRun' })) as DryRun;
      return plan.course === 'switchover' && plan.sas.some(({ switchover }) => switchover?.oseq === 8);
    });
    expect(await cluster.status('b')).toMatchObject({ role: 'standby', term: 1, phase: 'steady' });
    expect(await cluster.control('b', { command: 'promote' })).toMatchObject({
      kind: 'switchover',
      term: 2,
      failed: 0,
    });
    expect(doors.transmit('a', 1)).toEqual([]);
    expect(doors.transmit('b', 1)).toEqual([9]);
    await cluster.until('a', (s) => s.complete && s.term === 2);
    expect(await cluster.control('b', { command: 'switchover' })).toEqual({ role: 'standby', term: 2 });
    await cluster.until('a', (s) => s.role === 'active' && s.term === 3);
    expect(doors.transmit('a', 1)).toEqual([11]);
    await cluster.when(() => readFileSync(journal, 'utf8').includes('a active 3 from:'));
    expect(readFileSync(journal, 'utf8').trim().split('\n')).toEqual([
      'a active 1 from:',
      'a standby 1 from:',
      'b active 2 from:a',
      'b standby 2 from:',
      'a active 3 from:b',
    ]);
  });

  it('one dies without a word, the other takes over when it is told to', async () => {
    await using cluster = await Cluster.make({ via });
    const doors = await running(cluster);
    const sent = doors.transmit('a', 1000);
    await cluster.stop('a');
    await doors.with('a', (client) => client.flushSas());
    await cluster.until('b', (s) => !s.peers.some(({ connected }) => connected));
    expect(await cluster.control('b', { command: 'promote' })).toMatchObject({ kind: 'takeover', term: 2, sas: 2 });
    const [next] = doors.transmit('b', 1);
    expect(next).toBeGreaterThan(sent.at(-1) as number);
    await cluster.start('a', doors.a);
    await cluster.until('a', (s) => s.role === 'standby' && s.term === 2 && s.complete);
    expect(doors.transmit('a', 1)).toEqual([]);
  });

  it("a release hook that takes longer than the link's time-out does not break the link", async () => {
    await using cluster = await Cluster.make({ via });
    const { go } = await heldHook(cluster);
    for (const name of ['a', 'b'] as const) await cluster.set(name, 'link', { timeout_ms: SHORT_MS });
    await running(cluster);
    const promoted = cluster.control('b', { command: 'promote' });
    await cluster.until('a', (s) => s.phase === 'handingOver');
    await sleep(1.5 * SHORT_MS);
    expect((await cluster.status('a')).phase).toBe('handingOver');
    await go();
    expect(await promoted).toMatchObject({ kind: 'switchover' });
    expect(cluster.said('b', 'is down')).toEqual([]);
  });

  it('a release hook that hangs, with a child that keeps its output open: the active goes on', async () => {
    await using cluster = await Cluster.make({ via });
    await writeFile(`${cluster.directory}/hang.sh`, '#!/bin/sh\ntrap "" TERM\nsleep 600 &\nwait\nsleep 600\n');
    await chmod(`${cluster.directory}/hang.sh`, 0o755);
    await cluster.set('a', 'hooks', { release: '../hang.sh', timeout_ms: 300 });
    const doors = await running(cluster);
    await expect(cluster.control('b', { command: 'promote' })).rejects.toThrow(/took longer than 300 ms/);
    expect((await cluster.status('a')).role).toBe('active');
    expect(doors.transmit('a', 1)).toEqual([1]);
  });

  it('both standbys: connected for longer than the time-out, and it is said that nobody forwards', async () => {
    await using cluster = await Cluster.make({ via });
    for (const name of ['a', 'b'] as const) await cluster.set(name, 'link', { timeout_ms: SHORT_MS });
    await running(cluster);
    await cluster.stop('b');
    await cluster.until('a', (s) => !s.peers.some(({ connected }) => connected));
    await cluster.control('a', { command: 'demote', force: true });
    await cluster.start('b', new EmulatedKernel());
    await cluster.until('b', (s) => s.peers.every(({ connected }) => connected));
    await sleep(1.5 * SHORT_MS);
    expect((await cluster.status('b')).peers[0]?.connected).toBe(true);
    expect(cluster.said('b', 'nobody forwards')).toHaveLength(1);
    expect(cluster.said('a', 'is down')).toHaveLength(1);
  });

  it('both stand still for longer than the time-out: that is no silence of the other, and the link stays', async () => {
    await using cluster = await Cluster.make({ via });
    for (const name of ['a', 'b'] as const) await cluster.set(name, 'link', { timeout_ms: SHORT_MS });
    const doors = await running(cluster);
    // As a process that gets no processor, or a virtual machine that is moved.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * SHORT_MS);
    doors.transmit('a', 10);
    await cluster.when(async () => (await cluster.status('b', true)).list?.some(({ oseq }) => oseq === 10) ?? false);
    expect([...cluster.said('a', 'is down'), ...cluster.said('b', 'is down')]).toEqual([]);
  });

  it('of two clusters: both say so, nothing is replicated, and the log is not filled', async () => {
    await using cluster = await Cluster.make({ via });
    await cluster.set('b', 'node', { cluster: 'other' });
    const doors = await Doors.make();
    await cluster.start('a', doors.a);
    await cluster.start('b', doors.b);
    await cluster.when(
      () => cluster.said('a', 'cluster "other"').length > 0 && cluster.said('b', 'cluster "test"').length > 0,
    );
    await sleep(1000);
    expect(doors.count('b')).toBe(0);
    expect((await cluster.status('b')).complete).toBe(false);
    expect(cluster.lines.a.length + cluster.lines.b.length).toBeLessThan(12);
  });

  it('with a pin that is another one: turned away, and nothing is lost', async () => {
    await using cluster = await Cluster.make({ via });
    const { pin } = await makeIdentity('x');
    await cluster.set('a', 'peer', { pin });
    const doors = await Doors.make();
    await cluster.start('a', doors.a);
    await cluster.start('b', doors.b);
    await cluster.when(() => cluster.said('a', 'turned away').length > 0);
    expect(cluster.said('a', pin)).toHaveLength(1);
    expect((await cluster.status('b')).sas).toBe(0);
    expect(doors.count('a')).toBe(2);
  });

  it('garbage on the port: one line, and the other node still connects', async () => {
    await using cluster = await Cluster.make({ via });
    const doors = await Doors.make();
    await cluster.start('a', doors.a);
    const { socket, closed } = await raw(cluster.port);
    socket.write('GET / HTTP/1.0\r\n\r\n');
    await closed;
    const tls = connectTls({ host: '127.0.0.1', port: cluster.port, rejectUnauthorized: false });
    tls.on('error', () => {});
    await new Promise<void>((resolve) => tls.once('close', () => resolve()));
    await cluster.start('b', doors.b);
    await cluster.until('b', (s) => s.complete);
    expect(cluster.said('a', 'attempt failed')).toHaveLength(1);
    expect(cluster.lines.a.filter(({ level }) => level >= 50)).toEqual([]);
  });

  it('commands while a daemon starts are refused, and do not disturb the start', async () => {
    await using cluster = await Cluster.make({ via });
    const doors = await Doors.make();
    let release: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = new EmulatedKernel();
    const opened = slow.open.bind(slow);
    let sockets = 0;
    slow.open = async (options) => {
      const socket = await opened(options);
      // The first one is for requests: its answers wait.
      if (sockets++ === 0) {
        const drain = socket.drain.bind(socket);
        socket.drain = () => void gate.then(drain);
      }
      return socket;
    };
    const starting = cluster.start('b', slow);
    let asked: string[] = [];
    while (asked.length === 0) {
      asked = await Promise.all(
        (['resync', 'promote', 'status'] as const).map((command) =>
          cluster.control('b', { command }).then(
            () => [],
            (error: Error) => [error.message],
          ),
        ),
      ).then((all) => (all.flat().every((text) => text.includes('starting')) ? all.flat() : []));
      if ((await Promise.race([starting.then(() => true), Promise.resolve(false)])) === true) break;
    }
    expect(asked).toHaveLength(3);
    release();
    await starting;
    await cluster.start('a', doors.a);
    await cluster.until('b', (s) => s.complete);
  });

  it('a daemon that stops while its role is being written: the write has ended when the daemon has', async () => {
    await using cluster = await Cluster.make({ via });
    const doors = await Doors.make();
    await cluster.start('a', doors.a);
    // Early and late in the first exchange with the other node, which makes it store the term.
    for (let turns = 0; turns < 60; turns++) {
      await cluster.start('b', doors.b);
      for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
      await cluster.stop('b');
      expect(await readdir(cluster.file('b', 'state'))).toEqual(['role.json']);
      await rm(cluster.file('b', 'state'), { recursive: true });
    }
  });

  it('a daemon that stops answers who waits, and leaves nothing behind', async () => {
    await using cluster = await Cluster.make({ via });
    await heldHook(cluster);
    await running(cluster);
    const asked = cluster.control('b', { command: 'promote' });
    await cluster.until('a', (s) => s.phase === 'handingOver');
    const answer = expect(asked).rejects.toThrow(/stops|no handover/);
    await cluster.stop('b');
    await answer;
  });
});

describe.each(interfaces)('under load, over %s', (via) => {
  it('a standby whose kernel is slow, thousands of SAs and a storm of changes: bounded, and in step in the end', async () => {
    await using cluster = await Cluster.make({ via });
    const doors = await Doors.make();
    const many = 3000;
    const spis = Array.from({ length: many }, (_, i) => 0x1000 + i);
    await doors.with('a', (client) => client.batch(spis.map((spi) => ({ kind: 'NEWSA', ...sa(spi) }) as const)));
    await cluster.start('a', doors.a);
    await cluster.start('b', doors.b);
    await cluster.until('b', (s) => s.sas === many + 2 && s.complete);
    const before = process.memoryUsage().heapUsed;
    for (let round = 0; round < 30; round++) {
      for (const spi of spis) doors.transmit('a', 1, spi);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await doors.with('a', (client) =>
      client.batch(
        spis.slice(0, 200).flatMap((spi) => {
          const { daddr, proto, family } = id(spi);
          const gone = { kind: 'DELSA', body: { daddr, spi, proto, family }, attributes: {} } as const;
          return [gone, { kind: 'NEWSA', ...sa(spi, { key: 2 }) } as const];
        }),
      ),
    );
    await cluster.when(async () => ((await doors.sa('b', spis.at(-1) ?? 0))?.body.curlft.packets ?? 0n) >= 29n);
    await cluster.when(async () => (await doors.sa('b', 0x1000 + 199))?.attributes.algAead?.key[0] === 2);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(256 << 20);
    expect(doors.count('b')).toBe(many + 2);
    expect(cluster.said('b', 'is down')).toEqual([]);
  });
});
