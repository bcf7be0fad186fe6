/** The story of the demo: traffic, a crash, a takeover, an attack, a way back, a switchover, another attack; and what they prove. */
import type { Status } from '../node/index.ts';
import { nowMs } from './clock.ts';
import { NODES, type NodeName, type Via } from './configs.ts';
import { makeConnections } from './connections.ts';
import { Expectations } from './expectations.ts';
import type { Flow } from './flows.ts';
import { type Begin, tenths } from './phases.ts';
import { Random } from './random.ts';
import type { ReplayOptions } from './relay.ts';
import { type CrashFacts, type Promoted, report, type SwitchFacts } from './report.ts';
import type { DemoResult, Replay } from './result.ts';
import type { Stop } from './stop.ts';
import { watch } from './watcher.ts';
import { World } from './world.ts';

export interface DemoOptions {
  /** The CLI's JavaScript file. */
  readonly program: string;
  readonly sas: number;
  /** Packets a second, over all flows. */
  readonly ratePps: number;
  /** About how long it takes in all, in seconds. */
  readonly durationS: number;
  readonly seed: number;
  readonly via: Via;
}

type NodeState = Status | 'down';

/** Of the whole duration: traffic before the crash and after it, before the switchover and after it. The rest is building and attacks. */
const SHARE = { beforeCrash: 0.2, afterCrash: 0.18, beforeSwitchover: 0.08, afterSwitchover: 0.11 } as const;
/** The crash comes at any moment of so long. */
const CRASH_WITHIN_MS = 1_500;
/** What has not arrived after so long is lost. */
const GIVE_UP_MS = 1_500;
/** Frames of each SPI, newest first, that are replayed in the moment of the takeover: two windows of 32. */
const EARLY = { newest: 64, limit: 3_000 } as const;
/** No arrival for so long: nothing is on its way any more. */
const QUIET_MS = 300;
const TICK_MS = 20;
/** Limits for what is awaited; on an idle machine each takes a fraction of it. */
const LIMIT = {
  sync: 60_000,
  detect: 60_000,
  promote: 90_000,
  address: 60_000,
  through: 60_000,
  quiet: 10_000,
} as const;
const POLL_MS = 250;

export class Demo {
  readonly nodes: Record<NodeName, NodeState> = { a: 'down', b: 'down' };
  readonly begins: Begin[] = [];
  readonly replays: Replay[] = [];
  readonly expectations = new Expectations();
  recorded = 0;
  replayed = 0;
  world: World | undefined;
  readonly #options: DemoOptions;
  readonly #stop: Stop;
  readonly #say: (text: string) => void;
  readonly #random: Random;
  readonly #startMs = nowMs();
  #poll: NodeJS.Timeout | undefined;
  #looking = false;
  #watcher: { stop(): void } | undefined;

  /** `say` gets a line for each thing that happens. */
  constructor(options: DemoOptions, stop: Stop, say: (text: string) => void) {
    this.#options = options;
    this.#stop = stop;
    this.#say = say;
    this.#random = new Random(options.seed);
  }

