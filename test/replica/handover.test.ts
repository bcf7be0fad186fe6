import { describe, expect, it } from 'vitest';
import { saIdOf } from '../../src/client/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { recordOf, type TestNode, TIMER_MS, World } from './world.ts';

const id = (spi: number) => saIdOf(sa(spi));
const [OUT, IN] = [0x101, 0x102];

function pair(mode: 'safe' | 'available' = 'available'): World {
  const world = new World({ mode });
  world.a.kernel.add(sa(OUT));
  world.a.kernel.add(sa(IN));
  world.begin();
  for (let i = 0; i < 7; i++) world.a.kernel.transmit(id(OUT));
  for (let n = 1n; n <= 7n; n++) world.a.kernel.accept(id(IN), n);
  return world.settle();
}

const alone = ({ a, b }: World): TestNode => {
  b.powerOff();
  return a;
};

const refusal = (answers: TestNode['answers']) =>
  answers.flatMap((answer) => ('refused' in answer ? [answer.refused] : [])).join();

describe('switchover', () => {
  it.each(['promote', 'demote'] as const)('by %s: the next number, the same window, nobody in between', (word) => {
    const world = pair();
    const { a, b } = world;
    const answers = word === 'promote' ? world.promote(b) : world.demote(a);
    expect(answers).toHaveLength(1);
    expect(a.state).toMatchObject({ role: 'standby', term: 2, complete: true });
    expect(b.state).toMatchObject({ role: 'active', term: 2 });
    expect([a.disk, b.disk]).toEqual([
      { term: 2, role: 'standby' },
      { term: 2, role: 'active' },
    ]);
    expect(world.holder).toBe(b);
    expect(a.kernel.transmit(id(OUT))).toBeUndefined();
    expect(b.kernel.transmit(id(OUT))).toBe(9n);
    expect(b.kernel.accept(id(IN), 7n)).toBe(false);
    expect(b.kernel.accept(id(IN), 8n)).toBe(true);
  });

  it('there and back again', () => {
    const world = pair();
    const { a, b } = world;
    for (const [i, node] of [b, a, b, a].entries()) {
      world.promote(node);
      expect(node.state).toMatchObject({ role: 'active', term: 2 + i });
      expect(node.kernel.transmit(id(OUT))).toBeDefined();
      expect(world.other(node).kernel.transmit(id(OUT))).toBeUndefined();
    }
  });

  it('packets between reading and shutting are counted', () => {
    const world = pair();
    const { a, b } = world;
    a.kernel.fault = (request) => {
      // The last moment before the SA is shut.
      if (
        request.kind === 'NEWAE' &&
        request.body.saId.spi === OUT &&
        request.attributes.replayVal?.oseq === 0xffff_ffff
      )
        for (let i = 0; i < 5; i++) a.kernel.transmit(id(OUT));
      return undefined;
    };
    world.promote(b);
    expect(b.kernel.transmit(id(OUT))).toBe(7n + 5n + 2n);
  });

  it('a packet that is late at the old active keeps its place in the window', () => {
    const world = pair();
    const { a, b } = world;
    a.kernel.accept(id(IN), 20n);
    world.pass(TIMER_MS);
    a.replica.take();
    a.kernel.accept(id(IN), 15n); // sets a bit, moves nothing
    world.promote(b);
    expect(b.kernel.accept(id(IN), 15n)).toBe(false);
    expect(b.kernel.accept(id(IN), 16n)).toBe(true);
  });

  it('an SA that comes while the others are being shut is shut too, and goes along', () => {
    const world = pair();
    const { a, b } = world;
    let added = false;
    a.kernel.fault = (request) => {
      if (!added && request.kind === 'NEWAE') {
        added = true;
        a.kernel.add(sa(0x200));
        a.kernel.transmit(id(0x200));
      }
      return undefined;
    };
    world.promote(b);
    expect(a.kernel.transmit(id(0x200))).toBeUndefined();
    expect(b.kernel.transmit(id(0x200))).toBeGreaterThan(1n);
  });

  it('traffic that does not stop delays it up to the limit, and it is still exact', () => {
    const world = pair();
    const { a, b } = world;
    b.replica.promote(world.nowMs, { force: false });
    const began = world.nowMs;
    for (let i = 0; a.state.role === 'active' && i < 1000; i++) {
      a.kernel.transmit(id(OUT));
      world.round();
    }
    expect(a.state.role).toBe('standby');
    expect(world.nowMs - began).toBeGreaterThanOrEqual(1000);
    const sent = recordOf(a, id(OUT))?.counters.oseq ?? 0;
    world.settle();
    expect(b.kernel.transmit(id(OUT))).toBe(BigInt(sent) + 2n);
  });
});

