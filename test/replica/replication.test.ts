import { describe, expect, it } from 'vitest';
import { newAevent, type Request, saIdOf } from '../../src/client/index.ts';
import { saKey } from '../../src/replica/sa/table.ts';
import { address, policy, sa } from '../../src/simulator/sas.ts';
import { recordOf, type TestNode, TIMER_MS, World } from './world.ts';

const PARKED = 0xffff_ffffn;
const id = (spi: number) => saIdOf(sa(spi));
const keysOf = (node: TestNode) => [...node.kernel.sas.keys()].sort();
const accountOf = (node: TestNode) => [...node.state.sas].map((r) => saKey(r.id)).sort();

function pair(spis: number[] = [0x101, 0x102], options = {}): World {
  const world = new World(options);
  for (const spi of spis) world.a.kernel.add(sa(spi));
  world.a.kernel.must({ kind: 'NEWPOLICY', ...policy('10.1.0.0') });
  return world.begin();
}

/** What the policy's SAs are between becomes another address. */
function migration(daddr: string): Request<'MIGRATE'> {
  const { sel, dir } = policy('10.1.0.0').body;
  const { body } = sa(0x101);
  const move = {
    oldDaddr: body.id.daddr,
    oldSaddr: body.saddr,
    newDaddr: address(daddr),
    newSaddr: body.saddr,
    proto: body.id.proto,
    mode: body.mode,
    reserved: 0,
    reqid: body.reqid,
    oldFamily: body.family,
    newFamily: body.family,
  };
  return { kind: 'MIGRATE', body: { sel, index: 0, dir }, attributes: { migrate: [move] } };
}

describe('full account', () => {
  it('reaches the standby and its kernel: SAs, keys, policies; the SAs cannot send there', () => {
    const { a, b } = pair();
    expect(b.state.complete).toBe(true);
    expect(keysOf(b)).toEqual(keysOf(a));
    expect([...b.kernel.policies.keys()]).toEqual([...a.kernel.policies.keys()]);
    expect(b.kernel.get(id(0x101))?.sa.attributes.algAead).toEqual(a.kernel.get(id(0x101))?.sa.attributes.algAead);
    expect(b.kernel.get(id(0x101))?.oseq).toBe(PARKED);
    expect(b.kernel.transmit(id(0x101))).toBeUndefined();
  });

  it('with install = "takeover" reaches the standby, and not its kernel', () => {
    const { a, b } = pair([0x101], { install: 'takeover' });
    expect(accountOf(b)).toEqual(accountOf(a));
    expect(keysOf(b)).toEqual([]);
    expect(b.kernel.policies.size).toBe(0);
  });

  it('removes from the standby what the active does not have, and nothing that is not selected', () => {
    const world = new World();
    const { a, b } = world;
    a.kernel.add(sa(0x101));
    b.kernel.add(sa(0x999));
    b.kernel.add(sa(0x777, { daddr: '192.0.2.1', saddr: '192.0.2.2' }));
    const { body } = sa(0x778, { proto: 108, window: 0 });
    b.kernel.add({ body, attributes: { algComp: { name: 'deflate', keyLen: 0, key: new Uint8Array() } } });
    b.kernel.must({ kind: 'NEWPOLICY', ...policy('10.9.0.0') });
    const block = policy('10.8.0.0');
    b.kernel.must({ kind: 'NEWPOLICY', body: block.body, attributes: {} });
    world.begin();
    expect(keysOf(b)).toEqual(
      [id(0x101), saIdOf(sa(0x777, { daddr: '192.0.2.1' })), saIdOf(sa(0x778, { proto: 108 }))].map(saKey).sort(),
    );
    expect([...b.kernel.policies.values()].map((p) => p.attributes.tmpl)).toEqual([undefined]);
  });

  it('leaves alone the SAs and policies that protect the link, on both nodes', () => {
    const world = new World();
    const link = sa(0x777, { daddr: '192.0.2.2', saddr: '192.0.2.1' });
    const { body, attributes } = policy('10.8.0.0');
    const tmpl = attributes.tmpl?.map((t) => ({ ...t, saddr: address('192.0.2.1') })) ?? [];
    const guard = { body, attributes: { tmpl } };
    world.a.kernel.add(link);
    world.a.kernel.must({ kind: 'NEWPOLICY', ...guard });
    world.begin();
    expect(world.a.state.sas.size).toBe(0);
    expect(world.b.kernel.sas.size).toBe(0);
    expect(world.b.kernel.policies.size).toBe(0);
    const before = world.a.kernel.requests.length;
    world.promote(world.b);
    expect(world.b.state.role).toBe('active');
    expect(world.a.kernel.requests.slice(before).filter((r) => r.kind !== 'GETSA')).toEqual([]);
    expect(world.a.kernel.get(saIdOf(link))?.oseq).toBe(0n);
  });

  it('installs over an SA that the standby happens to have: the same one is kept, another one is replaced', () => {
    const world = new World();
    world.a.kernel.add(sa(0x101, { key: 1, oseq: 50 }));
    world.a.kernel.add(sa(0x102, { key: 2 }));
    world.b.kernel.add(sa(0x101, { key: 1 }));
    world.b.kernel.add(sa(0x102, { key: 9 }));
    world.begin();
    for (const spi of [0x101, 0x102]) {
      const [mine, yours] = [world.b, world.a].map((node) => node.kernel.get(id(spi)));
      expect(mine?.sa.attributes.algAead).toEqual(yours?.sa.attributes.algAead);
      expect(mine?.oseq).toBe(PARKED);
      expect(recordOf(world.b, id(spi))?.installed).toBe(true);
    }
  });
});

