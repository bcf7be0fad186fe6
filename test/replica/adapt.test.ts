import { describe, expect, it } from 'vitest';
import { newAevent, type Request, type Sa, saIdOf } from '../../src/client/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { recordOf, type TestNode, World, type WorldOptions } from './world.ts';

const id = (spi: number) => saIdOf(sa(spi));
const DEFAULT = { packets: 2, timerMs: 1000 };

function pair(sas: readonly Sa[] = [sa(0x101)], options: WorldOptions = {}): World {
  const world = new World(options);
  for (const one of sas) world.a.kernel.add(one);
  return world.begin();
}

/** So many packets a second go out for so long. */
function flow(world: World, pps: number, ms: number, node: TestNode = world.a): void {
  const stepMs = 10;
  for (let passed = 0; passed < ms; passed += stepMs) {
    for (let i = 0; i < (pps * stepMs) / 1000; i++) node.kernel.transmit(id(0x101));
    world.pass(stepMs);
  }
}

/** Changes of thresholds that were written to a kernel. */
const writesOf = ({ kernel }: TestNode) => kernel.requests.filter((request) => setsThresholds(request));
const setsThresholds = (request: Request): boolean =>
  request.kind === 'NEWAE' &&
  (request.attributes.replayThresh !== undefined || request.attributes.etimerThresh !== undefined);

