import { describe, expect, it } from 'vitest';
import { type Sa, saIdOf } from '../../src/client/index.ts';
import type { DryRun } from '../../src/replica/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { formatSpi, SaExtraFlag } from '../../src/xfrm/index.ts';
import { type TestNode, TIMER_MS, World, type WorldOptions } from './world.ts';

const id = (spi: number) => saIdOf(sa(spi));
const [OUT, IN, ESN] = [0x101, 0x102, 0x103];

function pair(options: WorldOptions = {}, more: readonly Sa[] = []): World {
  const world = new World({ mode: 'safe', numbersMin: 1000, ...options });
  for (const one of [sa(OUT), sa(IN), sa(ESN, { esn: true, window: 64 }), ...more]) world.a.kernel.add(one);
  world.begin();
  for (let i = 0; i < 7; i++) world.a.kernel.transmit(id(OUT));
  for (let n = 1n; n <= 9n; n++) world.a.kernel.accept(id(IN), n);
  return world.pass(TIMER_MS).pass(0);
}

const look = (world: World, node: TestNode, force = false): DryRun =>
  node.replica.dryRun(node.kernel.dump(), world.nowMs, { force });
const codes = ({ against }: DryRun) => against.map(({ code }) => code);

/** All that a look could change. */
const stateOf = ({ state, kernel, disk }: TestNode) =>
  JSON.stringify(
    [[...state.sas].map(({ next: _, ...record }) => record), [...kernel.sas], state.phase, state.term, disk],
    (_, v) => (typeof v === 'bigint' ? `${v}` : v),
  );

describe('a dry run', () => {
  it.each([
    ['safe', 'immediate', 'strict'],
    ['safe', 'takeover', 'window'],
    ['available', 'immediate', 'strict'],
    ['available', 'takeover', 'strict'],
  ] as const)('prints what promote then does: mode %s, install %s, inbound %s', (mode, install, inbound) => {
    const world = pair({ mode, install, plan: { inbound }, numbersMin: mode === 'safe' ? 1000 : 100 });
    const { a, b } = world;
    a.powerOff();
    world.nowMs += 40;
    const before = stateOf(b);
    const plan = look(world, b);
    expect(stateOf(b)).toBe(before);
    expect(b.replica.take()).toEqual([]);
    expect(plan).toMatchObject({ course: 'takeover', term: 1, newTerm: 2, totals: { sas: 3 } });
    expect(codes(plan)).toEqual([]);
    expect(plan.totals.anew).toBe(install === 'takeover' ? 3 : 0);
    const [answer] = world.promote(b);
    expect(answer).toMatchObject({
      promoted: {
        kind: 'takeover',
        term: plan.newTerm,
        sas: plan.totals.sas,
        exhausted: plan.totals.exhausted,
        skipMax: plan.totals.skipMax,
        closedMax: plan.totals.closedMax,
      },
    });
    for (const printed of plan.sas) {
      const spi = Number(printed.spi);
      const written = b.kernel.get(id(spi));
      expect([written?.oseq, written?.seq], printed.spi).toEqual([BigInt(printed.newOseq), BigInt(printed.newSeq)]);
    }
    expect(plan.sas.find(({ spi }) => spi === formatSpi(OUT))).toMatchObject({
      direction: 'out',
      oseq: 7,
      skipBy: mode === 'safe' ? 'grant' : 'estimate',
      lossMax: 0,
    });
    const inbound_ = plan.sas.find(({ spi }) => spi === formatSpi(IN));
    expect(inbound_).toMatchObject({ direction: 'in', skip: 0, seq: 9, skipBy: 'none' });
    expect(inbound_?.closed === 0).toBe(inbound === 'window');
    expect(inbound_?.lossMax).toBe(inbound_?.closed);
  });

  it('with the active connected: a switchover, and where it would put every SA', () => {
    const world = pair();
    const { a, b } = world;
    const plan = look(world, b);
    expect(plan.course).toBe('switchover');
    expect(codes(plan)).toEqual(['connected']);
    expect(world.promote(b)).toMatchObject([{ promoted: { kind: 'switchover', term: plan.newTerm } }]);
    for (const { spi, switchover } of plan.sas) {
      const written = b.kernel.get(id(Number(spi)));
      expect([written?.oseq, written?.seq]).toEqual([BigInt(switchover?.oseq ?? -1), BigInt(switchover?.seq ?? -1)]);
    }
    expect(a.state.role).toBe('standby');
  });

  it('on the active it says so', () => {
    const world = pair();
    const plan = look(world, world.a);
    expect(plan).toMatchObject({ course: 'none', unseenMs: null, sas: [], totals: { sas: 0 } });
    expect(codes(plan)).toEqual(['active']);
  });

  it('on a standby that is not complete: refused, and what force would do', () => {
    const world = pair();
    const { a, b } = world;
    a.powerOff();
    b.crash();
    b.start();
    const plan = look(world, b);
    expect(plan).toMatchObject({ course: 'refused', totals: { sas: 0, removed: 3 } });
    expect(plan.against[0]).toMatchObject({ code: 'incomplete', refuses: true });
    expect(codes(plan)).toContain('removed');
    const forced = look(world, b, true);
    expect(forced.course).toBe('takeover');
    expect(forced.against[0]).toMatchObject({ code: 'incomplete', refuses: false });
    // It has never had an account: nobody can say how old its knowledge is.
    expect(codes(forced)).toEqual(['incomplete', 'unseen', 'removed']);
    world.promote(b, true);
    expect(b.kernel.sas.size).toBe(0);
  });

  it('while the standby is being brought up to date: refused', () => {
    const world = pair();
    world.b.replica.resync();
    world.until(() => world.b.state.staleSas !== undefined);
    expect(look(world, world.b).against[0]).toMatchObject({ code: 'updating', refuses: true });
  });

  it('names numbers without a grant, a long silence, SAs that cannot be parked, and numbers that are used up', () => {
    const wraps = sa(0x104, { attributes: { saExtraFlags: SaExtraFlag.OSEQ_MAY_WRAP } });
    const world = pair({}, [wraps, sa(0x105, { oseq: 0xffff_ff00 })]);
    const { a, b } = world;
    a.powerOff();
    for (const record of b.state.sas) if (record.id.spi === OUT) record.granted = 0;
    world.pass(3_600_000);
    const plan = look(world, b);
    expect(codes(plan)).toEqual(['ungranted', 'unseen', 'exhausted', 'unparkable']);
    expect(plan.sas.find(({ spi }) => spi === formatSpi(0x105))?.exhausted).toBe(true);
    expect(plan.sas.find(({ spi }) => spi === formatSpi(0x104))).toMatchObject({ anew: true });
    expect(plan.sas.find(({ spi }) => spi === formatSpi(OUT))).toMatchObject({ skipBy: 'estimate' });
  });
});

