import { describe, expect, it } from 'vitest';
import { newAevent, type Sa, saIdOf } from '../../src/client/index.ts';
import { exposureOf, type FrameBody, termAfter } from '../../src/replica/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { SaDir } from '../../src/xfrm/index.ts';
import { recordOf, type TestNode, TIMER_MS, World, type WorldOptions } from './world.ts';

/** What the simulator has found, each by itself. */

const id = (spi: number) => saIdOf(sa(spi));
const [OUT, IN] = [0x101, 0x102];
const TWO_32 = 2n ** 32n;
const INFINITE = 2n ** 64n - 1n;

function pair(sas: readonly Sa[] = [sa(OUT), sa(IN)], options: WorldOptions = {}): World {
  const world = new World(options);
  for (const one of sas) world.a.kernel.add(one);
  return world.begin();
}

const transmit = ({ kernel }: TestNode, times: number): void => {
  for (let i = 0; i < times; i++) kernel.transmit(id(OUT));
};

/** A lifetime set back, as `xfrmsync ae set` or another program can. */
function setBack({ kernel }: TestNode): void {
  const ltimeVal = { bytes: 0n, packets: 0n, addTime: 1_700_000_000n, useTime: 0n };
  kernel.must(newAevent(id(OUT), { ltimeVal }));
}

describe('a standby', () => {
  it('cannot send from the moment on in which an SA is installed (S1)', () => {
    const world = new World();
    world.a.kernel.add(sa(OUT));
    const could: (bigint | undefined)[] = [];
    for (const node of world.nodes) node.start();
    world.connect();
    world.until(() => {
      could.push(world.b.kernel.transmit(id(OUT)));
      return world.b.state.complete;
    });
    world.settle();
    expect(world.b.kernel.get(id(OUT))).toBeDefined();
    expect(could.filter((n) => n !== undefined)).toEqual([]);
  });

  it('whose kernel does not take an SA does not try without end', () => {
    const world = new World();
    world.a.kernel.add(sa(OUT));
    world.b.kernel.fault = (request) => (request.kind === 'NEWSA' ? 22 : undefined);
    world.begin();
    const tried = world.b.kernel.requests.filter(({ kind }) => kind === 'NEWSA');
    expect(tried).toHaveLength(1);
    expect(recordOf(world.b, id(OUT))?.installed).toBe(false);
  });

  it('does not take counters back when a newer account has overtaken what waited to be sent (S3)', () => {
    const world = pair();
    transmit(world.a, 10);
    world.settle();
    const record = recordOf(world.b, id(OUT));
    expect(record?.counters.oseq).toBe(10);
    const counters = { oseq: 4, oseqHi: 0, seq: 0, seqHi: 0, bitmap: undefined, bytes: 400, packets: 4 };
    const frame: FrameBody = {
      type: 'counters',
      entries: [{ handle: record?.handle ?? 0, counters: { ...counters, addTime: 1_700_000_000, useTime: 0 } }],
    };
    world.b.replica.onFrame('a', { ...frame, term: 1 }, world.nowMs);
    expect(record?.counters).toMatchObject({ oseq: 10, packets: 9 });
  });

  it('does not write counters of an SA that is gone into another one with its SPI (S7)', () => {
    const world = pair();
    const { a, b } = world;
    for (let n = 1n; n <= 40n; n++) a.kernel.accept(id(IN), n);
    a.readEvents();
    a.replica.flush();
    while (a.step()) {}
    // The counters have come and are not written yet when the SA goes.
    while (world.deliver(a)) {}
    expect(b.replica.hasDirty).toBe(true);
    a.kernel.delete(id(IN));
    a.kernel.add(sa(IN, { key: 2 }));
    a.readEvents();
    while (a.step()) {}
    while (world.deliver(a)) {}
    while (b.step()) {}
    b.replica.flush();
    world.settle();
    expect(b.kernel.get(id(IN))?.seq).toBe(0n);
  });

  it.each([undefined, SaDir.IN])(
    'that starts anew removes its old copy of an inbound SA, direction %s (S2)',
    (saDir) => {
      const inbound = sa(IN, saDir === undefined ? {} : { attributes: { saDir } });
      const world = pair([inbound]);
      for (let n = 1n; n <= 9n; n++) world.a.kernel.accept(id(IN), n);
      world.pass(TIMER_MS);
      world.a.powerOff();
      world.b.crash();
      world.b.start();
      world.promote(world.b, true);
      expect(world.b.kernel.get(id(IN))).toBeUndefined();
    },
  );

  it('that installs at the takeover removes what it has from an earlier reign when the active does (S3)', () => {
    const world = pair([sa(IN)], { install: 'takeover' });
    const { a, b } = world;
    world.promote(b);
    a.crash();
    a.start();
    world.connect();
    world.settle();
    expect(a.kernel.get(id(IN))).toBeDefined();
    b.kernel.delete(id(IN));
    world.settle();
    expect(a.kernel.get(id(IN))).toBeUndefined();
  });

  it('that has just handed over holds inbound SAs as old copies, too (S2)', () => {
    const world = pair();
    for (let n = 1n; n <= 9n; n++) world.a.kernel.accept(id(IN), n);
    world.pass(TIMER_MS);
    world.cut();
    world.connect();
    world.settle();
    world.a.answers = [];
    world.b.replica.promote(world.nowMs, { force: false });
    world.until(() => world.a.state.role === 'standby');
    while (world.a.step()) {}
    world.a.crash();
    world.b.powerOff();
    world.a.start();
    world.promote(world.a, true);
    expect(world.a.kernel.get(id(IN))).toBeUndefined();
  });
});

