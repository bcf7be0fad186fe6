import type { Checks } from './checks.ts';
import { Flow, type Life } from './flow.ts';
import type { Gateway } from './gateway.ts';
import type { NetworkPlan, SaPlan } from './plan.ts';
import type { Random } from './random.ts';
import type { Schedule } from './schedule.ts';

/** The packets of a world: hosts behind the gateways that send, peers that send, a network between, and an attacker who has seen it all. */

/** Packets that the attacker keeps of each SA, and what it sends again at once at the most. */
const RECORDED_MAX = 256;
const STORM_MAX = 64;
const FAST_ON_MS = 40;
const FAST_OFF_MS = 200;
const TWO_32 = 2 ** 32;

/** What traffic needs of the world around it. */
export interface Roads {
  readonly schedule: Schedule;
  readonly random: Random;
  readonly network: NetworkPlan;
  readonly gateways: readonly Gateway[];
  /** Who has the shared addresses. */
  readonly holders: ReadonlySet<Gateway>;
  readonly pathIsCut: boolean;
  readonly checks: Checks;
}

export class Traffic {
  readonly flows: readonly Flow[];
  packets = 0;
  readonly #roads: Roads;

  constructor(plans: readonly SaPlan[], roads: Roads) {
    this.flows = plans.map((plan, i) => new Flow(i, plan));
    this.#roads = roads;
  }

  begin(): void {
    for (const flow of this.flows) this.#later(flow);
    this.#attackLater();
  }

  #later(flow: Flow): void {
    const { random, schedule } = this.#roads;
    schedule.after(intervalMs(flow, random, schedule.nowMs), () => {
      if (!flow.idle) this.once(flow);
      this.#later(flow);
    });
  }

  /** One packet of a flow. */
  once(flow: Flow): void {
    if (flow.life === undefined) return;
    this.packets++;
    if (flow.plan.direction === 'out') this.#fromInside(flow, flow.life);
    else this.#fromPeer(flow, flow.life);
  }

  /** Traffic meets every kernel: one that must not send has to be unable to. */
  #fromInside(flow: Flow, { id }: Life): void {
    const { gateways, checks } = this.#roads;
    for (const gateway of gateways) {
      if (!gateway.on || gateway.fenced) continue;
      const key = gateway.kernel.keyOf(id);
      const n = key === undefined ? undefined : gateway.kernel.transmit(id);
      if (key !== undefined && n !== undefined) checks.onSent(gateway, flow.index, key, Number(n));
    }
  }

  /** With nobody at the address, or no path to it, a peer is silent: no bound on rates covers numbers that are lost in a row. */
  #fromPeer(flow: Flow, life: Life): void {
    const { holders, pathIsCut, network, random, schedule } = this.#roads;
    if (holders.size === 0 || pathIsCut) return;
    if (life.plan.window !== 'esn' && flow.n >= TWO_32 - 1) return;
    const n = ++flow.n;
    const fate = flow.disturbed ? 1 : random.u32() / TWO_32;
    flow.disturbed = fate < network.loss + network.late;
    if (fate < network.loss) {
      record(flow, n);
      return;
    }
    const lateMs = fate < network.loss + network.late ? random.between(1, network.lateMs) : 0;
    schedule.after(network.delayMs + lateMs, () => this.#arrive(flow, life, n, true));
    if (random.chance(network.doubled))
      schedule.after(network.delayMs + lateMs + random.between(0, 20), () => this.#arrive(flow, life, n, false));
  }

  #arrive(flow: Flow, life: Life, n: number, isFirst: boolean): void {
    const { holders, checks } = this.#roads;
    if (flow.life === life && isFirst) {
      record(flow, n);
      flow.highest = Math.max(flow.highest, n);
    }
    for (const gateway of holders) {
      // A packet under another key does not authenticate.
      if (!gateway.on || gateway.kernel.keyOf(life.id) !== life.key) continue;
      if (gateway.kernel.accept(life.id, BigInt(n))) checks.onAccepted(gateway, life, n);
      else if (isFirst) checks.onRefused(gateway, life, n);
    }
  }

  #attackLater(): void {
    const { random, network, schedule } = this.#roads;
    schedule.after(network.replayEveryMs * (0.5 + random.below(100) / 100), () => {
      const flow = random.pick(this.flows);
      if (flow.recorded.length > 0) this.#replay(flow, random.below(flow.recorded.length));
      this.#attackLater();
    });
  }

  /** All that was seen lately, again. */
  storm(): void {
    for (const flow of this.flows) {
      const from = Math.max(0, flow.recorded.length - STORM_MAX);
      for (let i = from; i < flow.recorded.length; i++) this.#replay(flow, i);
    }
  }

  /** What was lost is held back until higher numbers have arrived: see `#fromPeer`. */
  #replay(flow: Flow, i: number): void {
    const n = flow.recorded[i];
    if (flow.life === undefined || n === undefined || n > flow.highest || flow.idle) return;
    this.#arrive(flow, flow.life, n, false);
  }
}

function record(flow: Flow, n: number): void {
  flow.recorded.push(n);
  if (flow.recorded.length > RECORDED_MAX) flow.recorded.splice(0, RECORDED_MAX / 2);
}

function intervalMs(flow: Flow, random: Random, nowMs: number): number {
  const { pattern, pps } = flow.plan;
  const gapMs = 1000 / pps;
  if (flow.burst > 0) {
    flow.burst--;
    return gapMs;
  }
  switch (pattern) {
    case 'steady':
      return gapMs;
    case 'idle':
      return gapMs * (0.5 + random.below(100) / 100);
    case 'bursty':
      flow.burst = random.between(2, 24);
      return random.between(20, 400);
    case 'fast':
      return nowMs % (FAST_ON_MS + FAST_OFF_MS) < FAST_ON_MS ? gapMs : FAST_OFF_MS;
  }
}
