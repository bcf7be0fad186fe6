import { describe, expect, it } from 'vitest';
import { saIdOf } from '../../src/client/index.ts';
import { heldSas } from '../../src/replica/index.ts';
import { policy, sa } from '../../src/simulator/sas.ts';
import { World } from './world.ts';

const SPIS = Array.from({ length: 12 }, (_, i) => 0x101 + i);
const id = (spi: number) => saIdOf(sa(spi));
const FIRST = id(0x101);

function pair(): World {
  const world = new World();
  for (const spi of SPIS) world.a.kernel.add(sa(spi));
  world.a.kernel.must({ kind: 'NEWPOLICY', ...policy('10.1.0.0') });
  return world.begin().pass(100).pass(100);
}

const flush = (world: World): void => {
  world.a.kernel.must({ kind: 'FLUSHSA', body: { proto: 0 }, attributes: {} });
  world.a.kernel.must({ kind: 'FLUSHPOLICY', body: undefined, attributes: {} } as never);
  world.settle().pass(100);
};

describe('a flush on the active', () => {
  it('is carried out on the standby, said, and can be undone with SAs above what was used', () => {
    const world = pair();
    const { a, b } = world;
    for (let i = 0; i < 500; i++) a.kernel.transmit(FIRST);
    for (let n = 1n; n <= 20n; n++) a.kernel.accept(id(0x102), n);
    world.settle().pass(50);
    flush(world);
    expect(b.kernel.sas.size).toBe(0);
    expect(heldSas(b.state)).toBe(SPIS.length);
    expect(b.said.filter((line) => line.includes('has deleted 12 of 12 SAs at once'))).toHaveLength(1);
    expect(world.promote(b, false, true)).toMatchObject([{ promoted: { kind: 'switchover', sas: SPIS.length } }]);
    expect(b.kernel.sas.size).toBe(SPIS.length);
    expect(b.kernel.policies.size).toBe(1);
    expect(b.kernel.transmit(FIRST)).toBeGreaterThan(500n);
    for (let n = 1n; n <= 20n; n++) expect(b.kernel.accept(id(0x102), n)).toBe(false);
    expect(heldSas(b.state)).toBe(0);
    // The old active, a standby now, gets them too.
    world.pass(100);
    expect(a.kernel.sas.size).toBe(SPIS.length);
    expect(a.kernel.transmit(FIRST)).toBeUndefined();
  });

  it('stays deleted without --restore', () => {
    const world = pair();
    flush(world);
    expect(world.promote(world.b)).toMatchObject([{ promoted: { kind: 'switchover', sas: 0 } }]);
    expect(world.b.kernel.sas.size).toBe(0);
    expect(heldSas(world.b.state)).toBe(0);
  });

  it('is forgotten after a while', () => {
    const world = pair();
    flush(world);
    world.pass(599_000);
    expect(heldSas(world.b.state)).toBe(SPIS.length);
    world.pass(2_000);
    expect(heldSas(world.b.state)).toBe(0);
  });

  it('what exists again stays as it is', () => {
    const world = pair();
    flush(world);
    world.a.kernel.add(sa(0x101, { key: 77 }));
    world.settle();
    world.promote(world.b, false, true);
    expect(world.b.kernel.sas.size).toBe(SPIS.length);
    const found = [...world.b.state.sas].filter(({ id: { spi } }) => spi === 0x101);
    expect(found).toHaveLength(1);
    expect(found[0]?.sa.attributes.algAead).toEqual(sa(0x101, { key: 77 }).attributes.algAead);
  });
});

it('SAs that are deleted one by one are gone', () => {
  const world = pair();
  for (const spi of SPIS) {
    world.a.kernel.delete(id(spi));
    world.settle().pass(1_100);
  }
  expect(world.b.kernel.sas.size).toBe(0);
  expect(world.b.state.held).toEqual({ recent: [], mass: [] });
});
