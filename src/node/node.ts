import { mkdir } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { setTimeout as setTimer } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Links, readIdentity } from '../link/index.ts';
import { Replica, termAfter } from '../replica/index.ts';
import { readBootId, roleStore } from '../role/index.ts';
import type { Config } from './config-schema.ts';
import { openControl } from './control-server.ts';
import { Effects } from './effects.ts';
import type { KernelInterface } from './kernel-interface.ts';
import type { Machine } from './machine.ts';
import { openKernelInterface } from './open-interface.ts';
import { Operator } from './operator.ts';
import type { PrivateSocket } from './private-socket.ts';
import { replicaSettings } from './replica-settings.ts';

/** A node that runs; `stopped` settles when it has stopped, with an error if it did not stop because it was told to. */
export interface RunningNode {
  readonly stopped: Promise<void>;
  /** `resign`: the active need not wait for this standby any more; without it this is as sudden as a crash. */
  stop(options?: { readonly resign?: boolean }): Promise<void>;
}

/** Effects that wait: when a peer's frames have made more, no further ones are read until they are carried out. */
const EFFECTS_MAX = 4_096;

/** How long a daemon that ends waits for its kernel. */
const RESIGN_MS = 2_000;

/** Starts a node: everything is open and the kernel has been read when it returns. */
export async function startNode(config: Config, machine: Machine, log: Logger, version: string): Promise<RunningNode> {
  const node = new Node(config, machine, log, version);
  try {
    await node.start();
  } catch (error) {
    await node.stop();
    throw error;
  }
  return node;
}

