import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newAevent, saIdOf } from '../../src/client/index.ts';
import { exposureOf } from '../../src/replica/index.ts';
import { countersOf, isParked } from '../../src/replica/sa/counters.ts';
import { sameSa } from '../../src/replica/sa/install.ts';
import { saKey } from '../../src/replica/sa/table.ts';
import { sa } from '../../src/simulator/sas.ts';
import { recordOf, type TestNode, World } from './world.ts';

/**
 * Whatever happens in whatever order: no outbound number is sent twice (S1), no packet is accepted twice with `strict` (S2), counters
 * of a replica never go back within a term, and deleted SAs stay away (S3); no standby lacks more of an SA's progress than the active says
 * that it may (S7). The assumptions are the documented ones: rates are below
 * `rate_max_pps` and `rate_floor_pps`; who promotes without the active's consent has seen to it that it is dead.
 */

type Op =
  | { readonly op: 'send' | 'receive'; readonly sa: number; readonly packets: number; readonly gap: number }
  | { readonly op: 'replay'; readonly back: number }
  | { readonly op: 'steps'; readonly node: 0 | 1; readonly count: number }
  | { readonly op: 'deliver'; readonly node: 0 | 1; readonly count: number }
  | { readonly op: 'events' | 'promote' | 'demote' | 'restart' | 'giveUp' | 'resync'; readonly node: 0 | 1 }
  | { readonly op: 'pass'; readonly ms: number }
  | { readonly op: 'add' | 'delete' | 'rekey'; readonly sa: number }
  | {
      readonly op:
        | 'failover'
        | 'return'
        | 'cut'
        | 'connect'
        | 'flush'
        | 'settle'
        | 'inspect'
        | 'silence'
        | 'overrun'
        | 'fault'
        | 'usurp';
    };

const node = fc.constantFrom(0 as const, 1 as const);
const index = fc.nat({ max: 3 });
const just = <T extends Op['op']>(op: T) => fc.constant({ op } as { op: T });
const onNode = <T extends Op['op']>(op: T) => node.map((n) => ({ op, node: n }));
const onSa = <T extends Op['op']>(op: T) => index.map((n) => ({ op, sa: n }));

const operation: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      op: fc.constantFrom('send' as const, 'receive' as const),
      sa: index,
      packets: fc.integer({ min: 1, max: 8 }),
      gap: fc.nat({ max: 3 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('replay' as const), back: fc.nat({ max: 40 }) }) },
  {
    weight: 10,
    arbitrary: fc.record({ op: fc.constant('steps' as const), node, count: fc.integer({ min: 1, max: 6 }) }),
  },
  {
    weight: 10,
    arbitrary: fc.record({ op: fc.constant('deliver' as const), node, count: fc.integer({ min: 1, max: 6 }) }),
  },
  { weight: 6, arbitrary: onNode('events') },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 1500 }) }) },
  { weight: 4, arbitrary: just('flush') },
  { weight: 4, arbitrary: just('settle') },
  { weight: 3, arbitrary: just('inspect') },
  { weight: 2, arbitrary: just('silence') },
  { weight: 3, arbitrary: onNode('promote') },
  { weight: 2, arbitrary: onNode('demote') },
  { weight: 2, arbitrary: onNode('giveUp') },
  { weight: 3, arbitrary: just('failover') },
  { weight: 2, arbitrary: onNode('restart') },
  { weight: 1, arbitrary: just('usurp') },
  { weight: 3, arbitrary: just('return') },
  { weight: 2, arbitrary: just('cut') },
  { weight: 4, arbitrary: just('connect') },
  { weight: 1, arbitrary: just('overrun') },
  { weight: 1, arbitrary: just('fault') },
  { weight: 1, arbitrary: onNode('resync') },
  { weight: 2, arbitrary: onSa('add') },
  { weight: 2, arbitrary: onSa('delete') },
  { weight: 2, arbitrary: onSa('rekey') },
);

const whole = (high: number, low: number): bigint => BigInt(high) * 2n ** 32n + BigInt(low);

/** Grants that end within a game. */
const NUMBERS_MIN = 16;

/** Drives a world by operations and keeps the books that no node can see. */
class Game {
  readonly world: World;
  readonly mode: 'safe' | 'available';
  /** SA, key and number of everything that was sent, or accepted, by either kernel. */
  readonly sent = new Set<string>();
  /** The last number of each SA. */
  readonly #lastSent = new Map<string, bigint>();
  /** When it was. */
  readonly accepted = new Map<string, number>();
  /** Of each takeover: from when to when nothing was known of the old active. */
  readonly #unseen = new Map<object, { readonly fromMs: number; readonly toMs: number }>();
  /** What the far end has sent: anybody can send it again. */
  readonly wire: { readonly i: number; readonly key: number; readonly n: bigint }[] = [];
  readonly #keys = [1, 1, 1, 1];
  readonly #peerNumbers = [0n, 0n, 0n, 0n];
  readonly #seen = new WeakMap<object, { term: number; oseq: bigint; seq: bigint }>();