it('a takeover by force without an account goes on far above all that another node can have sent (S1)', () => {
  const world = pair();
  const { a, b } = world;
  transmit(a, 100);
  world.settle();
  world.cut();
  world.promote(b);
  const sent = b.kernel.transmit(id(OUT)) ?? 0n;
  expect(sent).toBeGreaterThan(100n);
  // The old active hears of the new reign, and nothing more.
  a.crash();
  a.start();
  a.replica.onConnected('b');
  world.demote(a, true);
  b.powerOff();
  world.promote(a, true);
  expect(a.state.role).toBe('active');
  expect(a.kernel.transmit(id(OUT))).toBeGreaterThan(sent);
});

it('an SPI that is given out anew while everything is read does not bring the old SA back (S3)', () => {
  const world = pair();
  const { a, b } = world;
  // The kernel is read, and before its answer comes the SA is replaced.
  const { dump } = a.kernel;
  a.kernel.dump = () => {
    const reading = dump.call(a.kernel);
    a.kernel.dump = dump;
    a.kernel.delete(id(IN));
    a.kernel.add(sa(IN, { key: 2 }));
    a.readEvents();
    return reading;
  };
  a.replica.resync();
  world.settle();
  const keyOf = (node: TestNode) => recordOf(node, id(IN))?.sa.attributes.algAead?.key[0];
  expect([keyOf(a), keyOf(b)]).toEqual([2, 2]);
  expect(b.kernel.get(id(IN))?.sa.attributes.algAead?.key[0]).toBe(2);
});

describe('a handover', () => {
  it('is not disturbed by a standby that asks for everything anew (S1)', () => {
    const world = pair();
    const { a, b } = world;
    transmit(a, 10);
    world.settle();
    b.replica.promote(world.nowMs, { force: false });
    world.until(() => a.state.phase === 'handingOver');
    b.replica.resync();
    transmit(a, 10);
    world.settle();
    expect(b.state.role).toBe('active');
    expect(b.kernel.transmit(id(OUT))).toBeGreaterThan(20n);
  });

  it('that is given up leaves an SA at its last number, once it has got there (S1)', () => {
    const world = pair([sa(OUT, { oseq: 0xffff_fff0 })]);
    const { a, b } = world;
    transmit(a, 5);
    world.settle();
    a.diskFault = 'no space left';
    b.replica.promote(world.nowMs, { force: false });
    world.until(() => a.state.phase === 'handingOver');
    transmit(a, 100);
    world.settle();
    expect(a.state.role).toBe('active');
    expect(a.kernel.transmit(id(OUT))).toBeUndefined();
  });

  it('at the last number takes the window as it is, also if the lifetime was set back by hand (S2)', () => {
    const world = pair([sa(IN, { seq: 0xffff_ffe0 })]);
    const { a, b } = world;
    for (let n = 0xffff_ffe1n; n < 0xffff_fff0n; n++) a.kernel.accept(id(IN), n);
    world.pass(TIMER_MS);
    const ltimeVal = { bytes: 0n, packets: 0n, addTime: 1_700_000_000n, useTime: 0n };
    a.kernel.must(newAevent(id(IN), { ltimeVal }));
    world.settle();
    for (let n = 0xffff_fff0n; n < TWO_32; n++) a.kernel.accept(id(IN), n);
    world.promote(b);
    for (let n = 0xffff_ffe1n; n < TWO_32; n++) expect(b.kernel.accept(id(IN), n)).toBe(false);
  });
});