  async run(): Promise<DemoResult> {
    const world = await this.#build();
    const crash = await this.#crash(world);
    await this.#attack(world, 'b', 'takeover');
    await this.#comeBack(world);
    const switchover = await this.#switchOver(world);
    await this.#attack(world, 'a', 'switchover');
    const endMs = await this.#quiet(world);
    return report(world, this, { ...this.#options, ...crash, ...switchover, endMs, startMs: this.#startMs });
  }

  /** Traffic until somebody ends it. */
  async goOn(): Promise<void> {
    this.world?.hosts.start();
    await this.#stop.or(new Promise<never>(() => {}));
  }

  async close(): Promise<void> {
    clearInterval(this.#poll);
    this.#watcher?.stop();
    await this.world?.close();
  }

  async #build(): Promise<World> {
    const { sas, seed, via } = this.#options;
    const how = via === 'pfkey' ? ', over PF_KEY,' : ',';
    this.#say(`seed ${seed}: starting two gateways${how} a peer, and the path between`);
    const connections = makeConnections(sas / 2, this.#random);
    const world = await World.build({ ...this.#options, connections, stop: this.#stop });
    this.world = world;
    this.#poll = setInterval(() => void this.#look(world), POLL_MS);
    await world.holds('a', LIMIT.address);
    await world.install('peer');
    await world.install('a');
    this.#say(`${sas} SAs, ${(sas / 2) * 3} policies installed at the peer and at gateway a`);
    const status = await this.#complete(world, 'b');
    this.expectations.check('the standby was complete before the crash', status.complete, `${status.sas} SAs`);
    return world;
  }

  /** Until a standby has everything. */
  async #complete(world: World, node: NodeName): Promise<Status> {
    const { sas } = this.#options;
    const status = await world.until(node, 'a complete standby', LIMIT.sync, (s) => {
      return (
        s.role === 'standby' &&
        s.peers.every(({ connected }) => connected) &&
        s.complete &&
        s.installed === sas &&
        s.policies === (sas / 2) * 3
      );
    });
    this.#say(`gateway ${node} is a complete standby: ${status.sas} SAs, term ${status.term}`);
    return status;
  }

  /** Gateway a dies at a moment that nobody knows, and gateway b takes over. */
  async #crash(world: World): Promise<CrashFacts> {
    const { hosts } = world;
    this.#begin('traffic');
    this.#say(`traffic on ${hosts.flows.length} flows, ${this.#options.ratePps} packets/s`);
    hosts.start();
    await this.#traffic(SHARE.beforeCrash);
    await this.#through(world, hosts.flows, 0);
    const died = new Promise<number>((resolve) => {
      this.#watcher = watch(() => world.ask('a', { command: 'status' }, 1_000), resolve);
    });
    await this.#stop.sleep(this.#random.unit() * CRASH_WITHIN_MS);
    const shown = await world.status('b', true);
    this.#begin('crash and takeover');
    const killMs = nowMs();
    await world.kill('a');
    this.#say('gateway a is killed (SIGKILL)');
    const detectedMs = await this.#within(died, LIMIT.detect, 'the watcher has noticed the crash');
    this.#say(`the watcher has noticed after ${Math.round(detectedMs - killMs)} ms: promoting gateway b`);
    const { promoted, commandMs, heldMs } = await this.#promote(world, 'b');
    const early = this.#replay(world, 'takeover, newest at gateway b', {
      target: 'active',
      beforeMs: killMs,
      ...EARLY,
    });
    this.#say(
      `gateway b is active after ${promoted.takeoverMs} ms: skip ${promoted.skipMax}, windows closed over ${promoted.closedMax}`,
    );
    await early;
    await this.#traffic(SHARE.afterCrash);
    const pushedBefore = hosts.pushed;
    await this.#through(world, hosts.flows, heldMs);
    this.expectations.check(
      'every SA carried traffic after the takeover',
      hosts.flows.every((flow) => flow.newestSentMs >= heldMs),
      `${hosts.flows.filter((flow) => flow.newestSentMs >= heldMs).length} of ${hosts.flows.length}`,
    );
    this.expectations.check(
      'the takeover opened every SA',
      promoted.failed === 0,
      `${promoted.sas - promoted.failed} of ${promoted.sas}`,
    );
    return { shown, killMs, detectedMs, promoted, commandMs, heldMs, pushed: hosts.pushed - pushedBefore };
  }

