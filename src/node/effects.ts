import { performance } from 'node:perf_hooks';
import { setImmediate, setTimeout as setTimer } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Result } from '../client/index.ts';
import type { Gateway } from '../gateway/index.ts';
import type { Links } from '../link/index.ts';
import {
  type CountersRead,
  type Effect,
  joined,
  type Replica,
  type TakeoverReport,
  type Write,
} from '../replica/index.ts';
import type { roleStore } from '../role/index.ts';
import type { Config } from './config-schema.ts';
import { runHook } from './hooks.ts';
import { type KernelInterface, thresholdsOf } from './kernel-interface.ts';
import type { Operator } from './operator.ts';

/** Requests to the kernel between two turns of the event loop: some milliseconds. */
const WRITES_MAX = 512;

/** The real things on which effects are carried out. */
export interface Things {
  readonly config: Config;
  readonly replica: Replica;
  readonly kernel: KernelInterface;
  readonly links: Links;
  readonly store: ReturnType<typeof roleStore>;
  readonly operator: Operator;
  readonly gateway: Gateway | undefined;
  readonly log: Logger;
}

/** The node around the effects. */
export interface Around {
  /** Something has happened that the replica is told of by `happen`. */
  readonly input: (happen: () => void) => void;
  /** Whether the link to a node takes more now. */
  readonly takes: (peer: string) => boolean;
  /** All effects that there were are carried out. */
  readonly idle: () => void;
  readonly failed: (error: Error) => void;
}

/** Carries out what the replica wants done, one effect after the other, on real things. */
export class Effects {
  readonly #things: Things;
  readonly #around: Around;
  /** Accounts that are being sent, one after the other to each node. */
  readonly #streams = new Map<string, Promise<void>>();
  #hooks: Promise<void> = Promise.resolve();
  /** What is being written to disk. */
  #disk: Promise<void> = Promise.resolve();
  #thresholdsRead = 0;
  #pumping = false;
  #stopped = false;

  constructor(things: Things, around: Around) {
    this.#things = things;
    this.#around = around;
  }

  /** Effects wait, or are being carried out. */
  get areUnderWay(): boolean {
    return this.#pumping;
  }

  /** What waits is not done any more. */
  stop(): void {
    this.#stopped = true;
  }

  /** What was being written to disk is there: who comes next, in the same directory, finds it whole and finds nothing of it later. */
  settled(): Promise<void> {
    return this.#disk;
  }

  /** Carries out effects until there are no more. */
  async pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    const { replica } = this.#things;
    try {
      for (let effects = replica.take(); effects.length > 0 && !this.#stopped; effects = replica.take()) {
        for (const effect of joined(effects)) {
          const done = this.#perform(effect);
          if (done !== undefined) await done;
          if (this.#stopped) return;
        }
      }
    } catch (error) {
      this.#around.failed(error as Error);
    } finally {
      this.#pumping = false;
    }
    this.#around.idle();
  }

