import { describe, expect, it } from 'vitest';
import { saIdOf } from '../../src/client/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { SaExtraFlag } from '../../src/xfrm/index.ts';
import { recordOf, type TestNode, TIMER_MS, World, type WorldOptions } from './world.ts';

/** Daemons that die at any step: what is left is a state from which the next command succeeds, and no number or packet counts twice. */

const id = (spi: number) => saIdOf(sa(spi));
const [OUT, OUT2, IN, IN2] = [0x101, 0x102, 0x103, 0x104];
const STEPS_MAX = 400;
/** By then every part of raising a grant has been met several times. */
const STEPS_OF_GRANTS = 60;

/** What both kernels have sent and accepted, by SA; a second time is an error. */
class Books {
  readonly world: World;
  readonly sent = new Set<string>();
  readonly accepted = new Set<string>();
  #peer = 0n;
  context = '';

  constructor(world: World) {
    this.world = world;
  }

  /** Every kernel that can send does, and what the peer sends reaches whoever has the addresses. */
  traffic(packets = 1): void {
    for (let i = 0; i < packets; i++) {
      this.world.nowMs++;
      for (const { name, kernel } of this.world.nodes) {
        for (const spi of [OUT, OUT2]) {
          const n = kernel.transmit(id(spi));
          if (n !== undefined) this.#once(this.sent, `${spi}/${n}`, `S1: ${name} sends`);
        }
      }
      if (this.world.holder === undefined) continue;
      this.#peer++;
      for (const spi of [IN, IN2]) this.#arrive(spi, this.#peer);
    }
  }

  /** Everything that the peer has ever sent comes again. */
  replay(): void {
    for (const spi of [IN, IN2]) for (let n = 1n; n <= this.#peer; n++) this.#arrive(spi, n);
  }

  #arrive(spi: number, n: bigint): void {
    const { holder } = this.world;
    if (holder?.kernel.accept(id(spi), n)) this.#once(this.accepted, `${spi}/${n}`, `S2: ${holder.name} accepts`);
  }

  #once(book: Set<string>, mark: string, what: string): void {
    expect(book.has(mark), `${what} ${mark} again, ${this.context}`).toBe(false);
    book.add(mark);
  }
}

function pair(options: WorldOptions): { world: World; books: Books } {
  const world = new World({ numbersMin: 64, plan: { rateMaxPps: 2_000, rateFloorPps: 2_000 }, ...options });
  for (const spi of [OUT, IN]) world.a.kernel.add(sa(spi));
  for (const spi of [OUT2, IN2]) world.a.kernel.add(sa(spi, { esn: true, window: 64 }));
  world.begin();
  const books = new Books(world);
  books.traffic(7);
  world.pass(TIMER_MS).pass(0);
  books.traffic(3); // the standby hears of some of it at the most
  return { world, books };
}

/** One thing after the other that a running pair does, with traffic between any two. False if nothing was to be done. */
function* stepwise(world: World, books: Books): Generator<void, void> {
  const { nodes } = world;
  let busy = true;
  while (busy) {
    busy = false;
    for (const node of nodes) {
      for (const act of [() => node.readEvents(), () => node.step(), () => world.deliver(node)]) {
        if (!act()) continue;
        busy = true;
        yield;
      }
      if (node.alive && node.queue.length === 0 && node.replica.hasDirty && node.state.phase === 'steady') {
        node.replica.flush();
        busy = true;
        yield;
      }
    }
    books.traffic();
    // Traffic alone makes events without end: over when nobody is in the middle of anything.
    if (nodes.every((n) => !n.alive || (n.state.phase === 'steady' && n.queue.length === 0))) return;
  }
}

function flushes({ replica, queue }: TestNode): boolean {
  if (!replica.hasDirty || queue.length > 0) return false;
  replica.flush();
  return true;
}

/** Takes `steps` single steps; false if it was over before. */
function run(world: World, books: Books, steps: number): boolean {
  const running = stepwise(world, books);
  for (let i = 0; i < steps; i++) if (running.next().done) return false;
  return true;
}

