import type { SaId } from '../../src/client/index.ts';
import { VirtualClock } from '../../src/kernel/emulated/index.ts';
import { decodeFrame, encodeFrame } from '../../src/link/index.ts';
import { forEachMessage, hostLittleEndian } from '../../src/netlink/index.ts';
import {
  type Durable,
  type Effect,
  type Frame,
  type PlanSettings,
  Replica,
  type ReplicaSettings,
  type SaRecord,
  type TakeoverReport,
} from '../../src/replica/index.ts';
import { saKey } from '../../src/replica/sa/table.ts';
import { membership } from '../../src/simulator/membership.ts';
import { SteppedKernel } from '../../src/simulator/stepped-kernel.ts';
import { AeventCursor, decodeMessage, XfrmMsg } from '../../src/xfrm/index.ts';

/**
 * Replicas, each with an emulated kernel and a disk, links between them and a clock, all of it stepped by hand: what a node would do at once
 * is done one effect at a time, so that a test can cut links or kill a node between any two of them.
 */

/** Steps that a world may take until it is quiet: more means that two nodes keep each other busy for ever. */
const STEPS_MAX = 20_000;
/** The time of day when a world begins: a whole second. */
const EPOCH_MS = 1_700_000_000_000;

/** By then the timer of an SA has run, whose default is a second: timers of the kernel come up to an eighth late. */
export const TIMER_MS = 1125;

export interface WorldOptions {
  readonly plan?: Partial<PlanSettings>;
  readonly install?: ReplicaSettings['install'];
  readonly mode?: PlanSettings['mode'];
  readonly numbersMin?: number;
  /** How far the time of day of b is ahead of a's. */
  readonly offsetMs?: number;
  readonly exposure?: Partial<ReplicaSettings['exposure']>;
  readonly sweepMs?: number;
  /** Of the kernels. */
  readonly hz?: number;
  /** Names of the nodes; the first one is active. */
  readonly names?: readonly string[];
}

export class TestNode {
  readonly name: string;
  /** Of this machine. */
  readonly clock: VirtualClock;
  readonly #world: World;
  kernel: SteppedKernel;
  disk: Durable;
  /** A write to the disk fails with this. */
  diskFault: string | undefined;
  hookFault: Partial<Record<'claim' | 'release', string>> = {};
  replica!: Replica;
  alive = false;
  queue: Effect[] = [];
  lives = 0;
  streams: { readonly to: string; readonly frames: Iterator<Frame> }[] = [];
  readonly outbox: { readonly to: string; readonly bytes: Uint8Array }[] = [];
  readonly said: string[] = [];
  readonly hooks: string[] = [];
  answers: ({ promoted: TakeoverReport } | { refused: string } | { demoted: true })[] = [];
  readonly #cursor = new AeventCursor();

  constructor(world: World, name: string, disk: Durable, clock: VirtualClock) {
    this.clock = clock;
    this.#world = world;
    this.name = name;
    this.disk = disk;
    this.kernel = world.newKernel(clock);
  }

  get state() {
    return this.replica.state;
  }

