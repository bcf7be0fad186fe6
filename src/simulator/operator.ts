import type { Gateway } from './gateway.ts';
import type { World } from './world.ts';

/**
 * Who runs the cluster: promotes when nobody forwards, fences before that, lifts a fence when it is safe, and makes new SAs where some
 * are missing. It sees what `status` shows, and what a machine's own panel shows.
 */

const LOOK_EVERY_MS = 10;
/** A refused promote is tried again after so long; without a complete standby, with force after so long. */
const RETRY_MS = 60;
const FORCE_AFTER_MS = 700;
/** Nobody has the addresses, as a hook has failed: they are moved by hand. */
const ADDRESS_MS = 250;
const REPLACE_MS = 150;
/** A node that is fenced and thinks that it reigns, and with which nobody can talk, is switched off. */
const POWER_CYCLE_MS = 900;
const OFF_MS = 200;
const RESTART_MS = 5;

export class Operator {
  readonly #world: World;
  #idleSinceMs: number | undefined;
  #triedMs = Number.NEGATIVE_INFINITY;
  #tried: Gateway | undefined;
  #noAddressSinceMs: number | undefined;
  #replacedMs = 0;
  readonly #fencedSinceMs = new Map<Gateway, number>();

  constructor(world: World) {
    this.#world = world;
  }