describe('a switchover that does not happen', () => {
  const stillActive = (world: World): void => {
    const { a, b } = world;
    expect(a.state).toMatchObject({ role: 'active', term: 1, phase: 'steady', demoteAsked: false });
    expect(b.state).toMatchObject({ role: 'standby', phase: 'steady' });
    expect(world.holder).toBe(a);
    expect(a.kernel.transmit(id(OUT))).toBe(8n);
    expect(b.kernel.transmit(id(OUT))).toBeUndefined();
    expect(a.disk).toEqual({ term: 1, role: 'active' });
  };

  it('the release hook fails', () => {
    const world = pair();
    world.a.hookFault = { release: 'status 1' };
    expect(refusal(world.promote(world.b))).toContain('status 1');
    stillActive(world);
  });

  it('the old active cannot store that it is one no more', () => {
    const world = pair();
    world.a.diskFault = 'ENOSPC';
    expect(refusal(world.promote(world.b))).toContain('ENOSPC');
    stillActive(world);
  });

  it('the standby gives up waiting', () => {
    const world = pair();
    const { a, b } = world;
    b.replica.promote(world.nowMs, { force: false });
    world.until(() => a.state.phase === 'handingOver');
    b.replica.abandonHandover('nothing happened within 15 s');
    world.settle();
    expect(refusal(b.answers)).toContain('nothing happened');
    stillActive(world);
  });

  it('the operator of the active is told when it takes too long', () => {
    const world = pair();
    const { a } = world;
    a.replica.demote({ force: false });
    world.until(() => a.state.phase === 'handingOver');
    a.replica.abandonHandover('nothing happened within 15 s');
    world.settle();
    expect(refusal(a.answers)).toContain('nothing happened');
    stillActive(world);
  });

  it.each([
    ['demote on the standby', (w: World) => w.demote(w.b), 'not active'],
    ['demote without a standby', (w: World) => w.demote(alone(w)), '--force'],
  ])('%s', (_, ask, words) => {
    const world = pair();
    expect(refusal(ask(world))).toContain(words);
    expect(world.a.state.role).toBe('active');
  });

  it('is refused while a hook of an earlier one still runs: it would claim after the release', () => {
    const world = pair();
    world.a.state.hooksPending++;
    expect(refusal(world.promote(world.b))).toContain('hooks are still running');
    world.a.state.hooksPending--;
    expect(world.promote(world.b)).toMatchObject([{ promoted: { kind: 'switchover' } }]);
  });

  it('promote on the active: there is nothing to do, which is no failure', () => {
    const world = pair();
    const term = world.a.state.term;
    expect(world.promote(world.a)).toMatchObject([{ promoted: { kind: 'none', term, sas: 2 } }]);
    expect([world.a.state.role, world.a.state.term, world.b.state.role]).toEqual(['active', term, 'standby']);
  });

  it('while the standby is being brought up to date', () => {
    const world = pair();
    world.b.replica.resync();
    world.until(() => world.b.state.staleSas !== undefined);
    world.b.replica.promote(world.nowMs, { force: false });
    world.settle();
    expect(refusal(world.b.answers)).toContain('up to date');
    stillActive(world);
  });

  it('events during a handover that is given up are not lost', () => {
    const world = pair();
    const { a, b } = world;
    b.replica.promote(world.nowMs, { force: false });
    world.until(() => a.state.phase === 'handingOver');
    for (let i = 0; i < 100; i++) a.kernel.transmit(id(OUT));
    a.readEvents();
    b.replica.abandonHandover('no');
    world.settle();
    expect(a.state.role).toBe('active');
    expect(recordOf(b, id(OUT))?.counters.oseq).toBe(107);
  });

  it('the last word that comes late still counts: nobody else forwards', () => {
    const world = pair();
    const { a, b } = world;
    b.replica.promote(world.nowMs, { force: false });
    while (b.outbox.length === 0 && b.step()) {}
    for (let i = 0; a.state.role === 'active' && i < 1000; i++) {
      world.deliver(b);
      a.readEvents();
      a.step();
    }
    b.replica.abandonHandover('too late');
    world.settle();
    expect(a.state.role).toBe('standby');
    expect(b.state.role).toBe('active');
    expect(b.kernel.transmit(id(OUT))).toBe(9n);
  });
});