  /** The daemon starts, with what its kernel and its disk have. */
  start(): void {
    this.replica = new Replica(this.#world.settings(this.name));
    this.alive = true;
    this.kernel.listen();
    this.replica.start(this.disk, [], ++this.lives);
    // As in a node: the kernel has been read before anybody is talked to.
    while (this.step()) {}
  }

  /** The daemon dies; its kernel goes on. */
  crash(): void {
    this.alive = false;
    this.queue = [];
    this.streams = [];
    this.kernel.deafen();
    this.#world.cut(this.name);
  }

  /** The machine dies: kernel and addresses are gone, the disk stays. After a boot nobody is active. */
  powerOff(): void {
    this.crash();
    this.kernel = this.#world.newKernel(this.clock);
    if (this.#world.holder === this) this.#world.holder = undefined;
  }

  boot(): void {
    this.disk = { term: this.disk.term, role: 'standby' };
    this.start();
  }

  /** Reads what waits in the event socket. */
  readEvents(): boolean {
    if (!this.alive) return false;
    const waiting = this.kernel.read();
    if (waiting === undefined) return false;
    const { overrun, batch } = waiting;
    const { buffer, view } = batch;
    const { nowMs } = this.#world;
    if (overrun) this.replica.onOverrun();
    const each = (at: number, length: number): void => {
      if (view.getUint16(at + 4, hostLittleEndian) === XfrmMsg.NEWAE)
        this.replica.onAevents(this.#cursor.reset(buffer, at, at + length), nowMs);
      else this.replica.onKernelMessage(decodeMessage(buffer.slice(at, at + length)), nowMs);
    };
    for (let i = 0; i < batch.count; i++) {
      const from = batch.offsets[i] as number;
      forEachMessage(buffer, each, from, from + (batch.lengths[i] as number));
    }
    return overrun || batch.count > 0;
  }

  /** Carries out one effect, or sends one frame of a snapshot. False if there is nothing to do. */
  step(): boolean {
    if (!this.alive) return false;
    this.queue.push(...this.replica.take());
    const effect = this.queue.shift();
    if (effect !== undefined) this.#perform(effect);
    else return this.#streamOne();
    return true;
  }

  tick(): void {
    if (!this.alive) return;
    this.replica.setTimeOfDay(this.clock.realtimeMs() - this.clock.monotonicMs());
    this.replica.tick(this.#world.nowMs);
  }

  #streamOne(): boolean {
    const [stream] = this.streams;
    if (stream === undefined) return false;
    const { value, done } = stream.frames.next();
    if (done) this.streams.shift();
    else this.#send([stream.to], value);
    return true;
  }

  #send(to: readonly string[], frame: Frame): void {
    for (const peer of to)
      if (this.#world.areConnected(this.name, peer)) this.outbox.push({ to: peer, bytes: encodeFrame(frame) });
  }

  #perform(effect: Effect): void {
    const { replica, kernel } = this;
    const { nowMs } = this.#world;
    switch (effect.type) {
      case 'send':
        this.#send(effect.to, effect.frame);
        break;
      case 'stream':
        this.streams.push({ to: effect.to, frames: effect.frames[Symbol.iterator]() });
        break;
      case 'pong':
        this.readEvents();
        replica.answerPing(effect.to, effect.timeMs);
        break;
      case 'write': {
        const results = effect.writes.map(({ request }) => kernel.execute(request));
        replica.onWritten(effect.writes, results);
        break;
      }
      case 'read':
        replica.onRead(effect.purpose, kernel.dump(), nowMs);
        break;
      case 'readSa': {
        const { reply } = kernel.execute(effect.request);
        replica.onReadSa(effect.handle, reply?.kind === 'NEWSA' ? reply : undefined, nowMs);
        break;
      }
      case 'readThresholds':
        for (const handle of effect.handles) {
          const record = replica.state.sas.byHandle(handle);
          const thresholds = record && kernel.thresholds(record.id);
          if (thresholds) replica.onReadThresholds(handle, thresholds);
        }
        break;
      case 'readCounters':
        for (const { handle, request } of effect.reads) replica.onReadCounters(handle, kernel.execute(request), nowMs);
        break;
      case 'persist':
        if (this.diskFault !== undefined) replica.onPersistFailed(this.diskFault, nowMs);
        else {
          this.disk = effect.durable;
          replica.onPersisted(effect.durable, nowMs);
        }
        break;
      case 'hook':
        this.hooks.push(effect.name);
        if (effect.name === 'claim') this.#world.holder = this;
        else if (this.#world.holder === this) this.#world.holder = undefined;
        replica.onHook(effect.name, this.hookFault[effect.name]);
        break;
      case 'wait':
        this.#world.nowMs += effect.ms;
        break;
      case 'mark':
        replica.onMark(effect.name);
        break;
      case 'promoted':
        this.answers.push({ promoted: effect.report });
        break;
      case 'refused':
        this.answers.push({ refused: effect.reason });
        break;
      case 'demoted':
        this.answers.push({ demoted: true });
        break;
      case 'disconnect':
        this.#world.cut(this.name, effect.from);
        break;
      case 'log':
        this.said.push(`${effect.level}: ${effect.text}`);
        break;
    }
  }
}

export class World {
  readonly #options: WorldOptions;
  readonly nodes: readonly TestNode[];
  /** Links that are up, each by the names of its ends in order. */
  readonly #links = new Set<string>();
  /** Who has the shared addresses: traffic goes there. */
  holder: TestNode | undefined;
  /** Frames delivered so far, for tests that look at what was said. */
  readonly frames: { readonly from: string; readonly frame: Frame }[] = [];

  constructor(options: WorldOptions = {}) {
    this.#options = options;
    const { offsetMs = 0, names = ['a', 'b'] } = options;
    this.nodes = names.map((name, i) =>
      i === 0
        ? new TestNode(this, name, { term: 1, role: 'active' }, new VirtualClock(EPOCH_MS))
        : new TestNode(this, name, { term: 0, role: 'standby' }, new VirtualClock(EPOCH_MS + offsetMs)),
    );
  }

  get a(): TestNode {
    return this.nodes[0] as TestNode;
  }

  get b(): TestNode {
    return this.nodes[1] as TestNode;
  }

  node(name: string): TestNode {
    const node = this.nodes.find((one) => one.name === name);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  settings(node: string): ReplicaSettings {
    const {
      plan = {},
      install = 'immediate',
      mode = 'available',
      numbersMin = 1 << 18,
      exposure = {},
      sweepMs = 10_000,
    } = this.#options;
    return {
      ...membership(node, this.nodes),
      plan: { inbound: 'strict', rateMaxPps: 10_000, rateFloorPps: 1_000, mode, quiet: 'closed', ...plan },
      grants: { mode, numbersMin, horizonMs: 10_000 },
      exposure: { adaptive: true, packets: 1_000, ms: 1_000, ...exposure },
      sweepMs,
      install,
      drainMs: 50,
      drainMaxMs: 1000,
      claimAfterMs: 2000,
    };
  }

  newKernel(clock: VirtualClock): SteppedKernel {
    const { hz } = this.#options;
    return new SteppedKernel(clock, hz === undefined ? {} : { hz });
  }

  get nowMs(): number {
    return this.a.clock.monotonicMs();
  }

  /** Time passes, and the timers of SAs run. */
  set nowMs(ms: number) {
    for (const { clock } of this.nodes) clock.advanceTo(ms);
  }

  other(node: TestNode): TestNode {
    return node === this.a ? this.b : this.a;
  }

  get actives(): TestNode[] {
    return this.nodes.filter((node) => node.alive && node.state.role === 'active');
  }

  /** Both nodes started and in step. */
  begin(): this {
    for (const node of this.nodes) node.start();
    this.connect();
    this.settle();
    return this;
  }

  /** Any link is up. */
  get connected(): boolean {
    return this.#links.size > 0;
  }

  areConnected(one: string, other: string): boolean {
    return this.#links.has(linkBetween(one, other));
  }

  /** Links between these nodes, or all, as far as they are alive. */
  connect(...names: string[]): void {
    for (const [one, other] of this.#pairs(names)) {
      if (this.areConnected(one.name, other.name) || !one.alive || !other.alive) continue;
      this.#links.add(linkBetween(one.name, other.name));
      one.replica.onConnected(other.name);
      other.replica.onConnected(one.name);
    }
  }

  /** Links of this node, or between these, or all, are down; what was on its way is lost. */
  cut(...names: string[]): void {
    for (const [one, other] of this.#pairs(names, 'some')) {
      if (!this.#links.delete(linkBetween(one.name, other.name))) continue;
      for (const [from, to] of [
        [one, other],
        [other, one],
      ] as const) {
        const kept = from.outbox.filter((frame) => frame.to !== to.name);
        from.outbox.splice(0, from.outbox.length, ...kept);
        if (from.alive) from.replica.onDisconnected(to.name);
      }
    }
  }

  #pairs(names: readonly string[], which: 'every' | 'some' = 'every'): (readonly [TestNode, TestNode])[] {
    const isMeant = (pair: readonly TestNode[]): boolean =>
      names.length === 0 ||
      (names.length === 1 && which === 'some'
        ? pair.some(({ name }) => names.includes(name))
        : pair.every(({ name }) => names.includes(name)));
    return this.nodes
      .flatMap((one, i) => this.nodes.slice(i + 1).map((other) => [one, other] as const))
      .filter(isMeant);
  }

  /** Hands one frame of `from` to whom it is for. */
  deliver(from: TestNode): boolean {
    const sent = from.outbox.shift();
    if (sent === undefined) return false;
    const frame = decodeFrame(sent.bytes);
    this.frames.push({ from: from.name, frame });
    this.node(sent.to).replica.onFrame(from.name, frame, this.nowMs);
    return true;
  }

  /** One round of everything that a running pair does by itself. */
  round(): boolean {
    let busy = false;
    for (const node of this.nodes) {
      busy = node.readEvents() || busy;
      busy = node.step() || busy;
      busy = this.deliver(node) || busy;
      if (node.alive && node.queue.length === 0 && node.replica.hasDirty && node.state.phase === 'steady') {
        node.replica.flush();
        busy = true;
      }
    }
    return busy;
  }

  /** Until nothing happens any more. */
  settle(): this {
    for (let steps = 0; this.round(); steps++) if (steps > STEPS_MAX) throw new Error('the nodes do not come to rest');
    return this;
  }

  until(done: () => boolean): void {
    for (let steps = 0; !done(); steps++) {
      if (!this.round() || steps > STEPS_MAX) throw new Error('that does not happen');
    }
  }

  /** Time passes: timers of SAs and nodes run, and what follows from them happens. */
  pass(ms: number): this {
    this.nowMs += ms;
    for (const node of this.nodes) node.tick();
    return this.settle();
  }

  promote(node: TestNode, force = false, restore = false): TestNode['answers'] {
    node.answers = [];
    node.replica.promote(this.nowMs, { force, restore });
    this.settle();
    return node.answers;
  }

  demote(node: TestNode, force = false): TestNode['answers'] {
    node.answers = [];
    node.replica.demote({ force });
    this.settle();
    return node.answers;
  }
}

const linkBetween = (one: string, other: string): string => [one, other].sort().join('-');

export function recordOf(node: TestNode, id: SaId): SaRecord | undefined {
  return [...node.state.sas].find((record) => saKey(record.id) === saKey(id));
}