const modes = [
  ['safe', 'immediate'],
  ['safe', 'takeover'],
  ['available', 'immediate'],
  ['available', 'takeover'],
] as const;

describe('promote with the active gone, the daemon killed at any step and started again', () => {
  it.each(modes)('mode %s, install %s: the next promote finishes', (mode, install) => {
    const ends = { none: 0, takeover: 0, shut: 0 };
    let happened = true;
    for (let steps = 0; happened; steps++) {
      expect(steps).toBeLessThan(STEPS_MAX);
      const { world, books } = pair({ mode, install });
      const { a, b } = world;
      books.context = `killed after ${steps} steps`;
      a.powerOff();
      b.replica.promote(world.nowMs, { force: false });
      happened = run(world, books, steps);
      const { term } = b.disk;
      b.crash();
      books.traffic(2);
      // What its kernel could do until the daemon was back.
      const couldSend = b.kernel.transmit(id(OUT)) !== undefined;
      b.start();
      world.settle();
      if (b.state.role === 'standby') {
        if (couldSend) ends.shut++;
        expect([OUT, OUT2].map((spi) => b.kernel.transmit(id(spi)))).toEqual([undefined, undefined]);
        const isOpen = (spi: number) => recordOf(b, id(spi)) !== undefined;
        // Copies that were not opened yet are as on any standby.
        expect([IN, IN2].filter((spi) => isOpen(spi) && b.kernel.accept(id(spi), 1_000_000n))).toEqual([]);
      }
      // It does not hold an account any more, unless it is the active already: whoever insists gets what is left.
      const before = b.kernel.sas.size;
      const plan = b.replica.dryRun(b.kernel.dump(), world.nowMs, { force: true });
      if (b.state.role === 'standby')
        expect(world.promote(b)).toMatchObject([{ refused: expect.stringContaining('--force') }]);
      const answers = world.promote(b, b.state.role === 'standby');
      expect(answers, books.context).toMatchObject([{ promoted: { kind: plan.course, failed: 0 } }]);
      ends[plan.course === 'none' ? 'none' : 'takeover']++;
      expect(b.disk).toEqual({ term: plan.course === 'none' ? term : plan.newTerm, role: 'active' });
      expect(b.kernel.sas.size).toBe(before - plan.totals.removed);
      world.pass(2500);
      expect(world.holder).toBe(b);
      books.traffic(5);
      books.replay();
      // And the pair is one again when the other machine is back.
      a.boot();
      world.connect();
      world.settle();
      expect(a.state, books.context).toMatchObject({ role: 'standby', complete: true, term: b.state.term });
      books.traffic(5);
      books.replay();
      expect(world.promote(a)).toMatchObject([{ promoted: { kind: 'switchover' } }]);
      books.traffic(5);
      books.replay();
    }
    // Killed before and after the role was on disk.
    expect(ends.none).toBeGreaterThan(0);
    expect(ends.takeover).toBeGreaterThan(5);
    expect(ends.shut).toBeGreaterThan(1);
  });

  it.each(modes)('mode %s, install %s: and the old active back', (mode, install) => {
    let happened = true;
    let orphaned = 0;
    for (let steps = 0; happened; steps++) {
      expect(steps).toBeLessThan(STEPS_MAX);
      const { world } = pair({ mode, install });
      const { a, b } = world;
      const context = `killed after ${steps} steps`;
      // The old active's daemon is dead, its machine fenced: nothing reaches it, its kernel is whole.
      a.crash();
      world.holder = undefined;
      b.replica.promote(world.nowMs, { force: false });
      for (let i = 0; i < steps && happened; i++) happened = b.step();
      b.crash();
      a.start();
      b.start();
      world.connect();
      world.settle();
      world.pass(2500);
      if (world.actives.length === 0) {
        // The newer term is on disk, and its node never was active: the account that is left is the old active's.
        expect(b.disk).toMatchObject({ term: 2, role: 'standby' });
        orphaned++;
        expect(world.promote(a)).toMatchObject([{ refused: expect.stringContaining('--force') }]);
        expect(world.promote(a, true), context).toMatchObject([
          { promoted: { kind: 'takeover', term: 3, sas: 4, failed: 0 } },
        ]);
      }
      expect(world.actives, context).toHaveLength(1);
      const standby = world.other(world.actives[0] as TestNode);
      expect(standby.state, context).toMatchObject({ role: 'standby', complete: true });
      expect(standby.kernel.transmit(id(OUT))).toBeUndefined();
      expect(world.promote(standby), context).toMatchObject([{ promoted: { kind: 'switchover', sas: 4, failed: 0 } }]);
      expect(world.actives).toEqual([standby]);
    }
    expect(orphaned).toBeGreaterThan(3);
  });
});