describe('a lifetime that is set back by hand', () => {
  it('does not hide the numbers that follow (S1)', () => {
    const world = pair();
    transmit(world.a, 50);
    world.pass(TIMER_MS);
    setBack(world.a);
    world.settle();
    transmit(world.a, 20);
    world.pass(TIMER_MS);
    expect(recordOf(world.b, id(OUT))?.counters.oseq).toBe(70);
  });

  it('does not hide what is sent while SAs are being shut (S1)', () => {
    const world = pair();
    const { a, b } = world;
    transmit(a, 50);
    world.pass(TIMER_MS);
    setBack(a);
    world.settle();
    a.kernel.fault = (request) => {
      if (request.kind === 'NEWAE' && a.state.phase === 'handingOver') transmit(a, 5);
      a.kernel.fault = () => undefined;
      return undefined;
    };
    world.promote(b);
    expect(b.kernel.transmit(id(OUT))).toBeGreaterThan(55n);
  });
});

describe('numbers of 64 bits', () => {
  it('a window that is shut does not take up old packets of the first upper half (S2)', () => {
    const world = pair([sa(IN, { esn: true, window: 64 })]);
    const { a, b } = world;
    for (let n = 1n; n <= 50n; n++) a.kernel.accept(id(IN), n);
    world.settle();
    b.powerOff();
    world.demote(a, true);
    for (const n of [1n, 50n, 51n, 1000n]) expect(a.kernel.accept(id(IN), n)).toBe(false);
  });

  it('a window that was found shut stays shut at a takeover (S2)', () => {
    const world = pair([sa(IN, { esn: true, window: 64 })]);
    const { a, b } = world;
    for (let n = 1n; n <= 50n; n++) a.kernel.accept(id(IN), n);
    world.settle();
    world.cut();
    world.demote(a, true);
    a.crash();
    // It died before the role was stored.
    a.disk = { term: 1, role: 'active' };
    a.start();
    world.connect();
    world.settle();
    world.pass(500);
    a.powerOff();
    world.promote(b);
    for (const n of [1n, 50n, 1000n]) expect(b.kernel.accept(id(IN), n)).toBe(false);
  });

  it('a number whose lower half is at its end is handed over as one (S1)', () => {
    const world = pair([sa(OUT, { esn: true, window: 64, oseq: 0xffff_fffd })]);
    const { a, b } = world;
    transmit(a, 2);
    world.promote(b);
    expect(b.kernel.transmit(id(OUT))).toBeGreaterThan(TWO_32 - 1n);
  });
});

it('events of an SA whose SPI was given out anew, all that lost, do not count for the new one (S7)', () => {
  const world = pair();
  const { a, b } = world;
  for (let n = 1n; n <= 40n; n++) a.kernel.accept(id(IN), n);
  // What the kernel has said of the old one waits in the socket; that it went is lost.
  a.kernel.overrun();
  a.kernel.delete(id(IN));
  a.kernel.add(sa(IN, { key: 2 }));
  a.replica.resync();
  while (a.step()) {}
  world.settle();
  expect([a, b].map((node) => recordOf(node, id(IN))?.counters.seq)).toEqual([0, 0]);
  // What is said of the new one is not followed at once, and counts as exposed.
  for (let n = 1n; n <= 6n; n++) a.kernel.accept(id(IN), n);
  a.readEvents();
  const record = recordOf(a, id(IN));
  expect(record && exposureOf(a.state, world.nowMs)?.of.get(record)?.packets).toBeGreaterThanOrEqual(6);
  world.pass(TIMER_MS);
  expect([a, b].map((node) => recordOf(node, id(IN))?.counters.seq)).toEqual([6, 6]);
});

it('what its own kernel has said of SAs that it put in as a standby does not count once it is active (S7)', () => {
  const world = pair([sa(OUT)]);
  const { a, b } = world;
  a.kernel.delete(id(OUT));
  a.kernel.add(sa(OUT, { key: 2 }));
  a.readEvents();
  while (a.step()) {}
  while (world.deliver(a)) {}
  a.powerOff();
  b.replica.promote(world.nowMs, { force: false });
  // The events of its own deletion and installation wait in its socket until then.
  while (b.step()) {}
  expect(b.state.role).toBe('active');
  world.settle();
  expect(recordOf(b, id(OUT))?.counters.oseq).toBe(Number(b.kernel.get(id(OUT))?.oseq));
  expect(b.kernel.transmit(id(OUT))).toBeDefined();
});

