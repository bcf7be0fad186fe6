import { newAevent } from '../client/index.ts';
import type { Flow } from './flow.ts';
import type { Gateway } from './gateway.ts';
import type { Operation, OperationKind } from './operations.ts';
import type { World } from './world.ts';

/** What each operation does to a world. One that makes no sense at the moment does nothing, and is not counted. */

type Action = (world: World, operation: Operation) => void;

const ENOMEM = 12;
const PHASES = ['takingOver', 'awaitingHandover', 'handingOver', 'steady'];

const at = (world: World, { who }: Operation): Gateway | undefined => (who === 'active' ? world.active : world.standby);

const flowOf = (world: World, { sa }: Operation): Flow | undefined =>
  world.traffic.flows[sa % world.traffic.flows.length];

/** The daemon of the active, if it is not in the middle of something: key managers wait otherwise. */
function steady(world: World): Gateway | undefined {
  const { active } = world;
  return active?.daemon?.state.phase === 'steady' && !active.fenced ? active : undefined;
}

function did(world: World, { kind }: Operation, gateway: Gateway | undefined, what: string): void {
  world.cover(kind);
  world.story(gateway, what);
}

export const actions: Readonly<Record<OperationKind, Action>> = {
  machineCrash(world, operation) {
    const gateway = at(world, operation);
    if (!gateway?.on) return;
    did(world, operation, gateway, 'the machine dies');
    world.crash(gateway, operation.ms + 100);
  },
  daemonCrash(world, operation) {
    const gateway = at(world, operation);
    if (!gateway?.daemon?.alive) return;
    did(world, operation, gateway, 'the daemon dies, its kernel goes on');
    world.killDaemon(gateway, operation.ms);
    if (operation.n < 15) failover(world, gateway);
  },
  crashDuring(world, operation) {
    const phase = PHASES[operation.n % PHASES.length] ?? 'steady';
    world.trap = {
      gateway: operation.n % 3 === 0 ? at(world, operation) : undefined,
      phase,
      // By digits of their own: every phase with and without the machine, at any of its first steps.
      withMachine: Math.floor(operation.n / PHASES.length) % 2 === 0,
      backMs: operation.ms,
      left: operation.sa + (operation.n % 9),
    };
    world.cover('crashDuring');
    if (phase !== 'steady') switchover(world);
  },
  pause(world, operation) {
    const gateway = at(world, operation);
    const daemon = gateway?.daemon;
    if (!daemon?.alive) return;
    did(world, operation, gateway, `the daemon is stopped for ${operation.ms} ms`);
    daemon.pause();
    world.schedule.after(operation.ms, () => daemon.resume());
  },
  overrun(world, operation) {
    const gateway = at(world, operation);
    if (!gateway?.daemon?.listens) return;
    did(world, operation, gateway, 'the event socket overruns');
    gateway.kernel.overrun();
  },
  eventLost(world, operation) {
    // Of inbound SAs the bound has no room for it.
    const flow = flowOf(world, operation);
    if (flow?.life === undefined || flow.plan.direction !== 'out') return;
    world.cover(operation.kind);
    world.losing.add(flow.life.id.spi);
  },
  diskStall(world, operation) {
    const gateway = at(world, operation);
    if (gateway === undefined) return;
    did(world, operation, gateway, `the disk stalls for ${operation.ms} ms`);
    gateway.disk.stalledUntilMs = world.nowMs + operation.ms;
  },
  diskFailure(world, operation) {
    const gateway = at(world, operation);
    if (gateway === undefined) return;
    did(world, operation, gateway, `the disk fails for ${operation.ms} ms`);
    gateway.disk.failsUntilMs = world.nowMs + operation.ms;
  },
  hookFailure(world, operation) {
    const gateway = at(world, operation);
    if (gateway === undefined) return;
    did(world, operation, gateway, 'the next hook will fail');
    gateway.hookFault = operation.n % 2 === 0 ? 'fails undone' : 'fails done';
  },
  kernelRefuses(world, operation) {
    did(world, operation, undefined, 'the kernel will refuse a write of the next takeover');
    for (const gateway of world.gateways) {
      const { kernel } = gateway;
      kernel.fault = (request) => {
        // Positions are being written: not what was to be written before.
        if (request.kind !== 'NEWAE' || (gateway.daemon?.state.takeover?.positions.size ?? 0) === 0) return undefined;
        kernel.fault = () => undefined;
        return ENOMEM;
      };
    }
  },
  linkBreak(world, operation) {
    const wires = wiresFor(world, operation);
    did(world, operation, undefined, `${nameOf(wires)} breaks`);
    for (const { wire } of wires) wire.break();
  },
  linkCut(world, operation) {
    const wires = wiresFor(world, operation);
    did(world, operation, undefined, `${nameOf(wires)} is cut for ${operation.ms} ms`);
    for (const { wire } of wires) wire.cutUntilMs = world.nowMs + operation.ms;
    const { active } = world;
    if (operation.n < 20 && active) world.schedule.after(operation.ms / 2, () => failover(world, active));
  },
  pathCut(world, operation) {
    did(world, operation, undefined, `peers do not reach the gateways for ${operation.ms} ms`);
    world.pathCutUntilMs = world.nowMs + operation.ms;
  },
  switchover(world, operation) {
    world.cover(operation.kind);
    switchover(world);
  },
  demote(world, operation) {
    const { active } = world;
    if (!active?.daemon?.listens) return;
    did(world, operation, active, 'demote');
    active.daemon.demote(false);
  },
  demoteForce(world, operation) {
    const { active } = world;
    if (!active?.daemon?.listens) return;
    did(world, operation, active, 'demote --force');
    active.daemon.demote(true);
  },
  promoteForce(world, operation) {
    const { standby } = world;
    if (!standby?.daemon?.listens) return;
    world.cover(operation.kind);
    world.operator.promote(standby, true);
  },
  failover(world, operation) {
    const { active } = world;
    if (active === undefined) return;
    world.cover(operation.kind);
    failover(world, active);
  },
  promoteTwice(world, operation) {
    const { standby } = world;
    if (!standby?.daemon?.listens) return;
    world.cover(operation.kind);
    world.operator.promote(standby, false);
    world.schedule.after(operation.n / 8, () => world.operator.promote(standby, operation.n % 2 === 0));
  },
  promoteBoth(world, operation) {
    world.cover(operation.kind);
    for (const gateway of world.gateways) world.operator.promote(gateway, operation.n % 2 === 0);
  },
  demoteBusy(world, operation) {
    switchover(world);
    const { active } = world;
    if (!active?.daemon?.listens) return;
    world.cover(operation.kind);
    world.schedule.after(operation.n / 8, () => active.daemon?.demote(operation.n % 2 === 0));
  },
  promoteIncomplete(world, operation) {
    const { standby, active } = world;
    if (!standby?.daemon?.listens) return;
    did(world, operation, standby, 'the daemon starts anew, and is promoted before it is complete');
    world.killDaemon(standby, 1);
    if (active !== undefined && operation.n % 2 === 0) world.crash(active, operation.ms + 300);
    for (let n = 0; n < 6; n++)
      world.schedule.after(5 + n * (operation.n % 12), () => {
        if (standby.daemon?.state.role === 'standby') world.operator.promote(standby, false);
      });
  },
  resync(world, operation) {
    const gateway = at(world, operation);
    if (!gateway?.daemon?.listens) return;
    did(world, operation, gateway, 'resync');
    gateway.daemon.resync();
    // A deletion, or an SA that comes, while everything is read.
    const flow = flowOf(world, operation);
    if (operation.n % 2 === 0 && flow) world.schedule.after(operation.n / 10, () => remove(world, flow));
  },
  saDelete(world, operation) {
    const flow = flowOf(world, operation);
    if (flow === undefined || !remove(world, flow)) return;
    world.cover(operation.kind);
    // A key manager is not the only one who asks for everything.
    if (operation.n % 3 === 0) world.active?.daemon?.resync();
  },
  saRekey(world, operation) {
    const flow = flowOf(world, operation);
    const active = steady(world);
    if (flow === undefined || active === undefined) return;
    world.cover(operation.kind);
    world.replace(active, flow, 'new');
  },
  spiReuse(world, operation) {
    const flow = flowOf(world, operation);
    const active = steady(world);
    if (flow === undefined || active === undefined) return;
    world.cover(operation.kind);
    world.replace(active, flow, 'same');
  },
  saFlush(world, operation) {
    const active = steady(world);
    if (active === undefined) return;
    did(world, operation, active, 'all SAs are flushed');
    for (const { life } of world.traffic.flows)
      if (life && active.kernel.keyOf(life.id) === life.key) world.checks.onDeleted(life.key);
    active.kernel.must({ kind: 'FLUSHSA', body: { proto: 0 }, attributes: {} });
  },
  limits(world, operation) {
    const flow = flowOf(world, operation);
    const active = steady(world);
    if (!flow?.life || active?.kernel.keyOf(flow.life.id) !== flow.life.key) return;
    did(world, operation, active, `the limits of SA ${flow.index} are changed`);
    const { body, attributes } = flow.life.sa;
    const lft = { ...body.lft, softPacketLimit: 1_000_000n + BigInt(operation.n) };
    active.kernel.must({ kind: 'UPDSA', body: { ...body, lft }, attributes });
  },
  hardLimit(world, operation) {
    const flow = flowOf(world, operation);
    const active = steady(world);
    const now = flow?.life && active?.kernel.get(flow.life.id);
    if (!flow?.life || !active || !now || active.kernel.keyOf(flow.life.id) !== flow.life.key) return;
    did(world, operation, active, `SA ${flow.index} will expire after ${operation.n} packets`);
    flow.life.expires = true;
    const { body, attributes } = flow.life.sa;
    const lft = { ...body.lft, hardPacketLimit: now.packets + BigInt(operation.n + 1) };
    active.kernel.must({ kind: 'UPDSA', body: { ...body, lft }, attributes });
  },
  thresholds(world, operation) {
    const flow = flowOf(world, operation);
    const active = steady(world);
    if (!flow?.life || active?.kernel.keyOf(flow.life.id) !== flow.life.key) return;
    const replayThresh = 1 + operation.n;
    did(world, operation, active, `the threshold of SA ${flow.index} is set to ${replayThresh} packets`);
    active.kernel.must(newAevent(flow.life.id, { replayThresh }));
  },
  countersByHand(world, operation) {
    const flow = flowOf(world, operation);
    const active = steady(world);
    const now = flow?.life && active?.kernel.get(flow.life.id);
    if (!flow?.life || !active || !now || active.kernel.keyOf(flow.life.id) !== flow.life.key) return;
    flow.life.recounted = true;
    const ltimeVal = { bytes: 0n, packets: 0n, addTime: now.addTime, useTime: 0n };
    did(world, operation, active, `the lifetime of SA ${flow.index} is set back by hand`);
    active.kernel.must(newAevent(flow.life.id, { ltimeVal }));
  },
  timeStep(world, operation) {
    const gateway = at(world, operation);
    if (gateway === undefined) return;
    const ms = (operation.n - 20) * 1000;
    did(world, operation, gateway, `the time of day jumps by ${ms} ms`);
    gateway.clock.skewMs += ms;
  },
  replayStorm(world, operation) {
    did(world, operation, undefined, 'the attacker sends all that it has seen lately');
    world.traffic.storm();
  },
  burst(world, operation) {
    const flow = flowOf(world, operation);
    if (flow === undefined) return;
    did(world, operation, undefined, `SA ${flow.index} gets busy`);
    flow.burst += operation.n * 2;
  },
};