describe('SAs that a takeover has left open (0015)', () => {
  /** b dies with all its SAs open and the role not on disk. */
  function leftOpen(options: WorldOptions = {}): { world: World; books: Books } {
    const { world, books } = pair(options);
    const { a, b } = world;
    a.powerOff();
    b.replica.promote(world.nowMs, { force: false });
    while (b.step()) if (b.state.takeover?.opened) break;
    b.crash();
    expect(b.disk).toEqual({ term: 2, role: 'standby', opening: true });
    books.traffic(50);
    return { world, books };
  }

  it('are opened by force where they were, above what has slipped out until they were shut (S1, S2)', () => {
    const { world, books } = leftOpen();
    const { b } = world;
    const { fault } = b.kernel;
    // Between reading and shutting they go on sending.
    b.kernel.fault = (request) => {
      if (request.kind === 'NEWAE') {
        b.kernel.fault = fault;
        books.traffic(20);
      }
      return undefined;
    };
    b.start();
    world.settle();
    expect(b.disk).toEqual({ term: 2, role: 'standby' });
    const { seq = 0n } = b.kernel.get(id(IN)) ?? {};
    expect(seq).toBe(0xffff_ffffn);
    expect(world.promote(b, true)).toMatchObject([{ promoted: { sas: 4, failed: 0 } }]);
    books.traffic(5);
    books.replay();
    expect(b.kernel.transmit(id(OUT))).toBeDefined();
    expect(b.kernel.transmit(id(OUT2))).toBeDefined();
  });

  it('are told to whoever is active next', () => {
    const { world } = leftOpen();
    const { a, b } = world;
    const sent = b.kernel.transmit(id(OUT)) ?? 0n;
    b.start();
    a.boot();
    a.kernel.add(sa(OUT));
    world.promote(a, true);
    world.connect();
    world.settle();
    world.pass(500);
    expect(world.actives).toEqual([a]);
    expect(a.kernel.transmit(id(OUT))).toBeGreaterThan(sent);
  });

  it('are in step with the next active, whose numbers may be lower', () => {
    const { world } = leftOpen();
    const { a, b } = world;
    b.start();
    a.boot();
    for (const spi of [OUT, IN]) a.kernel.add(sa(spi));
    a.kernel.accept(id(IN), 1n);
    world.promote(a, true);
    world.connect();
    world.settle();
    world.pass(TIMER_MS);
    const numbers = (node: TestNode) => {
      const { oseq, seq } = recordOf(node, id(IN))?.counters ?? {};
      return { oseq, seq };
    };
    expect(numbers(a)).toEqual({ oseq: 0, seq: 1 });
    expect(numbers(b)).toEqual(numbers(a));
  });

  it('are no affair of a later life: what a key manager makes on a standby is left alone', () => {
    const { world } = leftOpen();
    const { b } = world;
    b.start();
    world.settle();
    const own = saIdOf(sa(0x999));
    b.kernel.add(sa(0x999));
    b.crash();
    b.start();
    world.settle();
    expect(b.kernel.transmit(own)).toBe(1n);
  });

  it('are not left open where they cannot be kept from sending', () => {
    const wraps = sa(0x999, { attributes: { saExtraFlags: SaExtraFlag.OSEQ_MAY_WRAP } });
    const world = new World();
    world.a.kernel.add(wraps);
    world.begin();
    world.a.powerOff();
    world.b.replica.promote(world.nowMs, { force: false });
    while (world.b.step()) if (world.b.state.takeover?.opened) break;
    world.b.crash();
    expect(world.b.kernel.transmit(saIdOf(wraps))).toBeDefined();
    world.b.start();
    world.settle();
    expect(world.b.kernel.get(saIdOf(wraps))).toBeUndefined();
    expect(world.promote(world.b, true)).toMatchObject([{ promoted: { sas: 1, failed: 0 } }]);
    expect(world.b.kernel.transmit(saIdOf(wraps))).toBeDefined();
  });
});

