import { mkdir } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { setImmediate, setTimeout as setTimer } from 'node:timers/promises';
import type { Logger } from 'pino';
import { XfrmClient } from '../client/index.ts';
import type { Gateway } from '../gateway/index.ts';
import type { Batch, Kernel, KernelSocket } from '../kernel/index.ts';
import { Links, readIdentity } from '../link/index.ts';
import { DecodeError, forEachMessage, hostLittleEndian } from '../netlink/index.ts';
import {
  type CountersRead,
  type Effect,
  joined,
  type Reading,
  Replica,
  type ReplicaSettings,
  type TakeoverReport,
  termAfter,
  type Write,
} from '../replica/index.ts';
import { readBootId, roleStore } from '../role/index.ts';
import { AeFlag, AeventCursor, decodeMessage, parseAddress, XfrmGroup, XfrmMsg } from '../xfrm/index.ts';
import type { Config } from './config-schema.ts';
import { type ControlHandler, openControl } from './control-server.ts';
import { runHook } from './hooks.ts';
import type { Machine } from './machine.ts';
import type { PrivateSocket } from './private-socket.ts';
import { statusOf } from './status.ts';

/** A node that runs; `stopped` settles when it has stopped, with an error if it did not stop because it was told to. */
export interface RunningNode {
  readonly stopped: Promise<void>;
  /** `resign`: the active need not wait for this standby any more; without it this is as sudden as a crash. */
  stop(options?: { readonly resign?: boolean }): Promise<void>;
}

const GROUPS = [XfrmGroup.SA, XfrmGroup.EXPIRE, XfrmGroup.POLICY, XfrmGroup.AEVENTS, XfrmGroup.MIGRATE];

/** In a NEWAE: the port of who has asked for it, and `xfrm_aevent_id.flags`. */
const NLMSG_PID_AT = 12;
const AEVENT_FLAGS_AT = 16 + 40;

/** Requests to the kernel between two turns of the event loop: some milliseconds. */
const WRITES_MAX = 512;

/** Effects that wait: when a peer's frames have made more, no further ones are read until they are carried out. */
const EFFECTS_MAX = 4_096;

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

/** How long a daemon that ends waits for its kernel. */
const RESIGN_MS = 2_000;

type Answer = { resolve: (result: object) => void; reject: (reason: Error) => void };

/** Carries out what the replica decides, on real things; decides nothing itself. */
class Node implements RunningNode {
  readonly stopped: Promise<void>;
  readonly #config: Config;
  readonly #kernel: Kernel;
  readonly #gateway: Gateway | undefined;
  readonly #log: Logger;
  readonly #replica: Replica;
  readonly #cursor = new AeventCursor();
  readonly #settleStopped: { resolve: () => void; reject: (error: Error) => void };
  #client!: XfrmClient;
  #events!: KernelSocket;
  #links!: Links;
  #control: PrivateSocket | undefined;
  #store!: ReturnType<typeof roleStore>;
  /** Of each peer: why the link to it was down last, and when it was heard of. */
  readonly #downReasons = new Map<string, string>();
  readonly #heardMs = new Map<string, number>();
  #hooks: Promise<void> = Promise.resolve();
  #started = false;
  /** Frames of others are not read until the effects of earlier ones are carried out. */
  #paused = false;
  #operator: Answer | undefined;
  #operatorTimer: NodeJS.Timeout | undefined;
  #flushTimer: NodeJS.Timeout | undefined;
  #pingTimer: NodeJS.Timeout | undefined;
  #pumping = false;
  /** Accounts that are being sent, one after the other to each node. */
  readonly #streams = new Map<string, Promise<void>>();
  #thresholdsRead = 0;
  #stopping = false;