  readonly #quiet: 'closed' | 'open';

  constructor(mode: 'safe' | 'available' = 'available', quiet: 'closed' | 'open' = 'closed') {
    this.mode = mode;
    this.#quiet = quiet;
    this.world = new World({
      plan: { inbound: 'strict', rateMaxPps: 10_000, rateFloorPps: 10_000, quiet },
      mode,
      numbersMin: NUMBERS_MIN,
    });
    // Two that go out and two that come in, one of each with 64-bit numbers; the kernel does not say which is which.
    for (const i of [0, 1, 2, 3]) this.world.a.kernel.add(this.#sa(i));
    this.world.begin();
  }

  #sa(i: number) {
    const esn = i % 2 === 1;
    return sa(0x100 + i, { key: this.#keys[i] as number, esn, window: esn ? 64 : 32 });
  }

  play(op: Op): void {
    const { world } = this;
    const at = 'node' in op ? (world.nodes[op.node] as TestNode) : world.a;
    const [active] = world.actives;
    switch (op.op) {
      case 'send':
        for (let k = 0; k < op.packets; k++) this.#send(op.sa % 2);
        world.nowMs++;
        break;
      case 'receive':
        for (let k = 0; k < op.packets; k++) this.#receive(2 + (op.sa % 2), k === 0 && op.gap > 2 ? 2n : 1n);
        world.nowMs++;
        break;
      case 'replay': {
        const again = this.wire.at(-1 - op.back);
        if (again) this.#arrive(again.i, again.key, again.n);
        break;
      }
      case 'steps':
        for (let k = 0; k < op.count; k++) at.step();
        break;
      case 'deliver':
        for (let k = 0; k < op.count; k++) world.deliver(at);
        break;
      case 'events':
        at.readEvents();
        break;
      case 'pass':
        world.nowMs += op.ms;
        for (const one of world.nodes) one.tick();
        break;
      case 'flush':
        for (const one of world.nodes) if (one.alive) one.replica.flush();
        break;
      case 'settle':
        world.settle();
        break;
      case 'inspect':
        this.#inspect();
        break;
      case 'silence':
        // Long enough for SAs to become quiet, if everything works meanwhile.
        for (let k = 0; k < 3; k++) world.pass(1300);
        break;
      case 'promote': {
        const other = world.other(at);
        const otherMayReign = other.alive && (other.state.role === 'active' || other.state.phase === 'takingOver');
        // Without the other node's consent only when it is dead: the operator's, or the fence's, part.
        if (at.alive && (!otherMayReign || at.state.present.length > 0)) {
          if (otherMayReign && at.state.reigning === undefined && other.state.role === 'active') break;
          at.replica.promote(world.nowMs, { force: false });
        }
        break;
      }
      case 'demote':
        if (at.alive) at.replica.demote({ force: false });
        break;
      case 'giveUp':
        if (at.alive) at.replica.abandonHandover('it takes too long');
        break;
      case 'restart':
        if (at.alive) {
          at.crash();
          at.start();
        }
        break;
      case 'failover':
        if (active) {
          this.#inspectStandby(active);
          active.powerOff();
          const other = world.other(active);
          if (other.alive && other.state.complete && other.state.phase === 'steady')
            other.replica.promote(world.nowMs, { force: false });
        }
        break;
      case 'usurp':
        // Cut off, alive, and not fenced: `safe` promises that it does not use a number of the new active all the same.
        if (this.mode === 'safe' && active) {
          const other = world.other(active);
          if (!other.alive || !other.state.complete || other.state.phase !== 'steady') break;
          world.cut();
          // What arrives is no affair of numbers: nothing reaches the old one any more, but it goes on sending.
          world.holder = undefined;
          other.replica.promote(world.nowMs, { force: true });
        }
        break;
      case 'return':
        for (const one of world.nodes) if (!one.alive) one.boot();
        break;
      case 'cut':
        world.cut();
        break;
      case 'connect':
        world.connect();
        break;
      case 'overrun':
        active?.kernel.overrun();
        break;
      case 'fault':
        // The kernel refuses the next write of a takeover.
        for (const one of world.nodes) {
          one.kernel.fault = (request) => {
            if (request.kind !== 'NEWAE' || !one.alive || one.state.phase !== 'takingOver') return undefined;
            one.kernel.fault = () => undefined;
            return 12;
          };
        }
        break;
      case 'resync':
        if (at.alive && at.state.phase === 'steady') at.replica.resync();
        break;
      case 'add':
        if (active?.state.phase === 'steady' && active.kernel.get(saIdOf(this.#sa(op.sa))) === undefined)
          this.#rekey(active, op.sa);
        break;
      case 'delete':
        active?.kernel.delete(saIdOf(this.#sa(op.sa)));
        break;
      case 'rekey':
        if (active?.state.phase === 'steady' && active.kernel.get(saIdOf(this.#sa(op.sa)))) {
          active.kernel.delete(saIdOf(this.#sa(op.sa)));
          this.#rekey(active, op.sa);
        }
        break;
    }
    this.check();
  }

  /** A key is never used for a second SA. */
  #rekey(active: TestNode, i: number): void {
    this.#keys[i] = (this.#keys[i] as number) + 1;
    this.#peerNumbers[i] = 0n;
    active.kernel.add(this.#sa(i));
  }

  /** Traffic meets every kernel: one that must not send has to be unable to. */
  #send(i: number): void {
    const id = saIdOf(this.#sa(i));
    for (const { name, kernel } of this.world.nodes) {
      const key = kernel.get(id)?.sa.attributes.algAead?.key[0];
      const n = kernel.transmit(id);
      if (n === undefined) continue;
      const mark = `${i}/${key}/${n}`;
      expect(this.sent.has(mark), `S1: ${name} sends ${mark}`).toBe(false);
      this.sent.add(mark);
      this.#lastSent.set(`${id.spi}/${key}`, n);
    }
  }

  /**
   * With nobody at the address the peer is taken to be silent: numbers that are lost on the way just before a takeover are the one thing
   * that no bound on the rate covers.
   */
  #receive(i: number, by: bigint): void {
    if (this.world.holder === undefined) return;
    const n = (this.#peerNumbers[i] as bigint) + by;
    this.#peerNumbers[i] = n;
    const key = this.#keys[i] as number;
    this.wire.push({ i, key, n });
    this.#arrive(i, key, n);
  }

  /** At whoever has the addresses; a packet under another key does not authenticate. */
  #arrive(i: number, key: number, n: bigint): void {
    const { holder, nodes } = this.world;
    // Once a newer reign has begun, the older one gets nothing, also if nobody is left: the fence's part.
    if (nodes.some(({ disk }) => holder !== undefined && disk.term > holder.state.term)) return;
    const id = saIdOf(this.#sa(i));
    if (holder === undefined || holder.kernel.get(id)?.sa.attributes.algAead?.key[0] !== key) return;
    if (!holder.kernel.accept(id, n)) return;
    const mark = `${i}/${key}/${n}`;
    const firstMs = this.accepted.get(mark);
    // The windows of quiet SAs may have been left open, for what was accepted after the last pong before a takeover.
    const open = [...this.#unseen.values()].some(
      ({ fromMs, toMs }) => firstMs !== undefined && firstMs >= fromMs && firstMs <= toMs,
    );
    expect(
      firstMs === undefined || (this.#quiet === 'open' && open),
      `S2: ${holder.name} accepts ${mark} again, which was accepted first at ${firstMs}`,
    ).toBe(true);
    this.accepted.set(mark, firstMs ?? this.world.nowMs);
  }

  /** S7: what the active's kernel has counted, and its standby does not know. */
  #inspect(): void {
    const { actives } = this.world;
    const [active] = actives;
    if (active === undefined || actives.length > 1 || active.state.phase !== 'steady') return;
    active.readEvents();
    if (active.state.resyncsPending === 0) this.#lacksNoMore(active, active);
  }

  /** The same, as the standby would assume. */
  #inspectStandby(active: TestNode): void {
    const standby = this.world.other(active);
    if (this.#quiet === 'closed' && standby.alive && standby.state.role === 'standby')
      this.#lacksNoMore(active, standby);
  }

  #lacksNoMore(active: TestNode, teller: TestNode): void {
    const exposure = exposureOf(teller.state, this.world.nowMs);
    const standby = this.world.other(active);
    if (exposure === undefined || !standby.alive || !standby.state.complete) return;
    for (const [record, { packets }] of exposure.of) {
      const now = active.kernel.get(record.id);
      const known = recordOf(standby, record.id);
      if (now === undefined || known === undefined || !sameSa(now.sa, record.sa) || !sameSa(known.sa, record.sa))
        continue;
      // Shut for a handover the kernel's number says nothing of what was sent: the books do.
      const isShut = isParked(now.sa, countersOf(now.sa));
      const sent = isShut
        ? (this.#lastSent.get(`${record.id.spi}/${now.sa.attributes.algAead?.key[0]}`) ?? 0n)
        : now.oseq;
      const { oseq, oseqHi, seq, seqHi } = known.counters;
      const lacks = sent + now.seq - whole(oseqHi, oseq) - whole(seqHi, seq);
      expect(lacks <= BigInt(packets), `S7: ${record.id.spi} lacks ${lacks}, ${teller.name} said ${packets}`).toBe(
        true,
      );
    }
  }

  check(): void {
    for (const { alive, state } of this.world.nodes) {
      const { takeover } = alive ? state : { takeover: undefined };
      if (takeover?.kind === 'takeover')
        this.#unseen.set(takeover, { fromMs: takeover.provenMs, toMs: takeover.startedMs });
    }
    for (const { alive, name, ...rest } of this.world.nodes.map((n) => ({ alive: n.alive, name: n.name, node: n }))) {
      if (!alive || rest.node.state.role !== 'standby') continue;
      const { state } = rest.node;
      for (const record of state.sas) {
        if (state.leftOpen.has(record)) continue;
        const { oseq, oseqHi, seq, seqHi } = record.counters;
        const now = { term: state.term, oseq: whole(oseqHi, oseq), seq: whole(seqHi, seq) };
        const before = this.#seen.get(record);
        if (before?.term === now.term) {
          expect(
            now.oseq >= before.oseq,
            `S3: oseq of ${record.id.spi} on ${name}: ${before.oseq}, then ${now.oseq}`,
          ).toBe(true);
          expect(now.seq >= before.seq, `S3: seq of ${record.id.spi} on ${name}: ${before.seq}, then ${now.seq}`).toBe(
            true,
          );
        }
        this.#seen.set(record, now);
      }
    }
  }

  /** Everything is repaired: the pair works again, and is in step. */
  end(): void {
    const { world } = this;
    for (const one of world.nodes) if (!one.alive) one.boot();
    world.connect();
    world.settle();
    world.pass(2500);
    if (world.actives.length === 0) {
      const ready = world.nodes.find((one) => one.state.complete);
      expect(world.promote(ready ?? world.a, ready === undefined)).toMatchObject([{ promoted: {} }]);
    }
    for (let k = 0; k < 3; k++) for (const i of [0, 1]) this.#send(i);
    for (let back = 0; back < this.wire.length; back++) this.play({ op: 'replay', back });
    world.pass(1500);
    expect(world.actives).toHaveLength(1);
    const [active] = world.actives as [TestNode];
    const standby = world.other(active);
    expect(standby.state).toMatchObject({ complete: true, term: active.state.term, phase: 'steady' });
    const kernelOf = (one: TestNode) =>
      [...one.kernel.sas].map(([key, { attributes }]) => [key, attributes.algAead]).sort();
    expect(kernelOf(standby)).toEqual(kernelOf(active));
    expect([...standby.state.sas].map((r) => saKey(r.id)).sort()).toEqual([...active.kernel.sas.keys()].sort());
    for (const record of active.state.sas) {
      expect(recordOf(standby, record.id)?.counters.oseq).toBe(record.counters.oseq);
      expect(active.kernel.get(record.id)?.oseq).toBe(whole(record.counters.oseqHi, record.counters.oseq));
    }
    expect(active.state.readsPending + standby.state.readsPending).toBe(0);
  }
}

describe('safety', () => {
  it.each(['available', 'safe'] as const)('S1, S2 and S3 hold whatever happens, and the pair recovers: %s', (mode) => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 150, size: 'max' }), (ops) => {
        const game = new Game(mode);
        for (const op of ops) game.play(op);
        game.end();
      }),
      { numRuns: Number(process.env.XFRMSYNC_RUNS ?? 300) },
    );
  });

  it('quiet = "open": nothing that was accepted up to the last pong is accepted again', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 150, size: 'max' }), (ops) => {
        const game = new Game('available', 'open');
        for (const op of ops) game.play(op);
        game.end();
      }),
      { numRuns: Number(process.env.XFRMSYNC_RUNS ?? 300) },
    );
  });

  it('the books can tell: a standby that can send breaks S1', () => {
    const game = new Game();
    game.play({ op: 'send', sa: 0, packets: 3, gap: 0 });
    game.world.b.kernel.must(newAevent(saIdOf(sa(0x100)), { replayVal: { oseq: 0, seq: 0, bitmap: 0 } }));
    expect(() => game.play({ op: 'send', sa: 0, packets: 1, gap: 0 })).toThrow('S1');
  });
});