describe('grants that are being raised, with an accident at any step', () => {
  const accidents = ['kill a', 'kill b', 'cut', 'power off a'] as const;
  const rows = (['safe', 'available'] as const).flatMap((mode) =>
    accidents.map((accident) => [mode, accident] as const),
  );

  it.each(rows)('mode %s, %s: no number twice, and the next command succeeds', (mode, accident) => {
    const seen = new Set<string>();
    for (let steps = 0; steps < STEPS_OF_GRANTS; steps++) {
      const { world, books } = pair({ mode });
      const { a, b } = world;
      books.context = `${accident} after ${steps} steps`;
      // So many that grants have to be raised, with steps between.
      for (let i = 0; i < steps; ) {
        books.traffic(3);
        const acts = [
          () => a.readEvents(),
          () => flushes(a),
          () => a.step(),
          () => world.deliver(a),
          () => b.step(),
          () => world.deliver(b),
        ];
        for (const act of acts) if (i < steps && act()) i++;
      }
      const last = a.queue[0] ?? a.state.effects[0];
      if (a.state.asked.size > 0) seen.add('asked');
      if (world.frames.at(-1)?.frame.type === 'grants') seen.add('told');
      if (world.frames.at(-1)?.frame.type === 'granted') seen.add('granted');
      if (last?.type === 'write' && last.writes.some(({ purpose }) => purpose.op === 'ceiling')) seen.add('ceiling');
      if (accident === 'kill a') a.crash();
      else if (accident === 'kill b') b.crash();
      else if (accident === 'cut') world.cut();
      else a.powerOff();
      const usurped = mode === 'safe' && (accident === 'kill a' || accident === 'cut');
      if (accident === 'power off a' || usurped) {
        // In `safe` the old kernel need not be fenced for its numbers; what arrives is another matter.
        world.holder = undefined;
        books.traffic(2);
        expect(world.promote(b), books.context).toMatchObject([{ promoted: { kind: 'takeover', failed: 0 } }]);
        books.traffic(30);
      } else {
        books.traffic(2);
      }
      if (!a.alive) accident === 'power off a' ? a.boot() : a.start();
      if (!b.alive) b.start();
      world.connect();
      world.settle();
      world.pass(2500);
      expect(world.actives, books.context).toHaveLength(1);
      const standby = world.other(world.actives[0] as TestNode);
      expect(standby.state, books.context).toMatchObject({ complete: true, phase: 'steady' });
      books.traffic(5);
      world.settle();
      expect(world.promote(standby), books.context).toMatchObject([{ promoted: { kind: 'switchover', failed: 0 } }]);
      books.traffic(40);
      books.replay();
      world.settle();
      if (mode === 'available' || recordOf(standby, id(OUT)) === undefined) continue;
      // Nothing beyond what the other node knows.
      for (const record of standby.state.sas)
        expect(recordOf(world.other(standby), record.id)?.granted).toBe(record.granted);
    }
    expect([...seen].sort()).toEqual(
      expect.arrayContaining(mode === 'safe' ? ['asked', 'ceiling', 'granted', 'told'] : ['asked', 'granted', 'told']),
    );
  });
});
