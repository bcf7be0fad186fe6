import { describe, expect, it } from 'vitest';
import { newAevent, type Sa, saIdOf } from '../../src/client/index.ts';
import { exposureOf } from '../../src/replica/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { recordOf, type TestNode, TIMER_MS, World, type WorldOptions } from './world.ts';

const id = (spi: number) => saIdOf(sa(spi));

function pair(sas: readonly Sa[] = [sa(0x101), sa(0x102)], options: WorldOptions = {}): World {
  const world = new World(options);
  for (const one of sas) world.a.kernel.add(one);
  return world.begin();
}

/** Until SAs without traffic are known to be silent: their timers may have something to say first. */
const fallSilent = (world: World): World =>
  world
    .pass(TIMER_MS + 200)
    .pass(TIMER_MS + 200)
    .pass(100);
const exposed = (world: World, node: TestNode, spi: number) => {
  const record = recordOf(node, id(spi));
  return record && exposureOf(node.state, world.nowMs)?.of.get(record);
};

describe('exposure', () => {
  it('active: what the standby has not confirmed, and what the kernel may hold back', () => {
    const world = pair();
    const { a, b } = world;
    world.pass(20);
    expect(exposed(world, a, 0x101)).toMatchObject({ packets: 1 });
    for (let i = 0; i < 11; i++) a.kernel.transmit(id(0x101));
    a.readEvents();
    expect(exposed(world, a, 0x101)?.packets).toBe(10 + 1);
    // It has arrived, and nobody has said so.
    world.settle();
    expect(recordOf(b, id(0x101))?.counters.oseq).toBe(10);
    expect(exposed(world, a, 0x101)?.packets).toBe(10 + 1);
    world.pass(20);
    expect(exposed(world, a, 0x101)).toMatchObject({ packets: 1 });
    world.cut();
    for (let i = 0; i < 3; i++) for (let k = 0; k < 10; k++) a.kernel.transmit(id(0x101));
    world.pass(500);
    expect(exposed(world, a, 0x101)?.packets).toBe(31);
    const total = exposureOf(a.state, world.nowMs);
    expect(total).toMatchObject({ packets: 32, worst: { id: { spi: 0x101 } } });
    // 500 ms since the last proof, and the timer of a second, at the latest.
    expect(total?.ms).toBeCloseTo(500 + 1100 * (8 / 7), 6);
  });

  it('a value that is overtaken before it is confirmed is confirmed with a later round', () => {
    const world = pair();
    const { a } = world;
    for (let i = 0; i < 40; i++) {
      for (let k = 0; k < 4; k++) a.kernel.transmit(id(0x101));
      // Everything but the confirmation of the latest pong arrives.
      world.nowMs += 5;
      for (const node of world.nodes) node.tick();
      for (let k = 0; k < 60; k++) world.round();
      expect(exposed(world, a, 0x101)?.packets).toBeLessThanOrEqual(6 * 4);
    }
  });

  it("nothing is proven by thresholds that are not the kernel's any more", () => {
    const world = pair();
    const { a, b } = world;
    world.pass(20);
    const proven = b.state.provenMs;
    world.nowMs += 10;
    a.kernel.must(newAevent(id(0x101), { replayThresh: 500 }));
    b.tick();
    while (b.step() || world.deliver(b)) {}
    // The pong, and with it what the event socket has: the kernel's thresholds are to be read first.
    a.step();
    while (world.deliver(a)) {}
    expect(b.state.provenMs).toBe(proven);
    world.settle();
    expect(b.state.provenMs).toBe(world.nowMs);
    expect(recordOf(b, id(0x101))?.thresholds.packets).toBe(500);
  });

  it('no standby with a whole account: everything is exposed, on both', () => {
    const world = new World();
    world.a.kernel.add(sa(0x101));
    world.a.start();
    world.settle();
    expect(exposureOf(world.a.state, world.nowMs)).toBeUndefined();
    world.b.start();
    expect(exposureOf(world.b.state, world.nowMs)).toBeUndefined();
    world.connect();
    world.settle().pass(20);
    expect(exposureOf(world.a.state, world.nowMs)?.packets).toBe(1);
    expect(exposureOf(world.b.state, world.nowMs)?.packets).toBeGreaterThan(0);
    world.b.crash();
    world.b.start();
    world.connect();
    world.until(() => world.b.state.staleSas !== undefined);
    expect(exposureOf(world.a.state, world.nowMs)).toBeUndefined();
  });

  it('standby: what a takeover now would close', () => {
    const world = pair();
    const { b } = world;
    world.pass(20);
    world.nowMs += 300;
    const now = exposed(world, b, 0x102);
    world.a.powerOff();
    const [answer] = world.promote(b);
    // 300 ms at 1000 packets a second, and one held back.
    expect(now).toMatchObject({ packets: 301 });
    expect(answer).toMatchObject({ promoted: { closedMax: 301 } });
  });
});

