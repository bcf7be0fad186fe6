import { describe, expect, it } from 'vitest';
import { type Sa, saIdOf } from '../../src/client/index.ts';
import { Replica } from '../../src/replica/index.ts';
import { policy, sa } from '../../src/simulator/sas.ts';
import { SaDir } from '../../src/xfrm/index.ts';
import { recordOf, type TestNode, TIMER_MS, World, type WorldOptions } from './world.ts';

const id = (spi: number) => saIdOf(sa(spi));
const TWO_32 = 2n ** 32n;

function pair(sas: readonly Sa[] = [sa(0x101), sa(0x102)], options: WorldOptions = {}): World {
  const world = new World(options);
  for (const one of sas) world.a.kernel.add(one);
  world.a.kernel.must({ kind: 'NEWPOLICY', ...policy('10.1.0.0') });
  return world.begin();
}

const report = ([answer]: TestNode['answers']) =>
  answer !== undefined && 'promoted' in answer ? answer.promoted : undefined;
const refusal = ([answer]: TestNode['answers']) => (answer !== undefined && 'refused' in answer ? answer.refused : '');

describe('takeover', () => {
  it.each(['immediate', 'takeover'] as const)('install = %s: goes on above everything that was sent', (install) => {
    const world = pair(undefined, { install });
    const { a, b } = world;
    for (let i = 0; i < 1001; i++) a.kernel.transmit(id(0x101));
    world.pass(50);
    for (let i = 0; i < 77; i++) a.kernel.transmit(id(0x101)); // nobody hears of these
    a.powerOff();
    world.pass(200);
    const result = report(world.promote(b));
    expect(result).toMatchObject({ kind: 'takeover', role: 'active', term: 2, sas: 2, failed: 0, exhausted: 0 });
    expect(b.kernel.transmit(id(0x101))).toBeGreaterThan(1078n);
    expect(b.kernel.policies.size).toBe(1);
    expect(b.hooks).toEqual(['claim']);
    expect(b.disk).toEqual({ term: 2, role: 'active' });
  });

  it('strict: what the old active can have accepted is not accepted again, what comes later is', () => {
    const world = pair();
    const { a, b } = world;
    for (let n = 1n; n <= 100n; n++) a.kernel.accept(id(0x102), n);
    world.pass(20);
    for (let n = 101n; n <= 110n; n++) expect(a.kernel.accept(id(0x102), n)).toBe(true);
    world.nowMs += 20;
    a.powerOff();
    world.promote(b);
    for (let n = 1n; n <= 110n; n++) expect(b.kernel.accept(id(0x102), n)).toBe(false);
    const { seq } = recordOf(b, id(0x102))?.counters ?? { seq: 0 };
    expect(b.kernel.accept(id(0x102), BigInt(seq))).toBe(false);
    expect(b.kernel.accept(id(0x102), BigInt(seq) + 1n)).toBe(true);
  });

  it('strict: timers of the kernel come late, and what was accepted until then is not accepted again', () => {
    const world = pair([sa(0x102, { attributes: { replayThresh: 100_000, etimerThresh: 525 } })], {
      plan: { rateFloorPps: 1_000 },
      exposure: { adaptive: false },
    });
    const { a, b } = world;
    let n = 0n;
    // 525 jiffies are 2100 ms at 250 Hz.
    while (recordOf(b, id(0x102))?.counters.seq === 0 && n < 5000n) {
      expect(a.kernel.accept(id(0x102), ++n)).toBe(true);
      world.pass(1);
      if (n === 2100n) expect(recordOf(b, id(0x102))?.thresholds).toEqual({ packets: 100_000, timerMs: 2100 });
    }
    expect(n).toBeGreaterThan(2200n);
    const late = pair([sa(0x102, { attributes: { replayThresh: 100_000, etimerThresh: 525 } })], {
      plan: { rateFloorPps: 1_000 },
      exposure: { adaptive: false },
    });
    for (let i = 1n; i < n; i++) {
      late.a.kernel.accept(id(0x102), i);
      late.pass(1);
    }
    expect(recordOf(late.b, id(0x102))?.counters.seq).toBe(0);
    late.a.powerOff();
    late.promote(late.b);
    for (let i = 1n; i < n; i++) expect(late.b.kernel.accept(id(0x102), i)).toBe(false);
  });

  it('window: the bitmap as last seen', () => {
    const world = pair(undefined, { plan: { inbound: 'window' } });
    const { a, b } = world;
    for (const n of [1n, 2n, 3n, 5n, 6n]) a.kernel.accept(id(0x102), n);
    world.pass(TIMER_MS);
    a.powerOff();
    world.promote(b);
    const accepted = [1n, 2n, 3n, 4n, 5n, 6n, 7n].filter((n) => b.kernel.accept(id(0x102), n));
    expect(accepted).toEqual([4n, 7n]);
  });

  it('extended numbers carry into the upper half', () => {
    const options = { esn: true, window: 64, oseq: 0xffff_fff0, oseqHi: 4 };
    const world = pair([sa(0x101, options)]);
    const { a, b } = world;
    for (let i = 0; i < 10; i++) a.kernel.transmit(id(0x101));
    world.pass(TIMER_MS);
    a.powerOff();
    world.pass(100);
    world.promote(b);
    expect(b.kernel.transmit(id(0x101))).toBeGreaterThan(5n * TWO_32);
    expect(b.kernel.transmit(id(0x101))).toBeLessThan(5n * TWO_32 + 2n ** 31n);
  });

  it('inbound extended numbers go on over the edge of the lower half', () => {
    const world = pair([sa(0x102, { esn: true, window: 64 })]);
    const { a, b } = world;
    a.kernel.accept(id(0x102), 0x7fff_0000n);
    for (let n = TWO_32 - 40n; n < TWO_32 + 5n; n++) expect(a.kernel.accept(id(0x102), n)).toBe(true);
    world.pass(TIMER_MS);
    a.powerOff();
    world.promote(b);
    const { seq, seqHi } = recordOf(b, id(0x102))?.counters ?? { seq: 0, seqHi: 0 };
    const top = BigInt(seqHi) * TWO_32 + BigInt(seq);
    expect(top).toBeGreaterThanOrEqual(TWO_32 + 4n);
    expect(b.kernel.accept(id(0x102), TWO_32 + 4n)).toBe(false);
    expect(b.kernel.accept(id(0x102), top + 1n)).toBe(true);
  });

  it('32-bit numbers that are nearly used up: that SA cannot send, still receives, and it is said', () => {
    const world = pair([sa(0x101, { oseq: 0xffff_ff00 }), sa(0x102)]);
    const { a, b } = world;
    a.powerOff();
    const result = report(world.promote(b));
    expect(result).toMatchObject({ exhausted: 1, failed: 0 });
    expect(b.kernel.transmit(id(0x101))).toBeUndefined();
    expect(b.kernel.transmit(id(0x102))).toBeDefined();
    expect(b.kernel.accept(id(0x101), 2n ** 31n)).toBe(true);
    expect(b.said.some((line) => line.startsWith('error:') && line.includes('re-key'))).toBe(true);
  });

  it.each(['immediate', 'takeover'] as const)(
    'SAs with a direction (Linux 6.10): no number of the other one, install = %s',
    (install) => {
      const out = sa(0x101, { window: 0, attributes: { saDir: SaDir.OUT } });
      const into = sa(0x102, { attributes: { saDir: SaDir.IN } });
      const esn = sa(0x103, { esn: true, window: 64, attributes: { saDir: SaDir.IN } });
      const world = pair([out, into, esn], { install });
      const { a, b } = world;
      for (let n = 1n; n < 20n; n++) {
        a.kernel.transmit(id(0x101));
        a.kernel.accept(id(0x102), n);
        a.kernel.accept(id(0x103), n);
      }
      world.pass(TIMER_MS);
      a.powerOff();
      expect(report(world.promote(b))).toMatchObject({ sas: 3, failed: 0 });
      expect(b.kernel.transmit(id(0x101))).toBeGreaterThan(19n);
      expect(b.kernel.accept(id(0x102), 19n)).toBe(false);
      expect(b.kernel.accept(id(0x102), 2n ** 20n)).toBe(true);
      expect(b.said.filter((line) => line.includes('refused'))).toEqual([]);
      for (const spi of [0x102, 0x103]) expect(b.kernel.get(id(spi))?.oseq).toBe(0n);
      expect(b.kernel.get(id(0x101))?.seq).toBe(0n);
    },
  );

  it('lifetimes go on: what was used, what can have been used unseen, and since when', () => {
    const world = pair();
    const { a, b } = world;
    for (let i = 0; i < 600; i++) {
      a.kernel.transmit(id(0x101), 200n);
      world.nowMs += 2;
      world.settle();
    }
    world.pass(TIMER_MS);
    a.powerOff();
    world.promote(b);
    const state = b.kernel.get(id(0x101));
    expect(state?.packets).toBeGreaterThanOrEqual(600n);
    expect(state?.bytes).toBeGreaterThanOrEqual(120_000n);
    expect(state?.addTime).toBe(1_700_000_000n);
  });

  it('soft limits are looked at once more: what has passed one is told, once, with what can have been used unseen', () => {
    const limits = { softPacketLimit: 100n };
    const world = pair([
      sa(0x101, { limits }),
      sa(0x102, { limits: { softPacketLimit: 1_000_000n } }),
      sa(0x103, { limits: { softAddExpiresSeconds: 60n } }),
      sa(0x104, { limits: { softAddExpiresSeconds: 3_600n } }),
      sa(0x105, { limits }),
    ]);
    const { a, b } = world;
    for (let i = 0; i < 99; i++) a.kernel.transmit(id(0x101));
    for (let i = 0; i < 9; i++) a.kernel.transmit(id(0x105));
    world.pass(90_000);
    a.powerOff();
    world.promote(b);
    const told = () =>
      b.kernel.requests.flatMap((r) => (r.kind === 'EXPIRE' ? [[r.body.state.id.spi, r.body.hard]] : [])).sort();
    expect(told()).toEqual([
      [0x101, 0],
      [0x103, 0],
    ]);
    a.boot();
    world.settle();
    world.promote(a);
    world.promote(b);
    expect(told()).toHaveLength(2);
  });

  it('a fresh SA that went through a switchover is closed at the takeover after it', () => {
    const world = pair([sa(0x102)]);
    const { a, b } = world;
    world.promote(b);
    expect(b.state.role).toBe('active');
    for (let n = 1n; n <= 1n; n++) expect(b.kernel.accept(id(0x102), n)).toBe(true); // below the threshold: unseen
    b.powerOff();
    world.promote(a);
    expect(a.kernel.accept(id(0x102), 1n)).toBe(false);
  });

  it('writes that fail are tried once more, with the SA put in anew', () => {
    const world = pair();
    const { a, b } = world;
    a.powerOff();
    let failures = 0;
    b.kernel.fault = (request) => (request.kind === 'NEWAE' && failures++ < 1 ? 12 : undefined);
    expect(report(world.promote(b))).toMatchObject({ failed: 0, sas: 2 });
    expect(b.kernel.transmit(id(0x101))).toBeDefined();
    expect(b.kernel.transmit(id(0x102))).toBeDefined();
  });

  it('what fails for good is counted, the rest works', () => {
    const world = pair();
    const { a, b } = world;
    a.powerOff();
    b.kernel.fault = (r) =>
      (r.kind === 'NEWAE' && r.body.saId.spi === 0x101) || (r.kind === 'NEWSA' && r.body.id.spi === 0x101)
        ? 12
        : undefined;
    expect(report(world.promote(b))).toMatchObject({ failed: 1, sas: 2 });
    expect(b.state.role).toBe('active');
    expect(b.kernel.transmit(id(0x102))).toBeDefined();
  });

  it('a standby that is not complete refuses, and does it when insisted (S5)', () => {
    const world = new World();
    world.b.start();
    expect(refusal(world.promote(world.b))).toContain('not complete');
    expect(world.b.disk).toEqual({ term: 0, role: 'standby' });
    expect(report(world.promote(world.b, true))).toMatchObject({ term: 2, sas: 0 });
  });

  it('during the start: busy', () => {
    const world = new World();
    world.b.replica = new Replica(world.settings('b'));
    world.b.alive = true;
    world.b.replica.start({ term: 0, role: 'standby' });
    world.b.replica.promote(0, { force: true });
    expect(world.b.replica.take()).toContainEqual({
      type: 'refused',
      reason: expect.stringContaining('busy (starting)'),
    });
  });

  it('the term is on disk before anything else, and stays as it was if that fails', () => {
    const world = pair();
    const { a, b } = world;
    a.powerOff();
    b.diskFault = 'ENOSPC';
    const requests = b.kernel.requests.length;
    expect(refusal(world.promote(b))).toContain('ENOSPC');
    expect(b.state).toMatchObject({ role: 'standby', term: 1, phase: 'steady' });
    expect(b.kernel.requests.length).toBe(requests);
    b.diskFault = undefined;
    expect(report(world.promote(b))).toMatchObject({ term: 2 });
  });

  it('a term that could not be stored was not told to anybody: the active stays active', () => {
    const world = pair();
    world.b.diskFault = 'ENOSPC';
    world.promote(world.b, true);
    expect(world.a.state).toMatchObject({ role: 'active', term: 1 });
    world.a.kernel.transmit(id(0x101));
    expect(world.a.kernel.get(id(0x101))?.oseq).toBe(1n);
  });
});