describe('changes', () => {
  it("a new SA, a deleted one, and one that takes a deleted one's SPI with other keys", () => {
    const world = pair();
    const { a, b } = world;
    a.kernel.add(sa(0x103));
    a.kernel.delete(id(0x101));
    world.settle();
    expect(keysOf(b)).toEqual([id(0x102), id(0x103)].map(saKey).sort());
    a.kernel.delete(id(0x102));
    a.kernel.add(sa(0x102, { key: 7 }));
    world.settle();
    expect(b.kernel.get(id(0x102))?.sa.attributes.algAead?.key[0]).toBe(7);
    expect(b.kernel.get(id(0x102))?.oseq).toBe(PARKED);
  });

  it('counters: the latest of each SA, with the inbound window of the standby in step', () => {
    const world = pair();
    const { a, b } = world;
    for (let i = 0; i < 10; i++) a.kernel.transmit(id(0x101));
    for (let n = 1n; n <= 10n; n++) a.kernel.accept(id(0x102), n);
    world.settle();
    // An event that a packet raises is made before the packet is counted (xfrm_replay.c:xfrm_replay_overflow, then x->curlft).
    expect(recordOf(b, id(0x101))?.counters).toMatchObject({ oseq: 10, packets: 9, bytes: 900 });
    expect(b.kernel.get(id(0x101))).toMatchObject({ oseq: PARKED, packets: 9n });
    expect(b.kernel.get(id(0x102))).toMatchObject({ seq: 10n, packets: 9n });
    a.kernel.transmit(id(0x101));
    world.pass(TIMER_MS);
    expect(recordOf(b, id(0x101))?.counters).toMatchObject({ oseq: 11, packets: 11, bytes: 1100 });
  });

  it('what the thresholds held back comes with the timer', () => {
    const world = pair();
    world.a.kernel.transmit(id(0x101));
    world.settle();
    expect(recordOf(world.b, id(0x101))?.counters.oseq).toBe(0);
    world.pass(TIMER_MS);
    expect(recordOf(world.b, id(0x101))?.counters.oseq).toBe(1);
  });

  it('UPDSA announces the request: the kernel is asked, and counters do not fall back', () => {
    const world = pair();
    const { a, b } = world;
    for (let i = 0; i < 10; i++) a.kernel.transmit(id(0x101));
    world.settle();
    const request = sa(0x101, {
      limits: { hardPacketLimit: 5000n },
      attributes: { replayVal: { oseq: 1, seq: 0, bitmap: 0 } },
    });
    a.kernel.must({ kind: 'UPDSA', ...request });
    world.settle();
    expect(recordOf(b, id(0x101))?.counters.oseq).toBe(10);
    expect(recordOf(b, id(0x101))?.sa.body.lft.hardPacketLimit).toBe(5000n);
    expect(b.kernel.get(id(0x101))?.sa.body.lft.hardPacketLimit).toBe(5000n);
  });

  it('an SA that expires is gone on both; one that expires on the standby alone stays with the active', () => {
    const world = pair();
    const { a, b } = world;
    a.kernel.expire(id(0x101));
    b.kernel.expire(id(0x102));
    world.settle();
    expect(accountOf(b)).toEqual([saKey(id(0x102))]);
    expect(keysOf(a)).toEqual([saKey(id(0x102))]);
  });

  it.each([
    ['a flush of SAs', (node: TestNode) => node.kernel.must({ kind: 'FLUSHSA', body: { proto: 0 }, attributes: {} })],
    ['a flush of policies', (node: TestNode) => node.kernel.must({ kind: 'FLUSHPOLICY', body: {}, attributes: {} })],
    ['a migration', (node: TestNode) => node.kernel.must(migration('203.0.113.77'))],
  ])('%s says nothing of what it took: the difference is read', (_, happen) => {
    const world = pair();
    happen(world.a);
    world.settle();
    expect(keysOf(world.b)).toEqual(keysOf(world.a));
    expect([...world.b.kernel.policies.keys()]).toEqual([...world.a.kernel.policies.keys()]);
  });

  it('after lost events the difference is read, and nothing is proven before that', () => {
    const world = pair();
    const { a, b } = world;
    const proven = b.state.provenMs;
    a.kernel.overrun();
    a.kernel.add(sa(0x200));
    a.kernel.delete(id(0x101));
    for (let i = 0; i < 100; i++) a.kernel.transmit(id(0x102));
    a.readEvents();
    world.nowMs += 500;
    a.replica.answerPing('b', world.nowMs);
    while (world.deliver(a)) {}
    expect(b.state.provenMs).toBe(proven);
    world.settle();
    expect(keysOf(b)).toEqual(keysOf(a));
    expect(recordOf(b, id(0x102))?.counters.oseq).toBe(100);
    expect(a.state.counts.overruns).toBe(1);
  });

  it.each([
    ['an SA that comes back', () => sa(0x101, { key: 2 }), [0x101, 0x102]],
    ['an SA that goes', () => undefined, [0x101]],
  ])('%s with the lost events, while the event before it still waits', (_, back, left) => {
    const world = pair([0x101]);
    const { a, b } = world;
    if (back() === undefined) a.kernel.add(sa(0x102));
    else a.kernel.delete(id(0x101));
    a.kernel.overrun();
    const again = back();
    if (again === undefined) a.kernel.delete(id(0x102));
    else for (const one of [again, sa(0x102)]) a.kernel.add(one);
    world.settle();
    expect(keysOf(a)).toEqual(left.map((spi) => saKey(id(spi))).sort());
    expect(accountOf(a)).toEqual(keysOf(a));
    expect(accountOf(b)).toEqual(keysOf(a));
    expect(a.state).toMatchObject({ readsPending: 0, lostMeanwhile: false, doubted: false });
  });

  it('lost events on a standby do not make it ask for the whole account again and again', () => {
    const world = pair();
    const before = world.frames.length;
    for (let i = 0; i < 5; i++) world.b.replica.onOverrun();
    world.settle();
    expect(world.frames.slice(before).filter(({ frame }) => frame.type === 'resyncRequest')).toEqual([]);
  });

  it('many overruns in a row: two readings, not one each', () => {
    const { a } = pair();
    for (let i = 0; i < 50; i++) a.replica.onOverrun();
    expect(a.replica.take().filter((e) => e.type === 'read')).toHaveLength(2);
  });

  it('a reading does not undo what events said while it was under way', () => {
    const world = pair();
    const { a, b } = world;
    a.replica.resync();
    expect(a.replica.take().some((e) => e.type === 'read')).toBe(true);
    const old = a.kernel.dump();
    a.kernel.delete(id(0x101));
    a.kernel.add(sa(0x300));
    a.kernel.must({ kind: 'NEWPOLICY', ...policy('10.3.0.0') });
    a.readEvents();
    a.replica.onRead('resync', old, world.nowMs);
    world.settle();
    expect(accountOf(a)).toEqual([id(0x102), id(0x300)].map(saKey).sort());
    expect(accountOf(b)).toEqual(accountOf(a));
    expect(b.state.policies.size).toBe(2);
    expect(a.state.newMeanwhile.size + a.state.goneMeanwhile.size).toBe(0);
  });

  it('the answer about one SA does not bring it back when it has been deleted meanwhile', () => {
    const world = pair();
    const { a } = world;
    a.kernel.must({ kind: 'UPDSA', ...sa(0x101) });
    a.readEvents();
    a.replica.take();
    const answer = a.kernel.dump().sas.find((s) => s.body.id.spi === 0x101);
    a.kernel.delete(id(0x101));
    a.readEvents();
    a.replica.onReadSa(0, answer, world.nowMs);
    expect(accountOf(a)).toEqual([saKey(id(0x102))]);
  });

  it('an SA of which the kernel would never speak gets a threshold', () => {
    const world = new World();
    const { a, b } = world;
    a.kernel.add(sa(0x101));
    a.kernel.must(newAevent(id(0x101), { replayThresh: 0, etimerThresh: 0 }));
    world.begin();
    for (let i = 0; i < 10; i++) a.kernel.transmit(id(0x101));
    world.settle();
    expect(recordOf(b, id(0x101))).toMatchObject({ counters: { oseq: 10 }, thresholds: { packets: 2, timerMs: 0 } });
  });

  it('values that somebody sets back by hand are not followed', () => {
    const world = pair();
    const { a, b } = world;
    for (let i = 0; i < 10; i++) a.kernel.transmit(id(0x101));
    world.settle();
    a.kernel.must(newAevent(id(0x101), { replayVal: { oseq: 3, seq: 0, bitmap: 0 }, replayThresh: 100 }));
    world.settle();
    expect(recordOf(b, id(0x101))).toMatchObject({ counters: { oseq: 10 }, thresholds: { packets: 100 } });
  });
});