describe('quiet SAs', () => {
  it('become so when nothing moved for longer than their timer, are exact, and lose it with the next packet', () => {
    const world = pair();
    const { a, b } = world;
    for (const n of [1n, 2n, 3n, 5n, 6n]) a.kernel.accept(id(0x102), n);
    world.pass(500);
    expect(recordOf(b, id(0x102))?.quiet).toBe(false);
    fallSilent(world);
    expect(recordOf(b, id(0x102))).toMatchObject({ quiet: true, counters: { seq: 6, bitmap: [0b111011] } });
    expect(exposed(world, a, 0x102)).toEqual({ packets: 0, ms: 0 });
    // One packet, which N = 2 would hold back: its timer has run idle, and the kernel speaks at once.
    a.kernel.accept(id(0x102), 7n);
    world.settle();
    expect(recordOf(b, id(0x102))).toMatchObject({ quiet: false, counters: { seq: 7 } });
  });

  it('open: nothing is lost, and nothing from before the last pong is accepted again', () => {
    const world = pair(undefined, { plan: { quiet: 'open' } });
    const { a, b } = world;
    for (const n of [1n, 2n, 3n, 5n, 6n]) a.kernel.accept(id(0x102), n);
    fallSilent(world);
    expect(exposed(world, b, 0x102)).toEqual({ packets: 0, ms: 0 });
    a.powerOff();
    world.nowMs += 5000;
    expect(world.promote(b)).toMatchObject([{ promoted: { closedMax: 0 } }]);
    expect([1n, 2n, 3n, 4n, 5n, 6n, 7n].filter((n) => b.kernel.accept(id(0x102), n))).toEqual([4n, 7n]);
  });

  it('closed: for what can have come since the last pong, and nothing that the kernel could hold back', () => {
    const world = pair(undefined, { plan: { rateFloorPps: 10 } });
    const { a, b } = world;
    for (let n = 1n; n <= 20n; n++) a.kernel.accept(id(0x102), n);
    fallSilent(world);
    // Long ago: its rate of then says nothing any more.
    for (let i = 0; i < 600; i++) world.pass(1000);
    a.powerOff();
    world.nowMs += 3000;
    expect(world.promote(b)).toMatchObject([{ promoted: { closedMax: 30 } }]);
    expect(b.kernel.accept(id(0x102), 50n)).toBe(false);
    expect(b.kernel.accept(id(0x102), 51n)).toBe(true);
  });

  it('what is busy up to the last pong is not taken to be silent because nothing is heard any more', () => {
    const world = pair(undefined, { plan: { rateFloorPps: 0, rateMaxPps: 1 } });
    const { a, b } = world;
    let n = 0n;
    for (let i = 0; i < 300; i++) {
      for (let k = 0; k < 10; k++) a.kernel.accept(id(0x102), ++n);
      world.pass(10);
    }
    world.cut();
    for (let i = 0; i < 300; i++) {
      for (let k = 0; k < 10; k++) a.kernel.accept(id(0x102), ++n);
      world.pass(10);
    }
    world.nowMs += 300_000;
    a.powerOff();
    world.promote(b);
    for (let k = 1n; k <= n; k++) expect(b.kernel.accept(id(0x102), k)).toBe(false);
  });

  it('are none without a timer, and with one that was set instead of none only once the kernel has spoken', () => {
    const world = pair([sa(0x102, { attributes: { replayThresh: 10, etimerThresh: 0 } })], {
      exposure: { adaptive: false },
    });
    const { a, b } = world;
    fallSilent(world);
    expect(recordOf(b, id(0x102))?.quiet).toBe(false);
    a.kernel.must(newAevent(id(0x102), { etimerThresh: 250 }));
    fallSilent(world);
    expect(recordOf(a, id(0x102))?.thresholds).toEqual({ packets: 10, timerMs: 1000 });
    // The timer does not run: five packets and no word.
    for (let n = 1n; n <= 5n; n++) a.kernel.accept(id(0x102), n);
    fallSilent(world);
    expect(recordOf(b, id(0x102))).toMatchObject({ quiet: false, thresholds: { packets: 10, timerMs: 0 } });
    for (let n = 6n; n <= 11n; n++) a.kernel.accept(id(0x102), n);
    fallSilent(world);
    expect(recordOf(b, id(0x102))).toMatchObject({
      quiet: true,
      thresholds: { packets: 10, timerMs: 1000 },
      counters: { seq: 11 },
    });
  });

  it('a machine that stops for a while with its timers makes no SA quiet that has something to say', () => {
    const world = pair();
    const { a, b } = world;
    for (let n = 1n; n <= 4n; n++) a.kernel.accept(id(0x102), n);
    world.settle();
    a.kernel.accept(id(0x102), 5n);
    // The daemon is told of two seconds that its kernel has not had.
    a.replica.tick(world.nowMs + 2000);
    world.settle();
    expect(recordOf(b, id(0x102))).toMatchObject({ quiet: false, counters: { seq: 5 } });
  });

  it('are told anew to a standby that comes back', () => {
    const world = fallSilent(pair());
    const { b } = world;
    b.crash();
    b.start();
    world.connect();
    world.settle();
    expect([...b.state.sas].map((r) => r.quiet)).toEqual([true, true]);
  });
});