describe('a role that cannot be stored', () => {
  it('is stored later: an active that has stepped down does not come back as one (S2)', () => {
    const world = pair();
    const { a, b } = world;
    a.diskFault = 'no space left';
    world.promote(b, true);
    world.pass(100).pass(100);
    expect(a.disk).toMatchObject({ term: 1, role: 'active' });
    expect(a.said.filter((line) => line.includes('cannot store the term'))).toHaveLength(1);
    a.diskFault = undefined;
    world.pass(100);
    expect(a.disk).toEqual({ term: 2, role: 'standby' });
    world.cut();
    a.crash();
    a.start();
    expect(a.state.role).toBe('standby');
  });

  it('is stored later: a new active stays one after a restart', () => {
    const world = pair();
    const { a, b } = world;
    a.powerOff();
    b.replica.promote(world.nowMs, { force: false });
    while (b.step()) if (b.state.takeover?.positions.size === 2) b.diskFault = 'no space left';
    expect(b.state.role).toBe('active');
    expect(b.disk).toEqual({ term: 2, role: 'standby', opening: true });
    b.diskFault = undefined;
    world.pass(100);
    expect(b.disk).toEqual({ term: 2, role: 'active' });
  });
});

describe('an account of an earlier reign', () => {
  it('is not a whole one: whoever has begun the newer term may have sent above it (S1, S5)', () => {
    const world = pair([sa(OUT)], { mode: 'safe', numbersMin: 16 });
    const { a, b } = world;
    transmit(a, 4);
    world.settle();
    // The last word of a handover is lost; a is promoted by force, dies in the middle of it, and its kernel sends.
    b.replica.promote(world.nowMs, { force: false });
    world.until(() => a.state.role === 'standby');
    world.cut();
    expect(b.state).toMatchObject({ phase: 'steady', complete: true });
    a.replica.promote(world.nowMs, { force: true });
    while (a.step()) if (a.state.takeover?.opened) break;
    a.crash();
    expect(a.kernel.transmit(id(OUT))).toBeDefined();
    a.start();
    world.connect();
    world.settle();
    expect(b.state).toMatchObject({ term: 3, complete: false });
    expect(world.promote(b)).toMatchObject([{ refused: expect.stringContaining('not complete') }]);
  });

  it.each([
    ['safe', 'not complete'],
    ['available', undefined],
  ] as const)('mode %s: after a handover, the link lost, promote says %s', (mode, refused) => {
    const world = pair([sa(OUT)], { mode });
    const { a, b } = world;
    b.replica.promote(world.nowMs, { force: false });
    world.until(() => a.state.role === 'standby');
    // Whether b goes on is not known here, and it keeps to no grant yet.
    world.cut();
    const answer = refused === undefined ? { promoted: {} } : { refused: expect.stringContaining(refused) };
    expect(world.promote(a)).toMatchObject([answer]);
  });
});

describe('a ceiling does not stop an SA that receives, of which the kernel does not say that it does (S7)', () => {
  const receive = (world: World, node: TestNode, from: bigint, packets: number): void => {
    for (let n = from; n < from + BigInt(packets); n++) {
      expect(node.kernel.accept(id(IN), n)).toBe(true);
      if (n % 20n === 0n) world.pass(20);
    }
  };

  it.each([0, 32])('with a window of %s', (window) => {
    const world = pair([sa(IN, { window })], { mode: 'safe', numbersMin: 64 });
    receive(world, world.a, 1n, 500);
  });

  it.each([0, 32])('after a switchover, as its outbound number has moved then: a window of %s', (window) => {
    const world = pair([sa(IN, { window })], { mode: 'safe', numbersMin: 64 });
    world.promote(world.b);
    receive(world, world.b, 1n, 500);
  });

  it('and after a restart', () => {
    const world = pair([sa(IN, { window: 0 })], { mode: 'safe', numbersMin: 64 });
    world.a.crash();
    world.a.start();
    receive(world, world.a, 1n, 500);
  });

  it('one that sends keeps to it', () => {
    const world = pair([sa(OUT, { window: 0 })], { mode: 'safe', numbersMin: 64 });
    transmit(world.a, 20);
    world.pass(100);
    world.cut();
    for (let i = 0; i < 20; i++) {
      transmit(world.a, 10);
      world.pass(100);
    }
    const { granted = 0 } = recordOf(world.b, id(OUT)) ?? {};
    expect(granted).toBeGreaterThan(0);
    expect(world.a.kernel.transmit(id(OUT))).toBeUndefined();
    world.promote(world.b);
    expect(world.b.kernel.transmit(id(OUT))).toBe(BigInt(granted) + 1n);
  });
});