describe('reigns', () => {
  it('an old active that comes back is a standby; its SAs are shut and follow the new one', () => {
    const world = pair();
    const { a, b } = world;
    world.cut();
    world.promote(b); // the operator has seen to it that nothing reaches a
    b.kernel.transmit(id(0x101));
    world.connect();
    world.settle();
    expect(a.state).toMatchObject({ role: 'standby', term: 2, complete: true });
    expect(b.state).toMatchObject({ role: 'active', term: 2 });
    expect(a.disk).toEqual({ term: 2, role: 'standby' });
    expect(a.kernel.transmit(id(0x101))).toBeUndefined();
    expect(a.hooks).toContain('release');
    expect(world.holder).not.toBe(a);
  });

  it('a node that steps down takes nothing in any more, even what its counters had not seen', () => {
    const world = pair();
    const { a } = world;
    for (let n = 1n; n <= 50n; n++) a.kernel.accept(id(0x102), n);
    world.demote(a, false);
    world.cut();
    const lone = pair();
    for (let n = 1n; n <= 50n; n++) lone.a.kernel.accept(id(0x102), n);
    lone.b.powerOff();
    lone.demote(lone.a, true);
    expect(lone.a.state.role).toBe('standby');
    for (const n of [1n, 50n, 51n, 1000n]) expect(lone.a.kernel.accept(id(0x102), n)).toBe(false);
  });

  it('two actives in one term: one of them stays, always the same', () => {
    const world = pair();
    const { a, b } = world;
    world.cut();
    a.crash();
    a.disk = { term: 2, role: 'active' };
    a.start();
    world.promote(b);
    expect(b.state.term).toBe(2);
    world.connect();
    world.settle();
    expect(world.actives).toEqual([a]);
    expect(b.state).toMatchObject({ role: 'standby', complete: true });
    expect(b.kernel.transmit(id(0x101))).toBeUndefined();
  });

  it('a takeover under way gives way to a newer reign', () => {
    const world = pair();
    const { a, b } = world;
    world.cut();
    b.answers = [];
    b.replica.promote(world.nowMs, { force: false });
    for (let i = 0; b.state.term === 1 && i < 100; i++) b.step();
    expect(b.state.term).toBe(2);
    b.step(); // something has been opened, or is about to be
    b.replica.onFrame(
      'a',
      { type: 'hello', term: 9, cluster: 'c', node: 'a', role: 'active', littleEndian: true, version: '0' },
      world.nowMs,
    );
    world.settle();
    expect(b.state).toMatchObject({ role: 'standby', term: 9, phase: 'steady' });
    expect(refusal(b.answers)).toContain('given up');
    expect(b.disk).toEqual({ term: 9, role: 'standby' });
    expect(b.kernel.transmit(id(0x101))).toBeUndefined();
    expect(a.alive).toBe(true);
  });

  it('nothing of an older term has an effect, and it is answered with the term (S4)', () => {
    const world = pair();
    const { b } = world;
    world.cut();
    world.promote(b);
    world.demote(b, true);
    b.replica.onConnected('a');
    b.replica.onFrame(
      'a',
      { type: 'hello', term: 1, cluster: 'c', node: 'a', role: 'active', littleEndian: true, version: '0' },
      0,
    );
    b.replica.take();
    const before = JSON.stringify([...b.state.sas].map((r) => r.counters));
    const counters = {
      oseq: 9,
      oseqHi: 0,
      seq: 9,
      seqHi: 0,
      bitmap: [0],
      bytes: 9,
      packets: 9,
      addTime: 9,
      useTime: 9,
    };
    const [first] = [...b.state.sas];
    const old = [
      { type: 'counters', entries: [{ handle: first?.handle ?? 0, counters }] },
      { type: 'saDelete', handle: first?.handle ?? 0 },
      { type: 'sa', handle: 77, thresholds: { packets: 2, timerMs: 1000 }, granted: 0, sa: sa(0x999) },
      { type: 'snapshotBegin', sas: 0, policies: 0, asked: 0 },
      { type: 'snapshotEnd' },
      { type: 'policy', policy: policy('10.7.0.0') },
      { type: 'policyDelete', policy: policy('10.1.0.0') },
      { type: 'handoverDone' },
      { type: 'handoverOffer' },
      { type: 'handoverRequest' },
      { type: 'pong', timeMs: 1e9 },
    ] as const;
    for (const frame of old) {
      b.replica.onFrame('a', { ...frame, term: 1 }, 0);
      const effects = b.replica.take();
      expect(effects).toEqual([
        { type: 'send', to: ['a'], frame: expect.objectContaining({ type: 'hello', term: 2 }) },
      ]);
    }
    expect(JSON.stringify([...b.state.sas].map((r) => r.counters))).toBe(before);
    expect(b.state).toMatchObject({ role: 'standby', term: 2, phase: 'steady' });
    expect(b.state.policies.size).toBe(1);
  });
});