  async #comeBack(world: World): Promise<void> {
    this.#begin('return');
    world.start('a');
    this.#say('gateway a is started again, with an empty kernel');
    await this.#complete(world, 'a');
    await this.#traffic(SHARE.beforeSwitchover);
  }

  async #switchOver(world: World): Promise<SwitchFacts> {
    const { hosts } = world;
    this.#begin('switchover');
    const switchMs = nowMs();
    const { promoted, commandMs, heldMs } = await this.#promote(world, 'a');
    this.#say(`gateway a is active again: switchover ${promoted.takeoverMs} ms, command ${commandMs} ms`);
    await this.#traffic(SHARE.afterSwitchover);
    await this.#through(world, hosts.flows, heldMs);
    this.expectations.check(
      'every SA carried traffic after the switchover',
      hosts.flows.every((flow) => flow.newestSentMs >= heldMs),
      `${hosts.flows.length}`,
    );
    return { switchMs, switchHeldMs: heldMs, switched: promoted, switchCommandMs: commandMs };
  }

  async #promote(world: World, node: NodeName): Promise<{ promoted: Promoted; commandMs: number; heldMs: number }> {
    const startMs = nowMs();
    const promoted = (await this.#stop.or(world.ask(node, { command: 'promote' }, LIMIT.promote))) as Promoted;
    const commandMs = tenths(nowMs() - startMs);
    return { promoted, commandMs, heldMs: await world.holds(node, LIMIT.address) };
  }

  /** Everything that was ever recorded, at the active and at the peer, while traffic goes on. */
  async #attack(world: World, node: NodeName, after: string): Promise<void> {
    this.#begin(`attack after the ${after}`);
    // Packets of the outage that a replay delivers now are lost to their applications all the same.
    await this.#stop.sleep(GIVE_UP_MS);
    world.hosts.giveUp(nowMs() - GIVE_UP_MS);
    await Promise.all([
      this.#replay(world, `${after}, all at gateway ${node}`, { target: 'active' }, node),
      this.#replay(world, `${after}, all at the peer`, { target: 'peer' }, 'peer'),
    ]);
  }

  /** `counting`: whose SAs count what they refuse. */
  async #replay(world: World, name: string, options: ReplayOptions, counting?: NodeName | 'peer'): Promise<void> {
    const { hosts } = world;
    const direction = options.target === 'peer' ? 'out' : 'in';
    const seen = () => ({ again: hosts.duplicates[direction], late: hosts.late[direction] });
    const before = { ...seen(), refused: counting === undefined ? 0 : await world.refused(counting) };
    const sent = await this.#stop.or(world.path.call('replay', options));
    await this.#stop.sleep(QUIET_MS);
    const after = seen();
    const replay: Replay = {
      name,
      sent,
      refused: counting === undefined ? null : (await world.refused(counting)) - before.refused,
      accepted: after.again - before.again,
      late: after.late - before.late,
    };
    this.replays.push(replay);
    this.#say(`replay after ${name}: ${sent} packets, ${replay.accepted} accepted`);
  }

  /** Sends on flows on which nothing sent since `sinceMs` has got through, until something does: past windows that are still closed. */
  async #through(world: World, flows: readonly Flow[], sinceMs: number): Promise<void> {
    const shut = (): Flow[] => flows.filter((flow) => flow.newestSentMs < sinceMs);
    const count = shut().length;
    if (count === 0) return;
    this.#say(`${count} of ${flows.length} flows are not through yet: sending faster on those`);
    world.hosts.push(shut);
    const deadline = nowMs() + LIMIT.through;
    while (world.hosts.pushing && nowMs() < deadline) await this.#stop.sleep(TICK_MS);
    world.hosts.push(() => []);
  }

  /** Ends the traffic; when nothing arrives any more. */
  async #quiet(world: World): Promise<number> {
    const { hosts } = world;
    hosts.stop();
    const endMs = nowMs();
    while (nowMs() - Math.max(hosts.lastArrivalMs, endMs) < QUIET_MS && nowMs() < endMs + LIMIT.quiet) {
      await this.#stop.sleep(TICK_MS);
    }
    return endMs;
  }

  async #traffic(share: number): Promise<void> {
    await this.#stop.sleep(share * this.#options.durationS * 1000);
  }

  async #within<T>(work: Promise<T>, limitMs: number, what: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`after ${limitMs / 1000} s it is not so that ${what}`)), limitMs);
    });
    try {
      return await this.#stop.or(Promise.race([work, late]));
    } finally {
      clearTimeout(timer);
    }
  }

  #begin(name: string): void {
    this.begins.push({ name, atMs: nowMs() });
  }

  /** For the view: what the nodes and the path say. */
  async #look(world: World): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    await Promise.all([
      ...NODES.map(async (node) => {
        const status = await world.status(node).catch(() => 'down' as const);
        this.nodes[node] = status;
      }),
      world.path.call('counts').then(
        ({ recorded, replayed }) => {
          this.recorded = recorded;
          this.replayed = replayed;
        },
        () => {},
      ),
    ]);
    this.#looking = false;
  }
}