describe('thresholds from rates', () => {
  it('a busy SA speaks every 20 ms, not every second packet, and is written to once', () => {
    const world = pair();
    const { a, b } = world;
    flow(world, 10_000, 3000);
    const { packets, timerMs } = a.kernel.thresholds(id(0x101)) ?? DEFAULT;
    expect(packets).toBeGreaterThan(150);
    expect(packets).toBeLessThan(400);
    expect(timerMs).toBe(1000);
    expect(recordOf(b, id(0x101))?.thresholds).toEqual({ packets, timerMs });
    expect(writesOf(a).length).toBeLessThanOrEqual(2);
    const { aevents } = a.state.counts;
    flow(world, 10_000, 2000);
    expect(a.state.counts.aevents - aevents).toBeLessThanOrEqual(2 * 2 * 50);
    expect(a.state.counts.aevents - aevents).toBeGreaterThan(40);
  });

  it('never above the target, nor above a quarter of a grant', () => {
    for (const [options, most] of [
      [{ exposure: { packets: 30 } }, 31],
      [{ numbersMin: 40 }, 10],
    ] as const) {
      const world = pair(undefined, options);
      flow(world, 10_000, 2000);
      expect(world.a.kernel.thresholds(id(0x101))).toEqual({ packets: most, timerMs: 1000 });
    }
  });

  it('the standby knows of a higher threshold before the kernel has it', () => {
    const world = pair();
    const { a } = world;
    const seen: number[] = [];
    a.kernel.fault = (request) => {
      if (setsThresholds(request)) seen.push(recordOf(a, id(0x101))?.thresholds.packets ?? 0);
      return undefined;
    };
    flow(world, 10_000, 1000);
    expect(seen.length).toBeGreaterThan(0);
    expect(seen.every((packets) => packets > 2)).toBe(true);
    const frames = world.frames.flatMap(({ frame }) => (frame.type === 'sa' ? [frame.thresholds.packets] : []));
    expect(frames).toContain(seen[0]);
  });

  it('slow SAs, idle ones and those that one cannot count are left as they are', () => {
    const world = pair([sa(0x101), sa(0x102)]);
    flow(world, 100, 5000);
    for (const spi of [0x101, 0x102]) expect(world.a.kernel.thresholds(id(spi))).toEqual(DEFAULT);
    expect(writesOf(world.a)).toEqual([]);
  });

  it('comes down when the SA is slower for long', () => {
    const world = pair();
    flow(world, 10_000, 2000);
    for (let i = 0; i < 40; i++) flow(world, 100, 2000);
    for (let i = 0; i < 40; i++) {
      world.a.kernel.transmit(id(0x101));
      world.pass(2000);
    }
    expect(world.a.kernel.thresholds(id(0x101))?.packets).toBeLessThan(60);
    expect(writesOf(world.a).length).toBeLessThan(8);
  });

  it.each([100, 250, 300, 1000])('a timer above the target, or none, is lowered to it: HZ %i', (hz) => {
    const none = sa(0x102, { attributes: { replayThresh: 10, etimerThresh: 0 } });
    const world = pair([sa(0x101, { attributes: { etimerThresh: 20 * hz } }), none], { hz });
    const { a, b } = world;
    for (let i = 0; i < 200; i++) world.pass(100);
    for (const spi of [0x101, 0x102]) {
      const { timerMs } = a.kernel.thresholds(id(spi)) ?? { timerMs: 0 };
      expect(timerMs).toBeGreaterThanOrEqual(700);
      expect(timerMs).toBeLessThanOrEqual(1000);
    }
    expect(writesOf(a).length).toBeLessThanOrEqual(10);
    expect(a.state.hz.low).toBeLessThanOrEqual(hz);
    expect(a.state.hz.high).toBeGreaterThanOrEqual(hz);
    // Until the kernel has spoken the old timer may be running, or none.
    expect(recordOf(b, id(0x102))?.thresholds).toEqual({ packets: 10, timerMs: 0 });
    a.replica.resign();
    world.settle();
    expect(a.kernel.thresholds(id(0x101))).toEqual({ packets: 2, timerMs: 20_000 });
    expect(a.kernel.thresholds(id(0x102))).toEqual({ packets: 10, timerMs: 0 });
  });

  it('is put back at a handover, and the new active begins with its own kernel', () => {
    const world = pair();
    const { a, b } = world;
    b.kernel.must(newAevent(id(0x101), { replayThresh: 7 }));
    flow(world, 10_000, 1500);
    expect(a.kernel.thresholds(id(0x101))?.packets).toBeGreaterThan(100);
    expect(world.promote(b)).toMatchObject([{ promoted: { kind: 'switchover' } }]);
    world.pass(100);
    expect(a.kernel.thresholds(id(0x101))).toEqual(DEFAULT);
    expect(recordOf(b, id(0x101))?.thresholds).toEqual({ packets: 7, timerMs: 1000 });
    expect(recordOf(a, id(0x101))?.thresholds).toEqual({ packets: 7, timerMs: 1000 });
  });

  it('what a key manager has set before is put back; what it sets meanwhile stays', () => {
    const world = pair([sa(0x101, { attributes: { replayThresh: 5 } })]);
    const { a, b } = world;
    flow(world, 10_000, 1500);
    a.replica.resign();
    world.settle();
    expect(a.kernel.thresholds(id(0x101))?.packets).toBe(5);
    flow(world, 10_000, 1500);
    expect(a.kernel.thresholds(id(0x101))?.packets).toBeGreaterThan(100);
    a.kernel.must(newAevent(id(0x101), { replayThresh: 9 }));
    flow(world, 10_000, 3000);
    expect(a.kernel.thresholds(id(0x101))?.packets).toBe(9);
    expect(recordOf(b, id(0x101))?.thresholds.packets).toBe(9);
    a.replica.resign();
    world.settle();
    expect(a.kernel.thresholds(id(0x101))?.packets).toBe(9);
  });

  it('an SA that the kernel would never speak of gets thresholds, and loses them again', () => {
    const world = pair([sa(0x101, { attributes: { replayThresh: 0, etimerThresh: 0 } })]);
    const { a } = world;
    for (let i = 0; i < 80; i++) world.pass(100);
    const { packets, timerMs } = a.kernel.thresholds(id(0x101)) ?? { packets: 0, timerMs: 0 };
    expect(packets).toBe(2);
    expect(timerMs).toBeGreaterThanOrEqual(700);
    a.replica.resign();
    // The daemon ends, so that nothing follows from it.
    while (a.step()) {}
    expect(a.kernel.thresholds(id(0x101))).toEqual({ packets: 0, timerMs: 0 });
  });

  it('adaptive = false: nothing is written', () => {
    const world = pair(undefined, { exposure: { adaptive: false } });
    flow(world, 10_000, 1500);
    expect(writesOf(world.a)).toEqual([]);
    expect(world.a.kernel.thresholds(id(0x101))).toEqual(DEFAULT);
  });
});