  constructor(config: Config, { kernel, gateway }: Machine, log: Logger, version: string) {
    this.#config = config;
    this.#kernel = kernel;
    this.#gateway = gateway;
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
    const { node, link, peer, kernel } = this.#config;
    await mkdir(node.state_dir, { recursive: true, mode: 0o700 });
    const bootId = this.#kernel.bootId ?? (await readBootId());
    this.#store = roleStore(node.state_dir, bootId);
    const saved = await this.#store.load();
    const identity = await readIdentity(link.key, link.cert);
    this.#client = await XfrmClient.open(this.#kernel);
    this.#events = await this.#kernel.open({ groups: GROUPS, receiveBufferBytes: kernel.receive_buffer_bytes });
    this.#events.onOverrun(() => this.#input(() => this.#replica.onOverrun()));
    this.#events.onError((error) => this.#fail(error));
    const peers = peer.map((one) => ({ ...one, dials: node.name > one.name }));
    this.#links = new Links(
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
    this.#control = await openControl(node.control, this.#onControl);

    const firstTerm = termAfter(0, this.#replica.state.settings);
    const first = { term: node.initial_role === 'active' ? firstTerm : 0, role: node.initial_role };
    // After a boot the kernel is empty: what was active must not go on as if it were.
    const start =
      saved === undefined
        ? first
        : saved.bootId === bootId
          ? saved
          : { term: saved.term, promised: saved.promised ?? 0, role: 'standby' as const };
    await this.#store.save(start);
    this.#replica.start(start, await this.#store.loadLimits(), saved?.life ?? 1);
    await this.#pump();
    this.#started = true;
    this.#events.receive((batch) => this.#onEvents(batch));
    await this.#links.open();
    this.#pingTimer = setInterval(() => this.#tick(), link.ping_ms);
  }

  async stop({ resign = false }: { readonly resign?: boolean } = {}): Promise<void> {
    if (this.#stopping) return this.stopped.catch(() => {});
    if (resign) {
      this.#stopping = true;
      await this.#resign();
    }
    this.#shut();
    this.#settleStopped.resolve();
  }

  /**
   * What waits to be done is not done any more, but the other node learns that this one is not to be waited for, and the kernel gets back
   * what was found in it.
   */
  async #resign(): Promise<void> {
    this.#replica.take();
    this.#replica.resign();
    const effects = this.#replica.take();
    for (const effect of effects) if (effect.type === 'send') this.#links?.send(effect.to, effect.frame);
    const requests = effects.flatMap((effect) =>
      effect.type === 'write' ? effect.writes.map(({ request }) => request) : [],
    );
    if (requests.length === 0) return;
    const written = this.#client.batch(requests).catch((error: Error) => this.#log.warn(error.message));
    await Promise.race([written, setTimer(RESIGN_MS, undefined, { ref: false })]);
  }

  #shut(): void {
    this.#stopping = true;
    clearInterval(this.#pingTimer);
    clearTimeout(this.#flushTimer);
    clearTimeout(this.#operatorTimer);
    this.#operator?.reject(new Error('the daemon stops'));
    this.#links?.close();
    this.#control?.close();
    this.#events?.close();
    this.#client?.close();
  }

  #fail(error: Error): void {
    if (this.#stopping) return;
    this.#log.error({ err: error }, 'the node cannot go on');
    this.#shut();
    this.#settleStopped.reject(error);
  }

  // --- inputs ---------------------------------------------------------------------------------------------------------

  #input(happen: () => void): void {
    if (this.#stopping) return;
    happen();
    this.#scheduleFlush();
    void this.#pump();
  }

  #onEvents(batch: Batch): void {
    this.#input(() => {
      const nowMs = performance.now();
      for (let i = 0; i < batch.count; i++) {
        const start = batch.offsets[i] as number;
        forEachMessage(
          batch.buffer,
          (at, length) => this.#onEvent(batch, at, length, nowMs),
          start,
          start + (batch.lengths[i] as number),
        );
      }
    });
  }

  #onEvent({ buffer, view }: Batch, at: number, length: number, nowMs: number): void {
    if (view.getUint16(at + 4, hostLittleEndian) === XfrmMsg.NEWAE) {
      if (!this.#isOwn(view, at, length)) this.#replica.onAevents(this.#cursor.reset(buffer, at, at + length), nowMs);
      return;
    }
    try {
      // A copy: what the replica keeps must not point into the receive buffer.
      const message = decodeMessage(buffer.slice(at, at + length));
      // This node's own ceilings: it knows.
      if (message.kind === 'UPDSA' && message.pid === this.#client.portId) return;
      this.#replica.onKernelMessage(message, nowMs);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.#log.warn(`the kernel sent a message that cannot be read: ${error.message}`);
    }
  }

  /** Says what this node has set itself. The kernel leaves the port of other events as it finds it. */
  #isOwn(view: DataView, at: number, length: number): boolean {
    return (
      length >= AEVENT_FLAGS_AT + 4 &&
      view.getUint32(at + AEVENT_FLAGS_AT, hostLittleEndian) === AeFlag.CU &&
      view.getUint32(at + NLMSG_PID_AT, hostLittleEndian) === this.#client.portId
    );
  }