/** Opens all that a node is made of, and brings what happens to the replica. Decides nothing itself. */
class Node implements RunningNode {
  readonly stopped: Promise<void>;
  readonly #config: Config;
  readonly #machine: Machine;
  readonly #log: Logger;
  readonly #replica: Replica;
  readonly #operator = new Operator();
  readonly #settleStopped: { resolve: () => void; reject: (error: Error) => void };
  #kernel!: KernelInterface;
  #links!: Links;
  #effects!: Effects;
  #control: PrivateSocket | undefined;
  /** Of each peer: why the link to it was down last, and when it was heard of. */
  readonly #downReasons = new Map<string, string>();
  readonly #heardMs = new Map<string, number>();
  /** When this node last looked at the clock. */
  #tickMs = 0;
  /** Frames of others are not read until the effects of earlier ones are carried out. */
  #paused = false;
  #flushTimer: NodeJS.Timeout | undefined;
  #pingTimer: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(config: Config, machine: Machine, log: Logger, version: string) {
    this.#config = config;
    this.#machine = machine;
    this.#log = log;
    this.#replica = new Replica(replicaSettings(config, version));
    let settle: { resolve: () => void; reject: (error: Error) => void } | undefined;
    this.stopped = new Promise<void>((resolve, reject) => {
      settle = { resolve, reject };
    });
    this.stopped.catch(() => {});
    this.#settleStopped = settle as NonNullable<typeof settle>;
  }

  async start(): Promise<void> {
    const config = this.#config;
    const { node, link } = config;
    const replica = this.#replica;
    const { kernel: machine, gateway } = this.#machine;
    await mkdir(node.state_dir, { recursive: true, mode: 0o700 });
    const bootId = machine.bootId ?? (await readBootId());
    const store = roleStore(node.state_dir, bootId);
    const saved = await store.load();
    const identity = await readIdentity(link.key, link.cert);
    const input = (happen: () => void): void => this.#input(happen);
    const failed = (error: Error): void => this.#fail(error);
    this.#kernel = await openKernelInterface(config.kernel, machine, {
      happened: (tell) => input(() => tell(replica, performance.now())),
      trouble: (text) => this.#log.warn(text),
      failed,
    });
    const kernel = this.#kernel;
    this.#links = this.#openLinks(identity);
    const links = this.#links;
    const operator = this.#operator;
    this.#effects = new Effects(
      { config, replica, kernel, links, store, operator, gateway, log: this.#log },
      { input, takes: this.#takes, idle: () => this.#onIdle(), failed },
    );
    this.#control = await openControl(node.control, operator.handle);
    this.#log.info(
      { kernel: machine.name, via: kernel.name },
      `kernel: ${machine.name}, over ${kernel.name === 'pfkey' ? 'PF_KEY' : 'netlink'}`,
    );

    const firstTerm = termAfter(0, replica.state.settings);
    const first = { term: node.initial_role === 'active' ? firstTerm : 0, role: node.initial_role };
    // After a boot the kernel is empty: what was active must not go on as if it were.
    const start =
      saved === undefined
        ? first
        : saved.bootId === bootId
          ? saved
          : { term: saved.term, promised: saved.promised ?? 0, role: 'standby' as const };
    await store.save(start);
    replica.start(start, await store.loadLimits(), saved?.life ?? 1);
    await this.#effects.pump();
    operator.start({
      replica,
      kernel,
      kernelName: machine.name,
      gateway,
      policies: config.replicate.policies,
      handoverTimeoutMs: config.takeover.handover_timeout_ms,
      input,
    });
    kernel.receive();
    await links.open();
    this.#tickMs = performance.now();
    this.#pingTimer = setInterval(() => this.#tick(), link.ping_ms);
  }

  #openLinks(identity: Awaited<ReturnType<typeof readIdentity>>): Links {
    const { node, link, peer } = this.#config;
    const peers = peer.map((one) => ({ ...one, dials: node.name > one.name }));
    return new Links(
      { identity, listen: link.listen, peers },
      {
        onConnected: (name) => {
          this.#heardMs.set(name, performance.now());
          this.#input(() => this.#replica.onConnected(name));
        },
        onDisconnected: (name, reason) => {
          // Said once, however often the same happens again before the two nodes have agreed on anything.
          if (this.#hasAgreed(name) || reason !== this.#downReasons.get(name))
            this.#log.warn({ reason }, `the link to ${name} is down`);
          this.#downReasons.set(name, reason);
          this.#input(() => this.#replica.onDisconnected(name));
        },
        onFrame: (name, frame) => {
          const nowMs = performance.now();
          this.#heardMs.set(name, nowMs);
          this.#input(() => this.#replica.onFrame(name, frame, nowMs));
          if (this.#hasAgreed(name)) this.#links.to(name).settled();
          if (this.#replica.state.effects.length > EFFECTS_MAX) this.#pause();
        },
        onWritable: (name) => {
          this.#input(() => this.#replica.onWritable(name));
          this.#scheduleFlush();
        },
        onTrouble: (text) => this.#log.warn(text),
      },
    );
  }

  async stop({ resign = false }: { readonly resign?: boolean } = {}): Promise<void> {
    if (this.#stopping) return this.stopped.catch(() => {});
    if (resign) {
      this.#stopping = true;
      await this.#resign();
    }
    this.#shut();
    await this.#effects?.settled();
    this.#settleStopped.resolve();
  }

  /**
   * What waits to be done is not done any more, but the other node learns that this one is not to be waited for, and the kernel gets back
   * what was found in it.
   */
  async #resign(): Promise<void> {
    this.#effects?.stop();
    this.#replica.take();
    this.#replica.resign();
    const effects = this.#replica.take();
    for (const effect of effects) if (effect.type === 'send') this.#links?.send(effect.to, effect.frame);
    const requests = effects.flatMap((effect) =>
      effect.type === 'write' ? effect.writes.map(({ request }) => request) : [],
    );
    if (requests.length === 0) return;
    const written = this.#kernel.batch(requests).catch((error: Error) => this.#log.warn(error.message));
    await Promise.race([written, setTimer(RESIGN_MS, undefined, { ref: false })]);
  }

  #shut(): void {
    this.#stopping = true;
    clearInterval(this.#pingTimer);
    clearTimeout(this.#flushTimer);
    this.#effects?.stop();
    this.#operator.reject(new Error('the daemon stops'));
    this.#links?.close();
    this.#control?.close();
    this.#kernel?.close();
  }

  #fail(error: Error): void {
    if (this.#stopping) return;
    this.#log.error({ err: error }, 'the node cannot go on');
    this.#shut();
    this.#settleStopped.reject(error);
  }

  #input(happen: () => void): void {
    if (this.#stopping) return;
    happen();
    this.#scheduleFlush();
    void this.#effects?.pump();
  }

  #tick(): void {
    const nowMs = performance.now();
    this.#replica.setTimeOfDay(Date.now() - nowMs);
    const { ping_ms, timeout_ms } = this.#config.link;
    // While this process stood still nobody was listened to: what has come meanwhile is read after this timer.
    const stoodMs = Math.max(0, nowMs - this.#tickMs - ping_ms);
    this.#tickMs = nowMs;
    for (const [name, link] of this.#links) {
      if (!link.connected) continue;
      const heardMs = Math.min(nowMs, (this.#heardMs.get(name) ?? 0) + stoodMs);
      this.#heardMs.set(name, heardMs);
      if (!this.#paused && nowMs - heardMs > timeout_ms) link.disconnect(`nothing came for ${timeout_ms} ms`);
      // While a long work is under way (a reading of many SAs), effects wait; the other node must hear something all the same.
      if (this.#areEffectsUnderWay) this.#links.send([name], this.#replica.ping(name, nowMs));
    }
    if (!this.#areEffectsUnderWay) this.#input(() => this.#replica.tick(nowMs));
  }

  #scheduleFlush(): void {
    // Not while effects wait: the latest counters then go out once, not one set of them every few milliseconds.
    if (this.#flushTimer !== undefined || this.#areEffectsUnderWay || !this.#replica.hasDirty || this.#stopping) return;
    const ms = this.#replica.state.role === 'active' ? this.#config.link.flush_ms : this.#config.replicate.apply_ms;
    this.#flushTimer = setTimeout(() => {
      this.#flushTimer = undefined;
      if (this.#areEffectsUnderWay) return; // their end sets the timer anew
      this.#input(() => this.#replica.flush(this.#takes));
    }, ms);
  }

  get #areEffectsUnderWay(): boolean {
    return this.#effects?.areUnderWay ?? false;
  }

  /** A link that does not keep up gets the latest value later, not every value. */
  readonly #takes = (peer: string): boolean => this.#links.to(peer).writable;

  #hasAgreed(peer: string): boolean {
    return this.#replica.state.peers.get(peer)?.hello !== undefined;
  }

  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    for (const [, link] of this.#links) link.pause();
  }

  /** All effects are carried out. */
  #onIdle(): void {
    if (this.#paused) {
      this.#paused = false;
      const nowMs = performance.now();
      for (const [name, link] of this.#links) {
        this.#heardMs.set(name, nowMs);
        link.resume();
      }
    }
    this.#scheduleFlush();
  }
}
