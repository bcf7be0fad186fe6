import { describe, expect, it } from 'vitest';
import { saIdOf } from '../../src/client/index.ts';
import type { Frame } from '../../src/replica/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { recordOf, type TestNode, World } from './world.ts';

const id = (spi: number) => saIdOf(sa(spi));

const clockAt = ({ state }: TestNode) => {
  const [peer] = state.peers.values();
  if (peer === undefined) throw new Error('no peer');
  return peer.clock;
};

const alarms = ({ said }: TestNode) => said.filter((line) => line.includes('the clocks of'));

describe('the clocks of the nodes', () => {
  it('are compared by pings, on both nodes', () => {
    const world = new World({ offsetMs: 400 }).begin();
    const { a, b } = world;
    expect(clockAt(a).offset).toBeUndefined();
    world.pass(100).pass(100);
    expect(clockAt(a).offset).toEqual({ ms: 400, uncertaintyMs: 1 });
    expect(clockAt(b).offset).toEqual({ ms: -400, uncertaintyMs: 1 });
    expect([...alarms(a), ...alarms(b)]).toEqual([]);
  });

  it('the true offset is within the uncertainty, and the best of the recent pings counts', () => {
    const { b } = new World({ offsetMs: 0 }).begin();
    const { state, replica } = b;
    const TRUE_MS = 321;
    replica.setTimeOfDay(1_000_000);
    /** A ping of b that takes `thereMs`, is held, and comes back with a ping of a after `backMs`. */
    const exchange = (atMs: number, thereMs: number, heldMs: number, backMs: number): void => {
      const saidMs = atMs + thereMs + heldMs;
      const ping = { type: 'ping', timeMs: 7, timeOfDayMs: 1_000_000 + saidMs + TRUE_MS } as const;
      const frame: Frame = { ...ping, term: state.term, echo: { timeMs: atMs, heldMs } };
      replica.onFrame('a', frame, saidMs + backMs);
    };
    const error = () => Math.abs((clockAt(b).offset?.ms ?? Number.NaN) - TRUE_MS);
    for (const [there, back, uncertainty] of [
      [80, 0, 41],
      [0, 60, 31],
      [3, 1, 3],
      [0, 90, 3],
      [200, 200, 3],
    ] as const) {
      exchange(1000, there, 50, back);
      expect(clockAt(b).offset?.uncertaintyMs).toBe(uncertainty);
      expect(error()).toBeLessThanOrEqual(uncertainty);
    }
    for (let i = 0; i < 16; i++) exchange(2000 + i, 10, 5, 0);
    expect(clockAt(b).offset).toEqual({ ms: TRUE_MS + 5, uncertaintyMs: 6 });
  });

  it('an echo of another life of this daemon is no measurement', () => {
    const { b } = new World().begin();
    b.replica.setTimeOfDay(0);
    b.replica.onFrame(
      'a',
      { type: 'ping', term: b.state.term, timeMs: 1, timeOfDayMs: 5, echo: { timeMs: 9_999_999, heldMs: 1 } },
      100,
    );
    expect(clockAt(b).offset).toBeUndefined();
  });

  it('more than a second: said once, and once when it is over', () => {
    const world = new World({ offsetMs: 3000 }).begin();
    const { a, b } = world;
    for (let i = 0; i < 20; i++) world.pass(100);
    expect(alarms(a)).toEqual([expect.stringMatching(/^warn: .* 3\.0 s apart/)]);
    expect(alarms(b)).toHaveLength(1);
    b.clock.stepRealtime(-3000);
    for (let i = 0; i < 20; i++) world.pass(100);
    expect(alarms(a).slice(1)).toEqual([expect.stringMatching(/^info: .* agree again/)]);
    expect(alarms(b)).toHaveLength(2);
    expect(clockAt(b)).toMatchObject({ alarmed: false, shiftS: 0, offset: { ms: 0 } });
  });
});

describe('limits of SAs in seconds', () => {
  const LIMIT_S = 600;
  const limits = { hardAddExpiresSeconds: BigInt(LIMIT_S) };

  /** How long after it was added the SA is gone from `node`. */
  function goneAfter(world: World, node: TestNode, addedMs: number): number {
    while (node.kernel.get(id(0x101)) !== undefined && world.nowMs - addedMs < 3 * LIMIT_S * 1000) world.pass(250);
    return (world.nowMs - addedMs) / 1000;
  }

  it.each([
    [0, 'takeover'],
    [120_000, 'takeover'],
    [-120_000, 'takeover'],
    [119_400, 'switchover'],
    [-119_400, 'switchover'],
  ] as const)('end when they would have ended, clocks %i ms apart, after a %s', (offsetMs, kind) => {
    const world = new World({ offsetMs });
    const { a, b } = world;
    world.a.kernel.add(sa(0x101, { limits }));
    const addedMs = world.nowMs;
    world.begin();
    a.kernel.transmit(id(0x101));
    for (let i = 0; i < 30; i++) world.pass(1000);
    if (kind === 'takeover') a.powerOff();
    expect(world.promote(b)).toMatchObject([{ promoted: { kind } }]);
    const before = b.kernel.get(id(0x101));
    expect(Math.abs(Number(before?.addTime) - 1_700_000_000 - offsetMs / 1000)).toBeLessThanOrEqual(1);
    const seconds = goneAfter(world, b, addedMs);
    expect(Math.abs(seconds - LIMIT_S)).toBeLessThanOrEqual(2);
  });

  it('there and back: nothing is shifted twice', () => {
    const world = new World({ offsetMs: 50_000 });
    const { a, b } = world;
    world.a.kernel.add(sa(0x101, { limits }));
    world.begin();
    a.kernel.transmit(id(0x101));
    world.pass(100).pass(100);
    const times = () => recordOf(a, id(0x101))?.counters;
    const first = { ...times() };
    for (const node of [b, a, b, a]) {
      world.promote(node);
      world.pass(100).pass(100);
    }
    expect(times()?.addTime).toBe(first.addTime);
    expect(Number(a.kernel.get(id(0x101))?.addTime)).toBe(first.addTime);
  });

  it('a standby whose clock is set right gets the times of before', () => {
    const world = new World({ offsetMs: 5000 });
    const { a, b } = world;
    world.a.kernel.add(sa(0x101, { limits }));
    world.begin();
    a.kernel.transmit(id(0x101));
    world.pass(100).pass(100).pass(100);
    const there = () => Number(b.kernel.get(id(0x101))?.addTime) - Number(a.kernel.get(id(0x101))?.addTime);
    expect(there()).toBe(5);
    b.clock.stepRealtime(-5000);
    for (let i = 0; i < 5; i++) world.pass(100);
    expect(there()).toBe(0);
  });
});
