import type { Sa } from '../client/index.ts';
import { VirtualClock } from '../kernel/emulated/index.ts';
import { allRules, type ReplicaSettings, saKey, type TakeoverReport } from '../replica/index.ts';
import { Checks, type Violation } from './checks.ts';
import type { Answer, Daemon, Watch } from './daemon.ts';
import { actions } from './faults.ts';
import { type Flow, type Life, newLife } from './flow.ts';
import { Gateway } from './gateway.ts';
import { membership } from './membership.ts';
import { Operator } from './operator.ts';
import type { WorldPlan } from './plan.ts';
import { type Random, randomOf } from './random.ts';
import { Schedule } from './schedule.ts';
import { Traffic } from './traffic.ts';
import { Wire } from './wire.ts';

/** A cluster on a virtual clock: gateways, the links between them, peers, an attacker, an operator, and what befalls them. */

/** Nodes of the largest cluster; the first one is active at the start. */
const NAMES = ['a', 'b', 'c', 'd', 'e'];

/** The time of day when a world begins: a whole second. */
const EPOCH_MS = 1_700_000_000_000;
/** After the last operation everything is mended, and has so long to come to rest. */
const MEND_MS = 6_000;
const QUIET_MS = 2_500;
/** How long a grant lasts at an SA's highest rate. */
const GRANT_MS = 500;
/** How often a cluster that should be at rest is looked at. */
const LOOKS_MAX = 50;
/** Within a story every SA is read. */
const SWEEP_MS = 1_000;
/** A daemon restarts at the latest after this, if its disk lets it. */
const RESTART_MS = 300;
const IDLE_LOOK_MS = 5;
/** More than any world needs: beyond it, nodes keep each other busy for ever. */
const STEPS_MAX = 2_000_000;

export interface WorldResult {
  readonly violation: Violation | undefined;
  readonly takeovers: number;
  readonly switchovers: number;
  readonly steps: number;
  readonly packets: number;
  readonly packetsLost: number;
  readonly lossBound: number;
  readonly virtualMs: number;
  readonly faults: ReadonlyMap<string, number>;
}

/** Who wants to know what happens. */
export type Tell = (atMs: number, who: string, what: string) => void;

/** A daemon dies at a certain step of something. */
export interface Trap {
  readonly gateway: Gateway | undefined;
  readonly phase: string;
  readonly withMachine: boolean;
  readonly backMs: number;
  left: number;
}

export class World {
  readonly plan: WorldPlan;
  readonly clock = new VirtualClock(EPOCH_MS);
  readonly schedule = new Schedule(this.clock);
  readonly checks: Checks;
  /** Between any two nodes. */
  readonly wires: readonly { readonly between: readonly [string, string]; readonly wire: Wire }[];
  readonly gateways: readonly Gateway[];
  readonly traffic: Traffic;
  readonly operator: Operator;
  readonly holders = new Set<Gateway>();
  readonly lives = new Map<number, Life>();
  readonly faults = new Map<string, number>();
  readonly random: Random;
  /** Peers do not reach the gateways until then. */
  pathCutUntilMs = 0;
  trap: Trap | undefined;
  /** SAs of which the next event is lost without a word: by SPI. */
  readonly losing = new Set<number>();
  /** Machines on which a daemon has died in a handover: some of their SAs may still let packets in. */
  readonly halfHanded = new Set<Gateway>();
  readonly #tell: Tell | undefined;
  #turns = 0;
  #takeovers = 0;
  #switchovers = 0;
  #keys = 1000;
  #spis = 0x1000;