/** All links, those of the active, or one. */
function wiresFor(world: World, { n, sa }: Operation): World['wires'] {
  const { wires, active } = world;
  if (wires.length === 1 || n % 3 === 0) return wires;
  const ofActive = wires.filter(({ between }) => active !== undefined && between.includes(active.name));
  return n % 3 === 1 ? ofActive : wires.slice(sa % wires.length).slice(0, 1);
}

const nameOf = (wires: World['wires']): string =>
  `the link ${wires.map(({ between }) => between.join('-')).join(', ')}`;

function remove(world: World, flow: Flow): boolean {
  const active = steady(world);
  const { life } = flow;
  if (life === undefined || active?.kernel.keyOf(life.id) !== life.key) return false;
  world.story(active, `SA ${flow.index} is deleted, key ${life.key}`);
  world.checks.onDeleted(life.key);
  active.kernel.delete(life.id);
  return true;
}

function switchover(world: World): void {
  const { standby } = world;
  if (standby?.daemon?.listens) world.operator.promote(standby, false);
}

/** Somebody decides that a node is not to be the active any more. */
function failover(world: World, from: Gateway): void {
  const other = world.gateways.find((g) => g !== from && g.daemon?.listens && g.daemon.state.complete);
  if (!from.reigns || other === undefined) return;
  world.operator.fence(from);
  world.operator.promote(other, false);
}