  begin(): void {
    this.#world.schedule.after(LOOK_EVERY_MS, () => {
      this.#look();
      this.begin();
    });
  }

  /** Before somebody else is promoted. */
  fence(gateway: Gateway): void {
    if (gateway.fenced || !gateway.on || !this.#world.plan.fencing) return;
    gateway.fenced = true;
    this.#fencedSinceMs.set(gateway, this.#world.nowMs);
    this.#world.move(gateway, 'release');
    this.#world.story(gateway, 'is fenced: nothing that it sends arrives anywhere');
  }

  /** Makes a node active. Only with the active on the link is it a switchover, and nobody has to be fenced. */
  promote(gateway: Gateway, force: boolean): void {
    const { daemon } = gateway;
    if (!daemon?.listens) return;
    const planned = daemon.state.reigning !== undefined && !force;
    if (!planned && daemon.state.role !== 'active') {
      // Of three nodes or more, a majority says so without being asked.
      const isAlone = force || this.#world.plan.nodes === 2;
      if (isAlone && this.#isOutdated(gateway)) {
        this.#world.story(
          gateway,
          'has not heard of the last reign: its account must not be used, its daemon is started anew',
        );
        this.#world.killDaemon(gateway, RESTART_MS);
        return;
      }
      if (force && this.#world.halfHanded.has(gateway)) {
        this.#world.story(gateway, 'is switched off and on: its daemon has died in a handover');
        this.#world.crash(gateway, OFF_MS);
        return;
      }
      for (const other of this.#world.gateways)
        if (other !== gateway && (isAlone || other.reigns))
          this.#silence(other, isAlone ? daemon.state.term : Number.POSITIVE_INFINITY);
      if (force && this.#world.plan.nodes > 2) this.#silenceAll(gateway);
      this.#lift(gateway);
    }
    this.#world.story(gateway, `promote${force ? ' --force' : ''}`);
    if (force && !daemon.state.complete) this.#world.checks.onForced();
    daemon.promote(force);
  }

  /** Nodes that do not hear of a reign by force, as a link may be down without anybody knowing, would begin another one among themselves. */
  #silenceAll(gateway: Gateway): void {
    for (const other of this.#world.gateways) {
      if (other === gateway || !other.on) continue;
      if (this.#world.plan.fencing) {
        this.#world.story(other, 'is switched off, as it might not hear of the new reign');
        this.#world.crash(other, OFF_MS);
      } else this.#world.checks.onForced();
    }
  }

  /** It has an account, and somebody else has reigned since. */
  #isOutdated({ daemon }: Gateway): boolean {
    const { gateways, plan } = this.#world;
    if (!plan.fencing || daemon === undefined || daemon.state.sas.size === 0) return false;
    return gateways.some(({ disk }) => (disk.stored?.term ?? 0) > daemon.state.term);
  }

  /** One whose reign the new active does not know of is switched off: it would come back with as new a term, and its own account. */
  #silence(gateway: Gateway, term: number): void {
    const { plan } = this.#world;
    if (plan.fencing && gateway.on && (gateway.disk.stored?.term ?? 0) > term) {
      this.#world.story(gateway, 'is switched off');
      this.#world.crash(gateway, OFF_MS);
    } else this.fence(gateway);
  }

  #lift(gateway: Gateway): void {
    if (!gateway.fenced) return;
    gateway.fenced = false;
    this.#fencedSinceMs.delete(gateway);
    this.#world.story(gateway, 'is fenced no more');
  }

  #look(): void {
    const { gateways, plan, nowMs } = this.#world;
    const serving = gateways.filter((g) => g.reigns && !g.fenced);
    this.#liftFences();
    if (serving.length > 0) {
      this.#idleSinceMs = undefined;
      this.#tried = undefined;
      this.#lookAfter(serving);
      return;
    }
    this.#idleSinceMs ??= nowMs;
    const idleMs = nowMs - this.#idleSinceMs;
    if (idleMs < plan.detectMs || nowMs - this.#triedMs < RETRY_MS) return;
    const ready = gateways.filter((g) => g.daemon?.listens && !g.daemon.asked && g.daemon.state.role === 'standby');
    // The other one, if the last one has refused.
    const complete =
      ready.find((g) => g.daemon?.state.complete && g !== this.#tried) ?? ready.find((g) => g.daemon?.state.complete);
    const [any] = ready;
    // Enough others may be down for no majority to agree.
    const isHopeless = plan.nodes > 2 && idleMs > 2 * FORCE_AFTER_MS;
    if (complete !== undefined && !isHopeless) {
      this.#triedMs = nowMs;
      this.#tried = complete;
      this.promote(complete, false);
    } else if (any !== undefined && idleMs > FORCE_AFTER_MS) {
      this.#triedMs = nowMs;
      // Of two that are not complete, the one that has more.
      const best = ready.reduce(
        (a, b) => ((b.daemon?.state.sas.size ?? 0) > (a.daemon?.state.sas.size ?? 0) ? b : a),
        any,
      );
      this.promote(best, true);
    }
  }

  /** A fence is lifted from a standby that has done what it had to, and whose term is the newest. */
  #liftFences(): void {
    const { gateways, nowMs } = this.#world;
    for (const gateway of gateways) {
      if (gateway.daemon?.idle && gateway.daemon.state.complete) this.#world.halfHanded.delete(gateway);
      if (!gateway.fenced) continue;
      const { daemon } = gateway;
      const term = Math.max(...gateways.map((g) => g.disk.stored?.term ?? 0));
      const othersReign = gateways.some((g) => g !== gateway && g.reigns);
      if (
        daemon?.idle &&
        daemon.state.role === 'standby' &&
        daemon.state.phase === 'steady' &&
        daemon.state.term >= term &&
        !daemon.state.unstored
      )
        this.#lift(gateway);
      else if (!othersReign && nowMs - (this.#fencedSinceMs.get(gateway) ?? nowMs) > POWER_CYCLE_MS && gateway.reigns) {
        this.#world.story(gateway, 'is switched off and on: it is fenced, and believes that it reigns');
        this.#fencedSinceMs.delete(gateway);
        this.#world.crash(gateway, OFF_MS);
      }
    }
  }

  #lookAfter(serving: readonly Gateway[]): void {
    const { holders, nowMs, traffic } = this.#world;
    const [active] = serving;
    if (active === undefined) return;
    if (holders.size > 0) this.#noAddressSinceMs = undefined;
    else this.#noAddressSinceMs ??= nowMs;
    if (
      this.#noAddressSinceMs !== undefined &&
      nowMs - this.#noAddressSinceMs > ADDRESS_MS &&
      active.daemon?.state.phase === 'steady'
    ) {
      this.#world.story(active, 'gets the addresses by hand');
      this.#world.move(active, 'claim');
    }
    if (nowMs - this.#replacedMs < REPLACE_MS || active.daemon?.state.phase !== 'steady') return;
    this.#replacedMs = nowMs;
    for (const flow of traffic.flows) {
      if (flow.idle || (flow.life !== undefined && active.kernel.keyOf(flow.life.id) === flow.life.key)) continue;
      this.#world.cover('saAdd');
      this.#world.replace(active, flow, 'new');
    }
  }
}