  #perform(effect: Effect): Promise<void> | undefined {
    const { replica, kernel, links, store, operator, log } = this.#things;
    switch (effect.type) {
      case 'send':
        links.send(effect.to, effect.frame);
        return;
      case 'stream': {
        const { to, frames } = effect;
        const before = this.#streams.get(to) ?? Promise.resolve();
        const stream = before
          .then(() => links.to(to).stream(frames))
          .catch((error) => this.#around.failed(error as Error));
        this.#streams.set(to, stream);
        return;
      }
      case 'pong': {
        const { takes } = this.#around;
        kernel.drain();
        // A standby that does not take what waits for it gets no more.
        if (takes(effect.to)) replica.answerPing(effect.to, effect.timeMs, takes);
        return;
      }
      case 'write':
        return this.#write(effect.writes);
      case 'read':
        return kernel
          .read(this.#things.config.replicate.policies)
          .then((reading) => replica.onRead(effect.purpose, reading, performance.now()));
      case 'readSa':
        return kernel.batch([effect.request]).then(([result]) => {
          const { reply } = result ?? {};
          replica.onReadSa(effect.handle, reply?.kind === 'NEWSA' ? reply : undefined, performance.now());
        });
      case 'readThresholds':
        return this.#readThresholds(effect.handles);
      case 'readCounters':
        return this.#readCounters(effect.reads);
      case 'persist':
        this.#disk = store.save(effect.durable).then(
          () => replica.onPersisted(effect.durable, performance.now()),
          (error: Error) => replica.onPersistFailed(error.message, performance.now()),
        );
        return this.#disk;
      case 'keepLimits':
        this.#disk = store.saveLimits(effect.limits).catch((error: Error) => {
          log.error(`${error.message}; after a restart, limits of packets that a ceiling hides would be unknown`);
        });
        return this.#disk;
      case 'hook':
        this.#runHook(effect.name, effect.from);
        return;
      case 'wait':
        return setTimer(effect.ms, undefined, { ref: false });
      case 'mark':
        replica.onMark(effect.name);
        return;
      case 'promoted':
        operator.resolve(rounded(effect.report));
        return;
      case 'demoted':
        operator.resolve({ role: 'standby', term: replica.state.term });
        return;
      case 'dismissed':
        operator.resolve({ role: 'active', bound: replica.state.bound.length > 0 });
        return;
      case 'refused':
        log.warn(effect.reason);
        operator.reject(new Error(effect.reason));
        return;
      case 'disconnect':
        links.to(effect.from).disconnect(effect.reason);
        return;
      case 'log':
        log[effect.level](effect.fields ?? {}, effect.text);
        return;
    }
  }

  /** One after the other, and beside everything else: a program that takes its time must not hold up replication. */
  #runHook(name: 'claim' | 'release', from: string | undefined): void {
    const { replica, config, gateway } = this.#things;
    const { term } = replica.state;
    this.#hooks = this.#hooks
      .then(async () => {
        if (name === 'release') gateway?.release();
        const failure = await runHook(config, name, term, from);
        // The addresses are here: the gateway goes on where the other one stopped.
        if (name === 'claim') gateway?.start();
        this.#around.input(() => replica.onHook(name, failure));
      })
      .catch((error) => this.#around.failed(error as Error));
  }

  /** In portions: between two of them the link and the timers get their turn, however many SAs there are. */
  async #write(writes: readonly Write[]): Promise<void> {
    const { replica, kernel } = this.#things;
    for (let i = 0; i < writes.length; i += WRITES_MAX) {
      const portion = writes.slice(i, i + WRITES_MAX);
      const results = await kernel.batch(portion.map(({ request }) => request));
      replica.onWritten(portion, results);
      if (i + WRITES_MAX < writes.length) await setImmediate();
    }
  }

  async #readThresholds(handles: readonly number[]): Promise<void> {
    const { replica, kernel } = this.#things;
    for (const handle of handles) {
      const record = replica.state.sas.byHandle(handle);
      const thresholds = record && (await kernel.readThresholds(record.id));
      if (thresholds === undefined) continue;
      replica.onReadThresholds(handle, thresholds);
      if (++this.#thresholdsRead % WRITES_MAX === 0) await setImmediate();
    }
  }

  async #readCounters(reads: readonly CountersRead[]): Promise<void> {
    const { replica, kernel } = this.#things;
    const results = await kernel.batch(reads.map(({ request }) => request));
    const nowMs = performance.now();
    results.forEach((result, i) => {
      const { handle } = reads[i] as CountersRead;
      replica.onReadCounters(handle, result, nowMs);
      this.#compareThresholds(handle, result);
    });
  }

  /** PF_KEY answers with the thresholds too, and does not tell when somebody sets them. */
  #compareThresholds(handle: number, { reply }: Result): void {
    const thresholds = reply?.kind === 'NEWAE' ? thresholdsOf(reply) : undefined;
    if (thresholds === undefined) return;
    const { replica } = this.#things;
    const known = replica.state.sas.byHandle(handle)?.thresholds;
    if (known !== undefined && (known.packets !== thresholds.packets || known.timerMs !== thresholds.timerMs))
      replica.onReadThresholds(handle, thresholds);
  }
}

function rounded(report: TakeoverReport): object {
  return { ...report, takeoverMs: Math.round(report.takeoverMs * 10) / 10, unseenMs: Math.round(report.unseenMs) };
}