describe('cut or killed at any step of a switchover', () => {
  type Accident = 'cut' | 'kill a' | 'kill b' | 'power off a' | 'restart a' | 'restart b';
  const accidents: Accident[] = ['cut', 'kill a', 'kill b', 'power off a', 'restart a', 'restart b'];

  const rows = [
    ['available', 'promote'],
    ['safe', 'demote'],
    ['safe', 'switchover on b'],
  ] as const;

  /** Runs a switchover with the accident after `steps` single steps; false if it was over before. */
  function run(
    [mode, word]: (typeof rows)[number],
    accident: Accident,
    steps: number,
  ): { world: World; happened: boolean; sent: bigint[] } {
    const world = pair(mode);
    const { a, b } = world;
    const sent: bigint[] = [];
    const traffic = (): void => {
      world.nowMs++;
      for (const node of world.nodes) {
        const n = node.kernel.transmit(id(OUT));
        if (n !== undefined) sent.push(n);
      }
    };
    if (word === 'promote') b.replica.promote(world.nowMs, { force: false });
    else if (word === 'demote') a.replica.demote({ force: false });
    else b.replica.switchover(world.nowMs);
    let busy = true;
    for (let i = 0; i < steps && busy; i++) {
      busy = false;
      for (const act of [
        () => a.readEvents(),
        () => a.step(),
        () => world.deliver(a),
        () => b.readEvents(),
        () => b.step(),
        () => world.deliver(b),
      ])
        if (i % 2 === 0 || act !== undefined) busy = act() || busy;
      traffic();
    }
    const happened = busy;
    if (accident === 'cut') world.cut();
    else if (accident === 'kill a') a.crash();
    else if (accident === 'kill b') b.crash();
    else if (accident === 'power off a') a.powerOff();
    else if (accident === 'restart a') a.crash();
    else b.crash();
    if (accident === 'restart a') a.start();
    if (accident === 'restart b') b.start();
    for (let i = 0; i < 20; i++) {
      for (const node of world.nodes) {
        node.readEvents();
        node.step();
      }
      traffic();
    }
    world.settle();
    return { world, happened, sent };
  }

  for (const [row, accident] of rows.flatMap((one) => accidents.map((accident) => [one, accident] as const))) {
    it(`mode ${row.join(', ')}: ${accident}`, () => {
      let happened = true;
      let count = 0;
      for (let steps = 0; happened; steps++) {
        const result = run(row, accident, steps);
        happened = result.happened;
        count++;
        const { world, sent } = result;
        // No number was sent twice, by whomever.
        expect(new Set(sent).size, `numbers, accident after ${steps} steps`).toBe(sent.length);
        expect(world.actives.length).toBeLessThanOrEqual(1);
        // The pair comes back, and somebody can be made active.
        for (const node of world.nodes) if (!node.alive) accident.startsWith('power') ? node.boot() : node.start();
        world.connect();
        world.settle();
        expect(world.actives.length).toBeLessThanOrEqual(1);
        if (world.actives.length === 0) {
          const ready = world.nodes.find((node) => node.state.complete);
          const chosen = ready ?? world.b;
          const answers = world.promote(chosen, ready === undefined);
          expect(answers, `${accident} after ${steps} steps`).toMatchObject([{ promoted: {} }]);
        }
        expect(world.actives).toHaveLength(1);
        for (const node of world.nodes) {
          for (let i = 0; i < 3; i++) {
            const n = node.kernel.transmit(id(OUT));
            if (n !== undefined) sent.push(n);
          }
        }
        expect(new Set(sent).size, `numbers in the end, accident after ${steps} steps`).toBe(sent.length);
        const [active] = world.actives as [TestNode];
        expect(world.other(active).kernel.transmit(id(OUT))).toBeUndefined();
        expect(world.other(active).state).toMatchObject({ role: 'standby', complete: true, term: active.state.term });
      }
      expect(count).toBeGreaterThan(10);
    });
  }
});