describe('the link', () => {
  it('after a cut the whole account comes again; the standby was and stays complete', () => {
    const world = pair();
    const { a, b } = world;
    world.cut();
    a.kernel.add(sa(0x103));
    a.kernel.delete(id(0x101));
    world.settle();
    expect(b.state.complete).toBe(true);
    expect(keysOf(b)).not.toEqual(keysOf(a));
    world.connect();
    world.settle();
    expect(keysOf(b)).toEqual(keysOf(a));
  });

  it('an active that restarts numbers its SAs anew: counters reach the right ones at every step', () => {
    const world = pair([0x101, 0x102, 0x103, 0x104]);
    const { a, b } = world;
    for (let i = 0; i < 100; i++) a.kernel.transmit(id(0x104));
    world.settle();
    a.kernel.delete(id(0x101));
    a.crash();
    a.start();
    world.connect();
    const others = [0x102, 0x103];
    for (let i = 0; i < 200 && (world.round() || i < 50); i++) {
      a.kernel.transmit(id(0x104));
      a.readEvents();
      a.replica.flush();
      for (const spi of others) expect(recordOf(b, id(spi))?.counters.oseq).toBe(0);
      expect(recordOf(b, id(0x104))?.counters.oseq).toBeGreaterThanOrEqual(100);
    }
    world.settle();
    expect(keysOf(b)).toEqual(keysOf(a));
  });

  it('nothing is proven during a snapshot that follows a cut', () => {
    const world = pair([0x101, 0x102, 0x103]);
    const { a, b } = world;
    world.cut();
    const proven = b.state.provenMs;
    for (let i = 0; i < 5000; i++) a.kernel.transmit(id(0x103));
    world.settle();
    world.nowMs += 5000;
    world.connect();
    const seen: (number | undefined)[] = [];
    for (let i = 0; i < 300; i++) {
      if (i % 3 === 0) for (const node of world.nodes) node.tick();
      world.round();
      if (recordOf(b, id(0x103))?.counters.oseq !== 5000) seen.push(b.state.provenMs);
    }
    expect(seen.length).toBeGreaterThan(3);
    expect(new Set(seen)).toEqual(new Set([proven]));
    world.settle();
    expect(b.state.provenMs).toBeGreaterThan(proven ?? 0);
  });

  it('a snapshot that is asked for while one is under way: the older stops, no SA is taken for gone', () => {
    const world = pair(Array.from({ length: 20 }, (_, i) => 0x100 + i));
    const { a, b } = world;
    const deleted = b.kernel.requests.length;
    b.replica.resync();
    for (let i = 0; i < 15; i++) world.round();
    b.replica.resync();
    world.settle();
    expect(keysOf(b)).toEqual(keysOf(a));
    expect(b.kernel.requests.slice(deleted).filter((r) => r.kind === 'DELSA')).toEqual([]);
  });

  it.each([
    ['another cluster', { cluster: 'other' }, 'belongs to cluster "other"'],
    ['its own name', { node: 'a' }, 'own name'],
    ['another byte order', { littleEndian: false }, 'byte order'],
  ])('a node with %s is refused, said once, and nothing of it counts', (_, wrong, words) => {
    const world = new World();
    world.a.start();
    world.b.start();
    world.connect();
    world.settle();
    world.cut();
    const hello = {
      type: 'hello',
      cluster: 'c',
      node: 'b',
      role: 'active',
      term: 99,
      littleEndian: true,
      version: '0',
    } as const;
    for (let i = 0; i < 3; i++) {
      world.a.replica.onConnected('b');
      world.a.replica.onFrame('b', { ...hello, ...wrong }, world.nowMs);
      const effects = world.a.replica.take();
      expect(effects.some((e) => e.type === 'disconnect')).toBe(true);
      expect(effects.filter((e) => e.type === 'log' && e.text.includes(words))).toHaveLength(i === 0 ? 1 : 0);
      world.a.replica.onDisconnected('b');
      world.a.replica.take();
    }
    expect(world.a.state).toMatchObject({ role: 'active', term: 1, present: [] });
  });

  it('both nodes hear each other in every combination of roles', () => {
    const world = pair();
    world.demote(world.a, true);
    world.settle();
    world.b.replica.onFrame(
      'a',
      { type: 'hello', term: 1, cluster: 'c', node: 'a', role: 'standby', littleEndian: true, version: '0' },
      0,
    );
    world.settle();
    const before = world.frames.length;
    world.pass(100);
    expect(
      world.frames
        .slice(before)
        .filter(({ frame }) => frame.type === 'ping')
        .map(({ from }) => from)
        .sort(),
    ).toEqual(['a', 'b']);
  });
});

it('an SA that a standby cannot park does not stay in its kernel, and is there after the takeover', () => {
  const world = pair();
  const { a, b } = world;
  b.kernel.fault = (request) => (request.kind === 'NEWAE' ? 12 : undefined);
  a.kernel.add(sa(0x103));
  world.settle();
  expect(b.kernel.get(id(0x103))).toBeUndefined();
  expect(b.said.filter((line) => line.includes('removed from it'))).toHaveLength(1);
  b.kernel.fault = () => undefined;
  a.powerOff();
  world.promote(b);
  expect(b.kernel.transmit(id(0x103))).toBeGreaterThan(0n);
});