  #tick(): void {
    const nowMs = performance.now();
    this.#replica.setTimeOfDay(Date.now() - nowMs);
    const { timeout_ms } = this.#config.link;
    for (const [name, link] of this.#links) {
      if (!link.connected) continue;
      if (!this.#paused && nowMs - (this.#heardMs.get(name) ?? 0) > timeout_ms)
        link.disconnect(`nothing came for ${timeout_ms} ms`);
      // While a long work is under way (a reading of many SAs), effects wait; the other node must hear something all the same.
      if (this.#pumping) this.#links.send([name], this.#replica.ping(name, nowMs));
    }
    if (!this.#pumping) this.#input(() => this.#replica.tick(nowMs));
  }

  #scheduleFlush(): void {
    // Not while effects wait: the latest counters then go out once, not one set of them every few milliseconds.
    if (this.#flushTimer !== undefined || this.#pumping || !this.#replica.hasDirty || this.#stopping) return;
    const ms = this.#replica.state.role === 'active' ? this.#config.link.flush_ms : this.#config.replicate.apply_ms;
    this.#flushTimer = setTimeout(() => {
      this.#flushTimer = undefined;
      if (this.#pumping) return; // its end sets the timer anew
      this.#input(() => this.#replica.flush(this.#takes));
    }, ms);
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

  readonly #onControl: ControlHandler = async (request) => {
    if (!this.#started) return { ok: false, reason: 'the daemon is starting; try again in a moment' };
    const nowMs = performance.now();
    switch (request.command) {
      case 'status': {
        // What waits in the event socket is known, too.
        this.#events.drain();
        const about = {
          kernel: this.#kernel.name,
          nowMs,
          sas: request.sas,
          gateway: this.#gateway?.counts,
        };
        return { ok: true, result: statusOf(this.#replica.state, about) };
      }
      case 'dryRun': {
        // Beside what is under way: looking must not hold up a promotion.
        const reading = await this.#readKernel();
        return { ok: true, result: this.#replica.dryRun(reading, performance.now(), request) };
      }
      case 'resync':
        this.#input(() => this.#replica.resync());
        return { ok: true, result: { role: this.#replica.state.role } };
      default: {
        if (this.#operator) return { ok: false, reason: 'another promote, demote, switchover or dismiss is under way' };
        const { command } = request;
        const force = 'force' in request && request.force;
        const result = await new Promise<object>((resolve, reject) => {
          this.#operator = { resolve, reject };
          const { handover_timeout_ms: ms } = this.#config.takeover;
          this.#operatorTimer = setTimeout(() => {
            this.#input(() => this.#replica.abandonHandover(`nothing happened within ${ms} ms`));
          }, ms);
          this.#input(() => {
            if (command === 'promote') this.#replica.promote(nowMs, { force, restore: request.restore });
            else if (command === 'demote') this.#replica.demote({ force });
            else if (command === 'switchover') this.#replica.switchover(nowMs, request.to);
            else this.#replica.dismiss();
          });
        });
        return { ok: true, result };
      }
    }
  };

  #answer(settle: (operator: Answer) => void): void {
    clearTimeout(this.#operatorTimer);
    const operator = this.#operator;
    this.#operator = undefined;
    if (operator) settle(operator);
  }

  // --- effects --------------------------------------------------------------------------------------------------------

  /** Carries out effects one after the other until there are no more. */
  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      for (let effects = this.#replica.take(); effects.length > 0 && !this.#stopping; effects = this.#replica.take()) {
        for (const effect of joined(effects)) {
          const done = this.#perform(effect);
          if (done !== undefined) await done;
          if (this.#stopping) return;
        }
      }
    } catch (error) {
      this.#fail(error as Error);
    } finally {
      this.#pumping = false;
    }
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

  #perform(effect: Effect): Promise<void> | undefined {
    switch (effect.type) {
      case 'send':
        this.#links?.send(effect.to, effect.frame);
        return;
      case 'stream': {
        const { to, frames } = effect;
        const before = this.#streams.get(to) ?? Promise.resolve();
        const stream = before
          .then(() => this.#links.to(to).stream(frames))
          .catch((error) => this.#fail(error as Error));
        this.#streams.set(to, stream);
        return;
      }
      case 'pong': {
        this.#events.drain();
        // A standby that does not take what waits for it gets no more.
        if (this.#takes(effect.to)) this.#replica.answerPing(effect.to, effect.timeMs, this.#takes);
        return;
      }
      case 'write':
        return this.#write(effect.writes);
      case 'read':
        return this.#read(effect);
      case 'readSa':
        return this.#client.batch([effect.request]).then(([result]) => {
          const { reply } = result ?? {};
          this.#replica.onReadSa(effect.handle, reply?.kind === 'NEWSA' ? reply : undefined, performance.now());
        });
      case 'readThresholds':
        return this.#readThresholds(effect.handles);
      case 'readCounters':
        return this.#readCounters(effect.reads);
      case 'persist':
        return this.#store.save(effect.durable).then(
          () => this.#replica.onPersisted(effect.durable, performance.now()),
          (error: Error) => this.#replica.onPersistFailed(error.message, performance.now()),
        );
      case 'keepLimits':
        return this.#store.saveLimits(effect.limits).catch((error: Error) => {
          this.#log.error(`${error.message}; after a restart, limits of packets that a ceiling hides would be unknown`);
        });
      case 'hook':
        this.#runHook(effect.name);
        return;
      case 'wait':
        return setTimer(effect.ms, undefined, { ref: false });
      case 'mark':
        this.#replica.onMark(effect.name);
        return;
      case 'promoted':
        this.#answer(({ resolve }) => resolve(rounded(effect.report)));
        return;
      case 'demoted':
        this.#answer(({ resolve }) => resolve({ role: 'standby', term: this.#replica.state.term }));
        return;
      case 'dismissed':
        this.#answer(({ resolve }) => resolve({ role: 'active', bound: this.#replica.state.bound.length > 0 }));
        return;
      case 'refused':
        this.#log.warn(effect.reason);
        this.#answer(({ reject }) => reject(new Error(effect.reason)));
        return;
      case 'disconnect':
        this.#links.to(effect.from).disconnect(effect.reason);
        return;
      case 'log':
        this.#log[effect.level](effect.fields ?? {}, effect.text);
        return;
    }
  }

  /** One after the other, and beside everything else: a program that takes its time must not hold up replication. */
  #runHook(name: 'claim' | 'release'): void {
    const { term } = this.#replica.state;
    this.#hooks = this.#hooks
      .then(async () => {
        if (name === 'release') this.#gateway?.release();
        const failure = await runHook(this.#config, name, term);
        // The addresses are here: the gateway goes on where the other one stopped.
        if (name === 'claim') this.#gateway?.start();
        this.#input(() => this.#replica.onHook(name, failure));
      })
      .catch((error) => this.#fail(error as Error));
  }

  /** In portions: between two of them the link and the timers get their turn, however many SAs there are. */
  async #write(writes: readonly Write[]): Promise<void> {
    for (let i = 0; i < writes.length; i += WRITES_MAX) {
      const portion = writes.slice(i, i + WRITES_MAX);
      const results = await this.#client.batch(portion.map(({ request }) => request));
      this.#replica.onWritten(portion, results);
      if (i + WRITES_MAX < writes.length) await setImmediate();
    }
  }

  async #read({ purpose }: Extract<Effect, { type: 'read' }>): Promise<void> {
    this.#replica.onRead(purpose, await this.#readKernel(), performance.now());
  }