describe('switchover', () => {
  const said = (node: TestNode, world: World): TestNode['answers'] => {
    node.answers = [];
    node.replica.switchover(world.nowMs);
    world.settle();
    return node.answers;
  };

  it('on the standby it is promote, on the active demote', () => {
    const world = pair();
    const { a, b } = world;
    expect(said(b, world)).toMatchObject([{ promoted: { kind: 'switchover', term: 2 } }]);
    expect([a.state.role, b.state.role]).toEqual(['standby', 'active']);
    expect(said(b, world)).toEqual([{ demoted: true }]);
    expect([a.state.role, b.state.role]).toEqual(['active', 'standby']);
    expect(a.state.term).toBe(3);
  });

  it.each([
    ['the standby, the active gone', (w: World) => [w.a, w.b], 'not connected'],
    ['the active, the standby gone', (w: World) => [w.b, w.a], 'no standby is connected'],
  ] as const)('on %s: refused, and nothing happens', (_, who, words) => {
    const world = pair();
    const [gone, left] = who(world) as [TestNode, TestNode];
    gone.powerOff();
    const before = { role: left.state.role, term: left.state.term, disk: left.disk };
    expect(said(left, world)).toMatchObject([{ refused: expect.stringContaining(words) }]);
    expect({ role: left.state.role, term: left.state.term, disk: left.disk }).toEqual(before);
  });

  it('between two standbys: refused, nobody can hand over', () => {
    const world = pair();
    const { a, b } = world;
    a.powerOff();
    a.boot();
    world.connect();
    world.settle();
    expect(said(b, world)).toMatchObject([{ refused: expect.stringContaining('a standby too') }]);
    expect(world.actives).toEqual([]);
  });

  it('the active dies under way: refused, not a takeover', () => {
    const world = pair();
    const { a, b } = world;
    b.answers = [];
    b.replica.switchover(world.nowMs);
    world.until(() => a.state.phase === 'handingOver');
    a.powerOff();
    world.settle();
    expect(b.answers).toMatchObject([{ refused: expect.stringContaining('no handover') }]);
    expect(b.state).toMatchObject({ role: 'standby', phase: 'steady', term: 1 });
  });
});