describe('sweep', () => {
  it('finds what an event that was lost would have said', () => {
    const world = pair(undefined, { sweepMs: 2000 });
    const { a, b } = world;
    a.kernel.loseNext();
    for (let i = 0; i < 2; i++) a.kernel.transmit(id(0x101));
    world.settle();
    expect(recordOf(b, id(0x101))?.counters.oseq).toBe(0);
    for (let i = 0; i < 20; i++) world.pass(100);
    expect(recordOf(b, id(0x101))?.counters.oseq).toBe(2);
    expect(a.state.counts).toMatchObject({ overruns: 0 });
  });

  it('reads every SA once in its time, never with both thresholds, and not more at once than it may', () => {
    const spis = Array.from({ length: 600 }, (_, i) => 0x1000 + i);
    const world = pair(
      spis.map((spi) => sa(spi)),
      { sweepMs: 6000 },
    );
    const { a } = world;
    fallSilent(world);
    a.kernel.requests.length = 0;
    for (let i = 0; i < 60; i++) world.pass(100);
    const read = a.kernel.requests.flatMap((r) => (r.kind === 'GETAE' ? [r.body] : []));
    expect(new Set(read.map(({ saId }) => saId.spi)).size).toBe(600);
    expect(read).toHaveLength(600);
    expect(read.every(({ flags }) => flags === 0)).toBe(true);
    a.kernel.requests.length = 0;
    world.pass(60_000);
    expect(a.kernel.requests).toHaveLength(256);
    for (const spi of spis) a.kernel.delete(id(spi));
    world.settle();
    a.kernel.requests.length = 0;
    world.pass(6000).pass(6000);
    expect(a.kernel.requests).toEqual([]);
  });

  it('what was set back by hand is not followed', () => {
    const world = pair(undefined, { sweepMs: 1000 });
    const { a, b } = world;
    for (let i = 0; i < 8; i++) a.kernel.transmit(id(0x101));
    world.settle();
    a.kernel.must(newAevent(id(0x101), { replayVal: { oseq: 3, seq: 0, bitmap: 0 } }));
    for (let i = 0; i < 20; i++) world.pass(100);
    expect(recordOf(b, id(0x101))?.counters.oseq).toBe(8);
  });

  it('0: never', () => {
    const world = fallSilent(pair(undefined, { sweepMs: 0 }));
    world.a.kernel.requests.length = 0;
    for (let i = 0; i < 30; i++) world.pass(1000);
    expect(world.a.kernel.requests).toEqual([]);
  });
});