  async #readKernel(): Promise<Reading> {
    const sas = await this.#client.dumpSas();
    const policies = this.#config.replicate.policies ? await this.#client.dumpPolicies() : [];
    return { sas, policies };
  }

  async #readThresholds(handles: readonly number[]): Promise<void> {
    for (const handle of handles) {
      const record = this.#replica.state.sas.byHandle(handle);
      const aevent = record && (await this.#client.getAevent(record.id, { thresholds: true }));
      const { replayThresh, etimerThresh } = aevent?.attributes ?? {};
      if (replayThresh === undefined || etimerThresh === undefined) continue;
      this.#replica.onReadThresholds(handle, { packets: replayThresh, timerMs: etimerThresh * 100 });
      if (++this.#thresholdsRead % WRITES_MAX === 0) await setImmediate();
    }
  }

  async #readCounters(reads: readonly CountersRead[]): Promise<void> {
    const results = await this.#client.batch(reads.map(({ request }) => request));
    const nowMs = performance.now();
    results.forEach((result, i) => {
      this.#replica.onReadCounters((reads[i] as CountersRead).handle, result, nowMs);
    });
  }
}

function rounded(report: TakeoverReport): object {
  return { ...report, takeoverMs: Math.round(report.takeoverMs * 10) / 10, unseenMs: Math.round(report.unseenMs) };
}

function replicaSettings(config: Config, version: string): ReplicaSettings {
  const { node, link, peer, replicate, takeover } = config;
  const linkAddresses = [link.listen.host, ...peer.map(({ address }) => address.host)].flatMap(
    (host) => parseAddress(host) ?? [],
  );
  return {
    cluster: node.cluster,
    node: node.name,
    peers: peer.map(({ name }) => name),
    version,
    littleEndian: hostLittleEndian,
    selection: { ...replicate, ifIds: replicate.if_ids, linkAddresses },
    plan: {
      inbound: takeover.inbound,
      rateMaxPps: takeover.rate_max_pps,
      rateFloorPps: takeover.rate_floor_pps,
      mode: takeover.mode,
      quiet: takeover.quiet,
    },
    grants: { mode: takeover.mode, numbersMin: takeover.grant_min, horizonMs: takeover.grant_ms },
    exposure: config.exposure,
    sweepMs: replicate.sweep_ms,
    held: { part: replicate.mass_delete_percent / 100, ms: replicate.mass_delete_keep_ms },
    install: replicate.install,
    drainMs: takeover.drain_ms,
    drainMaxMs: takeover.drain_max_ms,
    claimAfterMs: link.timeout_ms,
  };
}