  constructor(plan: WorldPlan, tell?: Tell) {
    this.plan = plan;
    this.#tell = tell;
    const { seed } = plan;
    this.random = randomOf(seed, 2);
    this.checks = new Checks({
      now: () => this.nowMs,
      strict: plan.inbound === 'strict',
      fencing: plan.fencing,
      mode: plan.mode,
      nodes: plan.nodes,
      numbersMin: plan.numbersMin,
      lives: this.lives,
      whenIdle: (gateway, happen) => this.#whenIdle(gateway, happen),
    });
    const names = NAMES.slice(0, plan.nodes);
    const wireRandom = randomOf(seed, 3);
    this.wires = names.flatMap((one, i) =>
      names.slice(i + 1).map((other) => {
        const between = [one, other] as const;
        const ends = (): Daemon[] =>
          this.gateways.flatMap((g) => (between.includes(g.name) && g.on && g.daemon?.alive ? [g.daemon] : []));
        return { between, wire: new Wire(this.schedule, wireRandom, ends) };
      }),
    );
    const site = {
      clock: this.clock,
      schedule: this.schedule,
      wires: (node: string) =>
        new Map(
          this.wires.flatMap(({ between: [one, other], wire }) =>
            one === node ? [[other, wire] as const] : other === node ? [[one, wire] as const] : [],
          ),
        ),
      times: plan.times,
      release: plan.release,
      settings: (node: string) => this.#settings(node),
      watch: (gateway: Gateway) => this.#watch(gateway),
      onStored: (_: Gateway, term: number) => this.checks.onStored(term),
      move: (gateway: Gateway, name: 'claim' | 'release') => this.move(gateway, name),
    };
    this.gateways = names.map(
      (name, i) => new Gateway(site, name, i === 0 ? 'active' : 'standby', randomOf(seed, 10 + i)),
    );
    const world = this;
    this.traffic = new Traffic(plan.sas, {
      schedule: this.schedule,
      random: randomOf(seed, 4),
      network: plan.network,
      gateways: this.gateways,
      holders: this.holders,
      get pathIsCut() {
        return world.nowMs < world.pathCutUntilMs;
      },
      checks: this.checks,
    });
    for (const i of plan.leftOut) (this.traffic.flows[i] as Flow).idle = true;
    this.operator = new Operator(this);
  }

  get nowMs(): number {
    return this.schedule.nowMs;
  }

  get active(): Gateway | undefined {
    return this.gateways.find((g) => g.reigns && !g.fenced) ?? this.gateways.find((g) => g.reigns);
  }

  /** One of them, each in its turn. */
  get standby(): Gateway | undefined {
    const { active } = this;
    const standbys = this.gateways.filter((g) => g !== active);
    return standbys[standbys.length > 1 ? this.#turns++ % standbys.length : 0];
  }

  story(who: Gateway | undefined, what: string): void {
    this.#tell?.(this.nowMs, who?.name ?? '', what);
  }

  cover(kind: string): void {
    this.faults.set(kind, (this.faults.get(kind) ?? 0) + 1);
  }

  /** Lives from beginning to end, or to the first violation. */
  run(): WorldResult {
    for (const gateway of this.gateways) gateway.startDaemon();
    this.traffic.begin();
    this.operator.begin();
    for (const operation of this.plan.operations) {
      this.schedule.at(operation.atMs, () => actions[operation.kind](this, operation));
    }
    const endMs = (this.plan.operations.at(-1)?.atMs ?? 0) + 1;
    this.#until(endMs);
    if (this.checks.violation === undefined) this.#end(endMs);
    return {
      violation: this.checks.violation,
      takeovers: this.#takeovers,
      switchovers: this.#switchovers,
      steps: this.schedule.steps,
      packets: this.traffic.packets,
      packetsLost: this.checks.packetsLost,
      lossBound: this.checks.lossBound,
      virtualMs: this.nowMs,
      faults: this.faults,
    };
  }

  #until(ms: number): void {
    while (this.checks.violation === undefined && this.schedule.next(ms)) {
      if (this.schedule.steps > STEPS_MAX) this.checks.report('recovery', 'the nodes do not come to rest');
    }
  }

  /** Everything is mended: the cluster works again, and both nodes have the same. */
  #end(endMs: number): void {
    this.story(undefined, 'everything is mended');
    this.trap = undefined;
    this.losing.clear();
    for (const { wire } of this.wires) wire.cutUntilMs = 0;
    this.pathCutUntilMs = 0;
    for (const gateway of this.gateways) {
      gateway.disk.failsUntilMs = 0;
      gateway.disk.stalledUntilMs = 0;
      gateway.hookFault = undefined;
      gateway.kernel.fault = () => undefined;
    }
    // Time enough for whoever is away to come back, and for a promotion that somebody has to force.
    for (let ms = endMs; ms < endMs + MEND_MS && this.checks.violation === undefined; ms += 100) {
      this.#until(ms);
      if (this.#difference() === undefined) break;
    }
    for (const flow of this.traffic.flows) flow.idle = true;
    this.#until(this.nowMs + QUIET_MS);
    let difference = this.#difference();
    // A daemon that reads counters from time to time is not idle at every moment.
    for (let looks = 0; difference !== undefined && looks < LOOKS_MAX; looks++) {
      this.#until(this.nowMs + 1);
      difference = this.#difference();
    }
    if (this.checks.violation === undefined && difference !== undefined) this.checks.report('recovery', difference);
  }