describe('limits of an SA that a standby finds in its kernel', () => {
  /** Hosts try to send through every node, all the time: a kernel looks at limits then. */
  function settleBusy(world: World): void {
    const { a, b } = world;
    world.connect();
    world.until(() => {
      for (const node of world.nodes) transmit(node, 1);
      return a.state.complete && a.queue.length === 0 && b.state.phase === 'steady';
    });
    world.settle();
  }

  it.each(['immediate', 'takeover'] as const)(
    'a ceiling that a handover has left there goes, install %s',
    (install) => {
      const world = pair([sa(OUT)], { mode: 'safe', numbersMin: 64, install });
      const { a, b } = world;
      b.replica.promote(world.nowMs, { force: false });
      world.until(() => a.disk.role === 'standby');
      a.crash();
      world.promote(b);
      for (let i = 0; i < 20; i++) {
        transmit(b, 10);
        world.pass(100);
      }
      b.replica.dismiss();
      world.settle();
      transmit(b, 100);
      a.start();
      settleBusy(world);
      expect(a.kernel.get(id(OUT))?.sa.body.lft.hardPacketLimit).toBe(INFINITE);
      // Whoever is active next goes on with it.
      expect(world.promote(a)).toMatchObject([{ promoted: { sas: 1, failed: 0 } }]);
      expect(a.kernel.transmit(id(OUT))).toBeDefined();
    },
  );

  it('one that has been raised since is raised before the counters are', () => {
    const world = pair([sa(OUT, { limits: { hardPacketLimit: 50n } })]);
    const { a, b } = world;
    b.crash();
    a.kernel.must({ kind: 'UPDSA', ...sa(OUT, { limits: { hardPacketLimit: 1000n } }) });
    transmit(a, 100);
    world.pass(TIMER_MS);
    b.start();
    world.connect();
    world.until(() => {
      transmit(b, 1);
      return b.state.complete && b.queue.length === 0;
    });
    world.settle();
    expect(b.kernel.get(id(OUT))?.sa.body.lft.hardPacketLimit).toBe(1000n);
    expect(b.kernel.get(id(OUT))?.packets).toBe(100n);
  });
});

describe('terms', () => {
  it('no two nodes begin the same one, heard of each other or not (S4)', () => {
    const nodes = ['edge-1', 'edge-2', 'Core'];
    const begun = new Map<number, string>();
    for (let term = 0; term < 40; term++)
      for (const node of nodes) {
        const next = termAfter(term, { node, peers: nodes.filter((name) => name !== node) });
        expect(next).toBeGreaterThan(term);
        expect(next).toBeLessThanOrEqual(term + nodes.length);
        expect(begun.get(next) ?? node).toBe(node);
        begun.set(next, node);
      }
    expect([...begun.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: 42 }, (_, i) => i + 1));
  });

  it('of two nodes that were promoted apart, the later reign stays, whatever the names (S1, S4)', () => {
    const world = pair();
    const { a, b } = world;
    world.cut();
    world.promote(b);
    world.demote(a, true);
    world.promote(a, true);
    expect([a.disk, b.disk]).toEqual([
      { term: 3, role: 'active' },
      { term: 2, role: 'active' },
    ]);
    world.connect();
    world.settle();
    expect(world.actives).toEqual([a]);
  });

  it('one that is heard of while another one is being stored: that takeover is of an earlier reign (S1)', () => {
    const world = pair();
    const { b } = world;
    world.cut();
    b.crash();
    b.disk = { term: 2, role: 'standby' };
    b.start();
    b.answers = [];
    b.replica.promote(world.nowMs, { force: true }); // into term 4
    b.replica.onConnected('a');
    const hello = {
      type: 'hello',
      cluster: 'c',
      node: 'a',
      role: 'standby',
      littleEndian: true,
      version: '0',
    } as const;
    b.replica.onFrame('a', { ...hello, term: 3 }, world.nowMs);
    while (b.step()) {}
    expect(b.answers).toMatchObject([{ refused: expect.stringContaining('a is standby in term 3') }]);
    expect(b.disk).toMatchObject({ term: 3, role: 'standby' });
    expect(b.disk.opening).toBeUndefined();
    expect(b.state).toMatchObject({ role: 'standby', term: 3, phase: 'steady' });
    expect(b.said.filter((line) => line.includes('active in term'))).toEqual([]);
  });
});

