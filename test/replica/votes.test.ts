import { describe, expect, it } from 'vitest';
import { saIdOf } from '../../src/client/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { recordOf, type TestNode, World, type WorldOptions } from './world.ts';

const id = saIdOf(sa(0x101));
const GRANT = 64;

function three(options: WorldOptions = {}): World & Record<'c', TestNode> {
  const world = new World({ names: ['a', 'b', 'c'], mode: 'safe', numbersMin: GRANT, ...options });
  world.a.kernel.add(sa(0x101));
  world.begin().pass(100);
  return Object.assign(world, { c: world.node('c') });
}

const report = ([answer]: TestNode['answers']) =>
  answer !== undefined && 'promoted' in answer ? answer.promoted : undefined;
const refusal = ([answer]: TestNode['answers']) => (answer !== undefined && 'refused' in answer ? answer.refused : '');

/** Sends until the kernel lets nothing more out; how many that were. */
function sendAll(world: World, node: TestNode, most: number): number {
  let sent = 0;
  for (; sent < most && node.kernel.transmit(id) !== undefined; sent++) world.settle();
  return sent;
}

const granted = (node: TestNode): number => recordOf(node, id)?.granted ?? 0;

describe('three nodes', () => {
  it('both standbys have everything, and stay in step', () => {
    const world = three();
    const { a, b, c } = world;
    for (let i = 0; i < 10; i++) a.kernel.transmit(id);
    world.pass(1200).pass(100);
    for (const standby of [b, c]) {
      expect(standby.state).toMatchObject({ role: 'standby', complete: true });
      expect(recordOf(standby, id)?.counters.oseq).toBe(10);
      expect(standby.kernel.transmit(id)).toBeUndefined();
    }
    expect(a.state.standbys.map(({ name }) => name)).toEqual(['b', 'c']);
  });

  it('one standby is away: the other one raises grants, and the active goes on', () => {
    const world = three();
    const { a, b, c } = world;
    c.crash();
    expect(sendAll(world, a, 5 * GRANT)).toBe(5 * GRANT);
    expect(granted(b)).toBe(granted(a));
    b.crash();
    expect(sendAll(world, a, 5 * GRANT)).toBeLessThanOrEqual(GRANT);
  });

  it('the active dies: one standby takes over with the word of the other, which follows', () => {
    const world = three();
    const { a, b, c } = world;
    sendAll(world, a, 100);
    a.powerOff();
    expect(report(world.promote(b))).toMatchObject({ kind: 'takeover', term: 2, failed: 0 });
    world.pass(100);
    expect(c.state).toMatchObject({ role: 'standby', term: 2, complete: true });
    expect(b.kernel.transmit(id)).toBeGreaterThan(100n);
    expect(c.kernel.transmit(id)).toBeUndefined();
    a.boot();
    world.connect();
    world.settle().pass(100);
    expect(a.state).toMatchObject({ role: 'standby', term: 2, complete: true });
    expect(report(world.promote(a))).toMatchObject({ kind: 'switchover', term: 4 });
    expect(world.actives).toEqual([a]);
  });

  it('one node of three is no majority: refused, and --force is the way out', () => {
    const world = three();
    const { a, b, c } = world;
    a.powerOff();
    c.crash();
    expect(refusal(world.promote(b))).toMatch(/1 of 3 nodes are connected, a takeover needs 2.*--force/);
    expect(b.state).toMatchObject({ role: 'standby', term: 1, complete: true });
    expect(report(world.promote(b, true))).toMatchObject({ kind: 'takeover', term: 2 });
  });

  it('a standby that sees the active at work does not agree: the link between two nodes is no reason', () => {
    const world = three();
    const { a, b, c } = world;
    world.cut('a', 'b');
    expect(refusal(world.promote(b))).toContain('c: a is active and connected to it');
    expect(world.actives).toEqual([a]);
    world.pass(100);
    expect(b.state).toMatchObject({ complete: true, phase: 'steady' });
    expect(c.state).toMatchObject({ term: 1, complete: true });
  });

  it('a reign that it has missed: not promoted, and its word does not count', () => {
    const world = three();
    const { a, b, c } = world;
    world.cut('c');
    a.powerOff();
    a.boot();
    // Only by force, as a has nothing: b reigns, and c does not know.
    world.promote(b, true);
    sendAll(world, b, 10);
    world.connect('a', 'b');
    world.settle().pass(100);
    b.powerOff();
    world.connect('a', 'c');
    world.settle();
    expect(refusal(world.promote(c))).toMatch(/not complete/);
    expect(report(world.promote(a))).toMatchObject({ kind: 'takeover', term: 4 });
    expect(world.actives).toEqual([a]);
  });

  it('a grant that one standby has missed: it gets it from the other before it takes over', () => {
    const world = three();
    const { a, b, c } = world;
    // Frames to b stay on the way while c raises the grant.
    const toB = (): typeof a.outbox => a.outbox.filter(({ to }) => to === 'b');
    const before = granted(b);
    for (let i = 0; i < GRANT && granted(c) === before; i++) {
      a.kernel.transmit(id);
      for (let steps = 0; steps < 50; steps++) {
        const kept = toB();
        a.outbox.splice(0, a.outbox.length, ...a.outbox.filter(({ to }) => to !== 'b'));
        world.round();
        a.outbox.unshift(...kept.filter((frame) => !a.outbox.includes(frame)));
      }
    }
    expect(granted(c)).toBeGreaterThan(before);
    expect(granted(b)).toBe(before);
    const used = granted(a);
    a.powerOff();
    expect(report(world.promote(b))).toMatchObject({ kind: 'takeover' });
    expect(b.kernel.transmit(id)).toBeGreaterThan(BigInt(used));
  });

  it('by force, without the word of a majority: not at the grants that it knows, which others may have raised (S1)', () => {
    const world = three({ plan: { rateMaxPps: 2_000 } });
    const { a, b, c } = world;
    world.cut('a', 'b');
    const before = granted(b);
    let used = 0;
    while (used <= before) used += sendAll(world, a, 8);
    expect(granted(c)).toBeGreaterThan(before);
    world.nowMs += 100;
    a.powerOff();
    c.powerOff();
    expect(report(world.promote(b, true))).toMatchObject({ kind: 'takeover' });
    expect(b.kernel.transmit(id)).toBeGreaterThan(BigInt(used));
  });

  it('two candidates at once: at most one begins its term, and nobody is stuck', () => {
    const world = three();
    const { a, b, c } = world;
    a.powerOff();
    for (const node of [b, c]) node.replica.promote(world.nowMs, { force: false });
    world.settle().pass(100);
    expect(world.actives.length).toBeLessThanOrEqual(1);
    const [next] = [b, c].filter(({ state }) => state.role === 'standby');
    expect(next?.state.phase).toBe('steady');
    if (world.actives.length === 0) expect(report(world.promote(b))).toMatchObject({ kind: 'takeover' });
    expect(world.actives).toHaveLength(1);
  });

  it('a candidate that gives up takes its request back: the voter may be promoted itself', () => {
    const world = new World({ names: ['a', 'b', 'c', 'd', 'e'], mode: 'safe', numbersMin: GRANT });
    world.a.kernel.add(sa(0x101));
    world.begin().pass(100);
    const [a, b, c, d, e] = world.nodes as [TestNode, TestNode, TestNode, TestNode, TestNode];
    a.powerOff();
    // d and e are there, and busy with a vote of their own.
    for (const node of [d, e]) node.state.phase = 'awaitingHandover';
    expect(refusal(world.promote(b))).toMatch(/2 of 5 nodes agree, 3 are needed/);
    expect(c.state).toMatchObject({ complete: true });
    for (const node of [d, e]) node.state.phase = 'steady';
    expect(report(world.promote(c))).toMatchObject({ kind: 'takeover' });
    expect(world.actives).toEqual([c]);
  });

  it('the active hands over to the standby that is asked for', () => {
    const world = three();
    const { a, c } = world;
    sendAll(world, a, 20);
    a.replica.switchover(world.nowMs, 'c');
    world.settle().pass(100);
    expect(world.actives).toEqual([c]);
    expect(world.node('b').state).toMatchObject({ role: 'standby', term: 3, complete: true });
    expect(c.kernel.transmit(id)).toBe(22n);
    c.replica.switchover(world.nowMs, 'x');
    world.settle();
    expect(world.actives).toEqual([c]);
  });

  it('a vote that cannot be stored is none', () => {
    const world = three();
    const { a, b, c } = world;
    a.powerOff();
    c.diskFault = 'no space';
    b.replica.promote(world.nowMs, { force: false });
    world.settle();
    for (let i = 0; i < 30; i++) world.pass(100);
    expect(world.actives).toEqual([]);
    expect(refusal(b.answers)).toContain('c: no answer');
    c.diskFault = undefined;
    world.promote(b);
    expect(world.actives).toEqual([b]);
  });
});