  /** What is wrong with a cluster that has been left alone. */
  #difference(): string | undefined {
    const actives = this.gateways.filter((g) => g.reigns && g.daemon?.idle);
    const [active] = actives;
    if (active?.daemon === undefined || actives.length !== 1) return `${actives.length} nodes are active`;
    if (active.fenced) return `${active.name} is active and fenced`;
    for (const other of this.gateways) {
      const difference = other === active ? undefined : this.#differenceTo(active, active.daemon, other);
      if (difference !== undefined) return difference;
    }
    return undefined;
  }

  #differenceTo(active: Gateway, daemon: Daemon, other: Gateway): string | undefined {
    const standby = other.daemon;
    if (standby === undefined || !standby.idle) return `the standby ${other.name} does not run`;
    if (!standby.state.complete) return `${other.name} is not complete`;
    if (standby.state.term !== daemon.state.term) return 'the terms differ';
    // One whose numbers are used up is taken by no kernel, if it has a direction.
    // Nor one whose hard limit its packets have reached: a kernel looks at that when it is told of the limit.
    const limited = new Set([...this.lives.values()].flatMap(({ id, expires }) => (expires ? [saKey(id)] : [])));
    const here = [...active.kernel.sas].flatMap(([key, sa]) => (isExhausted(sa) || limited.has(key) ? [] : [key]));
    const known = [...standby.state.sas].length;
    if (known !== daemon.state.sas.size)
      return `${active.name} has ${daemon.state.sas.size} SAs, ${other.name} ${known}`;
    const there = other.kernel.sas;
    if (this.plan.install === 'immediate' && (there.size > known || !here.every((key) => there.has(key))))
      return `the kernel of ${other.name} has other SAs than that of ${active.name}`;
    return undefined;
  }

  // --- what happens to gateways -------------------------------------------------------------------------------------------

  crash(gateway: Gateway, backMs: number): void {
    if (!gateway.on) return;
    this.halfHanded.delete(gateway);
    gateway.powerOff();
    this.schedule.after(Math.max(backMs, 1), () => {
      gateway.powerOn();
      this.story(gateway, 'the machine has booted');
      this.#restart(gateway, 1);
    });
  }

  killDaemon(gateway: Gateway, backMs: number): void {
    const { daemon } = gateway;
    if (daemon === undefined) return;
    if (!daemon.idle && (daemon.state.phase === 'handingOver' || daemon.state.resigned)) this.halfHanded.add(gateway);
    gateway.killDaemon();
    this.#restart(gateway, backMs);
  }

  #restart(gateway: Gateway, backMs: number): void {
    const { bootId } = gateway;
    this.schedule.after(Math.max(backMs, 1), () => {
      if (!gateway.on || gateway.bootId !== bootId || gateway.daemon?.started) return;
      if (!gateway.daemon?.alive) {
        this.checks.onBegun(gateway);
        gateway.startDaemon();
        this.story(gateway, 'the daemon starts');
      }
      // With a disk that fails it ends at once; whoever watches it starts it again.
      this.#restart(gateway, RESTART_MS);
    });
  }

  /** Once what a daemon has to do is done, or will not be done any more. */
  #whenIdle(gateway: Gateway, happen: () => void): void {
    const { daemon } = gateway;
    this.schedule.after(IDLE_LOOK_MS, () => {
      if (daemon?.alive && !daemon.idle) this.#whenIdle(gateway, happen);
      else happen();
    });
  }

  move(gateway: Gateway, name: 'claim' | 'release'): void {
    if (name === 'release') this.holders.delete(gateway);
    else if (!gateway.fenced) {
      if (this.plan.fencing) this.holders.clear();
      this.holders.add(gateway);
    }
    this.story(gateway, name === 'claim' ? 'has the addresses' : 'has the addresses no more');
  }

  /** A key manager makes an SA on the active: at first, after a deletion, or in place of one that is there. */
  replace(active: Gateway, flow: Flow, spi: 'new' | 'same'): void {
    const { life } = flow;
    if (life !== undefined && active.kernel.keyOf(life.id) === life.key) {
      active.kernel.delete(life.id);
      this.checks.onDeleted(life.key);
    }
    const next = newLife(flow, this.#keys++, spi === 'same' && life ? life.id.spi : this.#spis++, this.plan.release);
    this.lives.set(next.key, next);
    active.kernel.delete(next.id);
    active.kernel.add(next.sa);
    flow.begin(next);
    this.story(
      active,
      `SA ${flow.index} is made: ${flow.plan.direction}, ${flow.plan.window}, SPI ${next.id.spi}, key ${next.key}`,
    );
  }

  // --- what the gateways' daemons stand on ----------------------------------------------------------------------------------

  #settings(node: string): ReplicaSettings {
    const { inbound, rateMaxPps, rateFloorPps, install, drainMs, drainMaxMs, times, without } = this.plan;
    const { mode, numbersMin } = this.plan;
    return {
      ...membership(node, this.gateways),
      plan: { inbound, rateMaxPps, rateFloorPps, mode, quiet: 'closed' },
      grants: { mode, numbersMin, horizonMs: GRANT_MS },
      exposure: { adaptive: true, packets: 1000, ms: 1000 },
      sweepMs: SWEEP_MS,
      install,
      drainMs,
      drainMaxMs,
      claimAfterMs: times.timeoutMs,
      rules: without === undefined ? allRules : { ...allRules, [without]: false },
    };
  }

  #watch(gateway: Gateway): Watch {
    return {
      beforeEffect: (effect) => {
        const { trap } = this;
        const phase = gateway.daemon?.state.phase;
        if (effect.type === 'persist' && phase === 'takingOver') this.checks.onTakeover(gateway);
        if (trap === undefined || phase !== trap.phase) return true;
        if (trap.gateway !== undefined && trap.gateway !== gateway) return true;
        if (effect.type === 'log' || trap.left-- > 0) return true;
        this.trap = undefined;
        const what = trap.withMachine ? 'machine' : 'daemon';
        this.cover(`${what} crash: ${phase}/${effect.type}`);
        this.story(gateway, `the ${what} dies while it is ${phase}, before ${effect.type}`);
        if (trap.withMachine) this.crash(gateway, trap.backMs);
        else this.killDaemon(gateway, trap.backMs);
        return false;
      },
      beforeAevent: (cursor) => {
        if (!this.losing.delete(cursor.spi)) return true;
        this.cover('eventLost: one is gone');
        this.story(gateway, `an event of SPI ${cursor.spi} is lost without a word`);
        return false;
      },
      onWrites: (writes) => {
        this.checks.onWrites(gateway, writes);
        if (this.#tell)
          for (const { purpose, request } of writes) {
            if (purpose.op === 'open' || purpose.op === 'install' || purpose.op === 'delete')
              this.story(gateway, `kernel: ${purpose.op} ${request.kind} ${numbersOf(request)}`);
          }
      },
      onSend: (to, frame) => {
        this.checks.onSend(gateway, frame);
        if (this.#tell && !quiet.has(frame.type))
          this.story(gateway, `sends ${to.join(' and ')} ${frame.type}, term ${frame.term}`);
      },
      onFrame: (from, frame) => this.checks.onFrame(gateway, from, frame),
      onSaid: (text) => {
        this.checks.onSaid(gateway, text);
        this.story(gateway, text);
      },
      onAnswer: (answer) => this.#onAnswer(gateway, answer),
    };
  }

  #onAnswer(gateway: Gateway, answer: Answer): void {
    this.checks.onSaid(gateway, JSON.stringify(answer));
    this.checks.onStatus(gateway);
    if ('refused' in answer) this.story(gateway, `refused: ${answer.refused}`);
    if ('demoted' in answer) this.story(gateway, 'demoted');
    if (!('promoted' in answer)) return;
    const { promoted } = answer;
    this.#count(promoted);
    this.story(
      gateway,
      `promoted: ${promoted.kind}, term ${promoted.term}, skip ${promoted.skipMax}, closed ${promoted.closedMax}`,
    );
    this.checks.onPromoted(gateway, promoted);
  }

  #count({ kind }: TakeoverReport): void {
    if (kind === 'none') return;
    this.#takeovers++;
    if (kind === 'switchover') this.#switchovers++;
    this.cover(kind);
  }
}

/** Frames that a story would be full of. */
const quiet: ReadonlySet<string> = new Set(['ping', 'pong', 'counters']);

function isExhausted({ attributes: { replayVal, replayEsnVal } }: Sa): boolean {
  const { oseq, seq } = replayVal ?? replayEsnVal ?? { oseq: 0, seq: 0 };
  return oseq === 2 ** 32 - 1 || seq === 2 ** 32 - 1;
}

function numbersOf(request: { readonly kind: string; readonly attributes: object }): string {
  const { replayVal, replayEsnVal } = request.attributes as { replayVal?: object; replayEsnVal?: object };
  const { oseq, oseqHi, seq, seqHi } = (replayVal ?? replayEsnVal ?? {}) as Record<string, number | undefined>;
  if (oseq === undefined) return '';
  const whole = (low = 0, high = 0): number => high * 2 ** 32 + low;
  return `oseq ${whole(oseq, oseqHi)} seq ${whole(seq, seqHi)}`;
}