it('a new active does not hand over before it has gone on above what the old one has used (S1)', () => {
  const world = pair([sa(OUT)], { plan: { rateMaxPps: 100 }, numbersMin: 16 });
  const { a, b } = world;
  transmit(a, 5);
  world.pass(TIMER_MS);
  world.cut();
  world.promote(b);
  transmit(a, 3000);
  world.connect();
  const acts = [a, b].flatMap((node) => [() => node.readEvents(), () => node.step(), () => world.deliver(node)]);
  for (let i = 0; !b.state.comparing; i++) acts[i % acts.length]?.();
  a.answers = [];
  a.replica.promote(world.nowMs, { force: false });
  while (a.step()) {}
  while (world.deliver(a)) {}
  world.settle();
  expect(a.answers).toMatchObject([{ refused: expect.stringContaining('comparing numbers') }]);
  expect(world.promote(a)).toMatchObject([{ promoted: { kind: 'switchover' } }]);
  expect(a.kernel.transmit(id(OUT))).toBeGreaterThan(3005n);
});

describe('numbers of 32 bits, with a bitmap attribute', () => {
  it('end where they end, also when an old active tells one more than there is (S1)', () => {
    const world = new World({ plan: { rateMaxPps: 100 } });
    world.a.kernel.add(sa(OUT, { bitmap: true, window: 64, oseq: 0xffff_fe00 }));
    world.begin();
    const { a, b } = world;
    transmit(a, 20);
    world.settle();
    world.cut();
    world.promote(b, true);
    expect(b.answers).toMatchObject([{ promoted: { exhausted: 1 } }]);
    transmit(a, 600); // to the last number
    const record = recordOf(b, id(OUT));
    world.connect();
    world.settle();
    // Its upper half is no part of its numbers: a kernel that is given one begins anew below.
    const handle = record?.handle ?? 0;
    b.replica.onFrame('a', { type: 'used', last: true, entries: [{ handle, upTo: 2 ** 32 }], term: 2 }, world.nowMs);
    world.settle();
    expect(record?.counters).toMatchObject({ oseq: 0xffff_ffff, oseqHi: 0 });
    expect(b.kernel.transmit(id(OUT))).toBeUndefined();
    expect(world.promote(a)).toMatchObject([{ promoted: { kind: 'switchover' } }]);
    expect(a.kernel.transmit(id(OUT))).toBeUndefined();
  });

  it('do not go over into an upper half at a handover (S1)', () => {
    const world = pair([sa(OUT, { bitmap: true, window: 64, oseq: 0xffff_fff0 })]);
    const { a, b } = world;
    transmit(a, 2);
    world.settle();
    a.kernel.fault = (request) => {
      // Somebody else sets the packet count while the SA is shut.
      if (request.kind === 'NEWAE' && a.state.phase === 'handingOver') {
        a.kernel.fault = () => undefined;
        const ltimeVal = { bytes: 0n, packets: 100n, addTime: 1_700_000_000n, useTime: 0n };
        a.kernel.must(newAevent(id(OUT), { ltimeVal }));
      }
      return undefined;
    };
    world.promote(b);
    expect(b.state.role).toBe('active');
    expect(b.kernel.transmit(id(OUT))).toBeUndefined();
  });
});

describe('a node that steps down', () => {
  it('lets nothing in until its addresses are gone, even if the account of the new active has come (S2)', () => {
    const world = pair();
    const { a, b } = world;
    for (let n = 1n; n <= 9n; n++) a.kernel.accept(id(IN), n);
    world.pass(TIMER_MS);
    world.cut();
    world.promote(b);
    // Its release hook takes its time.
    const { onHook } = a.replica;
    let release = (): void => {};
    a.replica.onHook = (name, failure) => {
      release = () => onHook.call(a.replica, name, failure);
    };
    world.connect();
    world.settle();
    world.pass(200);
    expect(a.state).toMatchObject({ role: 'standby', complete: true });
    const { seq } = recordOf(a, id(IN))?.counters ?? { seq: 0 };
    expect(a.kernel.accept(id(IN), BigInt(seq) + 1n)).toBe(false);
    release();
    world.settle();
    expect(a.kernel.get(id(IN))?.seq).toBe(BigInt(seq));
  });
});
