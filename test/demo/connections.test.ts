import { describe, expect, it } from 'vitest';
import { XfrmClient } from '../../src/client/index.ts';
import {
  CIPHERS,
  type Connection,
  hostAddress,
  installRequests,
  makeConnections,
  WINDOWS,
} from '../../src/demo/connections.ts';
import { Random } from '../../src/demo/random.ts';
import { espTransform } from '../../src/esp/index.ts';
import { EmulatedKernel } from '../../src/kernel/emulated/index.ts';
import { PolicyDir } from '../../src/xfrm/index.ts';

const shape = ({ cipher, window, family, spi }: Connection) => ({ cipher, window, family, spi });

describe('the connections', () => {
  const connections = makeConnections(128, new Random(1));

  it('have every cipher with every window and inner family', () => {
    const kinds = connections.map(
      ({ cipher, window, family }) => `${cipher} ${window.packets} ${window.esn} ${family}`,
    );
    expect(new Set(kinds).size).toBe(CIPHERS.length * WINDOWS.length * 2);
  });

  it('have SPIs of their own, none of them reserved', () => {
    const spis = makeConnections(5_000, new Random(2)).flatMap(({ spi }) => [spi.out, spi.in]);
    expect(new Set(spis).size).toBe(10_000);
    expect(Math.min(...spis)).toBeGreaterThan(255);
  });

  it('are decided by the seed, except for their keys', () => {
    const again = makeConnections(128, new Random(1));
    expect(again.map(shape)).toEqual(connections.map(shape));
    expect(makeConnections(128, new Random(3)).map(shape)).not.toEqual(connections.map(shape));
    const keys = [...connections, ...again].flatMap(({ keys }) => [keys.out.auth, keys.in.auth]);
    expect(new Set(keys.map((key) => Buffer.from(key).toString('hex'))).size).toBe(4 * 128);
  });

  it('have hosts with addresses of their own', () => {
    const hosts = Array.from({ length: 50_000 }, (_, i) => hostAddress(i + 1, 4, 'gateway'));
    expect(new Set(hosts).size).toBe(50_000);
    expect(hostAddress(300, 4, 'peer')).toBe('10.2.1.44');
    expect(hostAddress(300, 6, 'gateway')).toBe('fd00:1::12c');
  });
});

describe('what is installed', () => {
  const connections = makeConnections(40, new Random(4));

  it.each(['gateway', 'peer'] as const)('is taken by a kernel as it is at the %s', async (side) => {
    const client = await XfrmClient.open(new EmulatedKernel());
    const results = await client.batch(connections.flatMap((connection) => installRequests(connection, side)));
    expect(results.filter(({ error }) => error !== undefined)).toEqual([]);
    const sas = await client.dumpSas();
    expect(sas.length).toBe(80);
    expect(await client.spdInfo()).toEqual({ in: 40, out: 40, fwd: 40 });
    // The data plane knows every cipher.
    for (const sa of sas) expect(() => espTransform(sa)).not.toThrow();
    for (const { window, spi } of connections) {
      const sa = sas.find(({ body }) => body.id.spi === spi.in);
      expect(sa?.attributes.replayEsnVal?.replayWindow ?? sa?.body.replayWindow).toBe(window.packets);
    }
    client.close();
  });

  it('is the same SAs at both ends, and selectors the other way round', () => {
    const [connection] = connections as [Connection];
    const of = (side: 'gateway' | 'peer') => installRequests(connection, side);
    const sas = (side: 'gateway' | 'peer') => of(side).filter(({ kind }) => kind === 'NEWSA');
    expect(sas('gateway')).toEqual(sas('peer'));
    const selectors = (side: 'gateway' | 'peer', dir: number) =>
      of(side).flatMap((request) =>
        request.kind === 'NEWPOLICY' && request.body.dir === dir ? [request.body.sel.saddr] : [],
      );
    expect(selectors('gateway', PolicyDir.OUT)).toEqual(selectors('peer', PolicyDir.IN));
    expect(selectors('gateway', PolicyDir.IN)).toEqual(selectors('peer', PolicyDir.OUT));
    expect(selectors('gateway', PolicyDir.IN)).not.toEqual(selectors('gateway', PolicyDir.OUT));
  });
});
