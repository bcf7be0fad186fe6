import type { EmulatedSocket } from '../kernel/emulated/index.ts';
import type { Batch } from '../kernel/index.ts';
import { forEachMessage, hostLittleEndian } from '../netlink/index.ts';
import {
  type Effect,
  type Frame,
  joined,
  Replica,
  type ReplicaSettings,
  type TakeoverReport,
  termAfter,
  type Write,
} from '../replica/index.ts';
import { AeventCursor, decodeMessage, XfrmMsg } from '../xfrm/index.ts';
import type { Disk } from './disk.ts';
import type { Random } from './random.ts';
import type { Schedule } from './schedule.ts';
import type { SteppedKernel } from './stepped-kernel.ts';
import type { Wire, WireEnd } from './wire.ts';

/** Times of a daemon, in milliseconds; as in its configuration. */
export interface DaemonTimes {
  readonly pingMs: number;
  readonly timeoutMs: number;
  readonly flushMs: number;
  readonly applyMs: number;
  readonly handoverTimeoutMs: number;
}

/** The machine that a daemon runs on, and who watches it. */
export interface Surroundings {
  readonly schedule: Schedule;
  readonly random: Random;
  readonly kernel: SteppedKernel;
  readonly disk: Disk;
  /** To each other node. */
  readonly wires: ReadonlyMap<string, Wire>;
  readonly bootId: number;
  /** The machine's time of day. */
  readonly realtimeMs: () => number;
  readonly times: DaemonTimes;
  /** Starts the hook; `done` once it has ended. */
  runHook(name: 'claim' | 'release', done: (failure: string | undefined) => void): void;
  readonly watch: Watch;
}

/** Who looks on: the checks, the faults that wait for their moment, and the story. */
export interface Watch {
  /** False: the daemon dies instead. */
  beforeEffect(effect: Effect): boolean;
  /** False: the event is lost without a word. */
  beforeAevent(cursor: AeventCursor): boolean;
  onWrites(writes: readonly Write[]): void;
  onSend(to: readonly string[], frame: Frame): void;
  /** Before a frame is taken in; what it returns is called after that. */
  onFrame(from: string, frame: Frame): () => void;
  onSaid(text: string): void;
  onAnswer(answer: Answer): void;
}

export type Answer =
  | { readonly promoted: TakeoverReport }
  | { readonly refused: string }
  | { readonly demoted: true }
  | { readonly dismissed: true };

/** Requests to the kernel between two turns of the event loop. A node has more; a crash can come between any two turns. */
const WRITES_MAX = 4;
/** Frames of a whole account between two turns. */
const STREAM_MAX = 4;

/**
 * A daemon on virtual things: what `node/node.ts` does on real ones, in the same order, with the same replica. Whatever takes time there
 * takes time here, and inputs come in between.
 */
export class Daemon implements WireEnd {
  readonly name: string;
  readonly replica: Replica;
  alive = true;
  started = false;
  /** When it began, or was let go on. */
  wokeMs = 0;
  /** Stopped by SIGSTOP, or swapped out: what comes waits. */
  #paused = false;
  #deferred: (() => void)[] = [];
  readonly #around: Surroundings;
  readonly #startedMs: number;
  readonly #cursor = new AeventCursor();
  readonly #events: EmulatedSocket;
  #queue: Effect[] = [];
  #pumping = false;
  #flushing = false;
  readonly #heardMs = new Map<string, number>();
  #streams: { readonly to: string; readonly frames: Iterator<Frame> }[] = [];
  #hooks: ('claim' | 'release')[] = [];
  #hookRuns = false;
  /** Force, if the operator waits for an answer. */
  #operator: { readonly force: boolean } | undefined;

  constructor(around: Surroundings, settings: ReplicaSettings, first: 'active' | 'standby') {
    this.#around = around;
    this.name = settings.node;
    this.replica = new Replica(settings);
    const { schedule, kernel, disk, bootId } = around;
    this.#startedMs = schedule.nowMs;
    this.#events = kernel.listen();
    this.#events.onOverrun(() => this.#input(() => this.replica.onOverrun()));
    const saved = disk.stored;
    const fresh = { term: first === 'active' ? termAfter(0, settings) : 0, role: first, bootId };
    const start =
      saved === undefined
        ? fresh
        : saved.bootId === bootId
          ? saved
          : { term: saved.term, promised: saved.promised ?? 0, role: 'standby' as const, bootId };
    const go = (): void => {
      this.replica.start(start, disk.limits.bootId === bootId ? disk.limits.of : [], ++disk.lives);
      this.#pump();
    };
    if (saved === undefined || saved.role !== start.role)
      disk.write(start, (failure) => {
        if (failure === undefined) this.run(go);
        else this.die();
      });
    else this.#after(1, go);
  }

  get state() {
    return this.replica.state;
  }

  /** Of this process: it begins with it. */
  get nowMs(): number {
    return this.#around.schedule.nowMs - this.#startedMs;
  }

  get listens(): boolean {
    return this.alive && this.started && !this.#paused;
  }

  /** Nothing is being carried out. */
  get idle(): boolean {
    return this.started && !this.#paused && !this.#pumping && this.#hooks.length === 0 && this.#streams.length === 0;
  }

  /** An answer to promote or demote is awaited. */
  get asked(): boolean {
    return this.#operator !== undefined;
  }

  /** The promotion under way was asked for with force. */
  get force(): boolean {
    return this.#operator?.force === true;
  }

  die(withMachine = false): void {
    if (!this.alive) return;
    this.alive = false;
    this.started = false;
    this.#events.close();
    this.#around.disk.crash();
    for (const wire of this.#around.wires.values()) wire.vanish(this, withMachine);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.wokeMs = this.nowMs;
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const happen of deferred) this.run(happen);
  }

  // --- inputs ---------------------------------------------------------------------------------------------------------

  promote(force: boolean): void {
    this.#ask(force, () => this.replica.promote(this.nowMs, { force }));
  }

  demote(force: boolean): void {
    this.#ask(force, () => this.replica.demote({ force }));
  }

  resync(): void {
    this.#input(() => this.replica.resync());
  }

  #ask(force: boolean, happen: () => void): void {
    this.run(() => {
      if (!this.started || this.#operator !== undefined) {
        this.#around.watch.onAnswer({ refused: 'another promote or demote is under way' });
        return;
      }
      const operator = { force };
      this.#operator = operator;
      const { handoverTimeoutMs: ms } = this.#around.times;
      this.#after(ms, () => {
        if (this.#operator === operator)
          this.#input(() => this.replica.abandonHandover(`nothing happened within ${ms} ms`));
      });
      this.#input(happen);
    });
  }

  onConnected(peer: string): void {
    this.run(() => {
      this.#heardMs.set(peer, this.nowMs);
      this.#input(() => this.replica.onConnected(peer));
    });
  }

  onDisconnected(peer: string, reason: string): void {
    this.run(() => {
      this.#around.watch.onSaid(`the link to ${peer} is down: ${reason}`);
      this.#input(() => this.replica.onDisconnected(peer));
    });
  }

  onFrame(peer: string, frame: Frame): void {
    this.run(() => {
      this.#heardMs.set(peer, this.nowMs);
      const look = this.#around.watch.onFrame(peer, frame);
      this.#input(() => this.replica.onFrame(peer, frame, this.nowMs), look);
    });
  }

  /** In this process: not when it has ended, and when it is stopped, later. */
  run(happen: () => void): void {
    if (!this.alive) return;
    if (this.#paused) this.#deferred.push(happen);
    else happen();
  }

  #after(ms: number, happen: () => void): void {
    this.#around.schedule.after(ms, () => this.run(happen));
  }

  #input(happen: () => void, then: () => void = () => {}): void {
    if (!this.alive) return;
    happen();
    then();
    this.#scheduleFlush();
    this.#pump();
  }

  #onEvents({ buffer, view, count, offsets, lengths }: Batch): void {
    const { kernel, watch } = this.#around;
    kernel.makeRoom();
    this.#input(() => {
      const each = (at: number, length: number): void => {
        if (view.getUint16(at + 4, hostLittleEndian) !== XfrmMsg.NEWAE) {
          this.replica.onKernelMessage(decodeMessage(buffer.slice(at, at + length)), this.nowMs);
          return;
        }
        const look = this.#cursor.reset(buffer, at, at + length);
        if (!look.next() || !watch.beforeAevent(look)) return;
        this.replica.onAevents(this.#cursor.reset(buffer, at, at + length), this.nowMs);
      };
      for (let i = 0; i < count; i++) {
        const from = offsets[i] as number;
        forEachMessage(buffer, each, from, from + (lengths[i] as number));
      }
    });
  }

  #tick(): void {
    const { times, wires } = this.#around;
    this.#after(times.pingMs, () => this.#tick());
    this.replica.setTimeOfDay(this.#around.realtimeMs() - this.nowMs);
    for (const [peer, wire] of wires) {
      if (wire.isConnected(this) && this.nowMs - (this.#heardMs.get(peer) ?? 0) > times.timeoutMs)
        wire.disconnect(this, `nothing came for ${times.timeoutMs} ms`);
      if (this.#pumping) this.#send([peer], this.replica.ping(peer, this.nowMs));
    }
    if (!this.#pumping) this.#input(() => this.replica.tick(this.nowMs));
  }

  #scheduleFlush(): void {
    if (this.#flushing || this.#pumping || !this.replica.hasDirty) return;
    const { flushMs, applyMs } = this.#around.times;
    this.#flushing = true;
    this.#after(this.state.role === 'active' ? flushMs : applyMs, () => {
      this.#flushing = false;
      if (!this.#pumping) this.#input(() => this.replica.flush());
    });
  }

  // --- effects --------------------------------------------------------------------------------------------------------

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    this.#next();
  }

  #next(): void {
    while (this.alive) {
      if (this.#queue.length === 0) this.#queue = joined(this.replica.take());
      const effect = this.#queue.shift();
      if (effect === undefined) break;
      if (!this.#around.watch.beforeEffect(effect)) return;
      if (this.#perform(effect)) return; // it goes on by itself
    }
    this.#pumping = false;
    if (!this.alive) return;
    if (!this.started) this.#begin();
    this.#scheduleFlush();
  }

  #begin(): void {
    this.started = true;
    this.#events.receive((batch) => this.#onEvents(batch));
    this.#after(this.#around.times.pingMs, () => this.#tick());
  }

  #latencyMs(): number {
    return this.#around.random.between(1, 40) / 16;
  }

  #send(to: readonly string[], frame: Frame): void {
    const { wires, watch } = this.#around;
    const there = to.filter((peer) => wires.get(peer)?.isConnected(this));
    if (there.length === 0) return;
    watch.onSend(there, frame);
    for (const peer of there) wires.get(peer)?.send(this, frame);
  }

  /** True: it takes time, and `#next` is called after that. */
  #perform(effect: Effect): boolean {
    const { replica } = this;
    const { kernel, watch, wires, disk, bootId } = this.#around;
    switch (effect.type) {
      case 'send':
        this.#send(effect.to, effect.frame);
        return false;
      case 'stream':
        this.#streams.push({ to: effect.to, frames: effect.frames[Symbol.iterator]() });
        if (this.#streams.length === 1) this.#stream();
        return false;
      case 'pong':
        this.#events.drain();
        replica.answerPing(effect.to, effect.timeMs);
        return false;
      case 'write':
        this.#write(effect.writes);
        return true;
      case 'read':
        // The kernel is read at some moment between the question and the answer.
        this.#after(this.#latencyMs(), () => {
          const reading = kernel.dump();
          this.#goOn(() => replica.onRead(effect.purpose, reading, this.nowMs));
        });
        return true;
      case 'readSa': {
        const { reply } = kernel.execute(effect.request);
        this.#goOn(() => replica.onReadSa(effect.handle, reply?.kind === 'NEWSA' ? reply : undefined, this.nowMs));
        return true;
      }
      case 'readThresholds':
        this.#readThresholds([...effect.handles]);
        return true;
      case 'readCounters': {
        const results = effect.reads.map(({ request }) => kernel.execute(request));
        this.#goOn(() => {
          for (const [i, result] of results.entries())
            replica.onReadCounters(effect.reads[i]?.handle ?? 0, result, this.nowMs);
        });
        return true;
      }
      case 'persist':
        disk.write({ ...effect.durable, bootId }, (failure) =>
          this.run(() => {
            if (failure === undefined) replica.onPersisted(effect.durable, this.nowMs);
            else replica.onPersistFailed(failure, this.nowMs);
            this.#next();
          }),
        );
        return true;
      case 'keepLimits':
        // On the disk as soon as it is asked for: what a crash would lose of it is not modelled.
        disk.limits = { bootId, of: effect.limits };
        return false;
      case 'hook':
        this.#hooks.push(effect.name);
        this.#runHook();
        return false;
      case 'wait':
        this.#after(effect.ms, () => this.#next());
        return true;
      case 'mark':
        replica.onMark(effect.name);
        return false;
      case 'promoted':
        this.#answer({ promoted: effect.report });
        return false;
      case 'demoted':
        this.#answer({ demoted: true });
        return false;
      case 'dismissed':
        this.#answer({ dismissed: true });
        return false;
      case 'refused':
        this.#answer({ refused: effect.reason });
        return false;
      case 'disconnect':
        wires.get(effect.from)?.disconnect(this, effect.reason);
        return false;
      case 'log':
        watch.onSaid(effect.fields === undefined ? effect.text : `${effect.text} ${JSON.stringify(effect.fields)}`);
        return false;
    }
  }

  #answer(answer: Answer): void {
    this.#operator = undefined;
    this.#around.watch.onAnswer(answer);
  }

  #goOn(happen: () => void): void {
    this.#after(this.#latencyMs(), () => {
      happen();
      this.#next();
    });
  }

  #write(writes: readonly Write[]): void {
    const { kernel, watch } = this.#around;
    const most = this.#around.random.between(1, WRITES_MAX);
    // What belongs together is in one send.
    const size = writes[most - 1]?.purpose.op === 'install' ? most + 1 : most;
    const portion = writes.slice(0, size);
    const rest = writes.slice(size);
    const results = portion.map(({ request }) => kernel.execute(request));
    watch.onWrites(portion);
    this.#after(this.#latencyMs(), () => {
      this.replica.onWritten(portion, results);
      if (rest.length > 0) this.#write(rest);
      else this.#next();
    });
  }

  #readThresholds(handles: readonly number[]): void {
    const [handle, ...rest] = handles;
    const record = handle === undefined ? undefined : this.state.sas.byHandle(handle);
    const thresholds = record && this.#around.kernel.thresholds(record.id);
    this.#after(this.#latencyMs(), () => {
      if (handle !== undefined && thresholds) this.replica.onReadThresholds(handle, thresholds);
      if (rest.length > 0) this.#readThresholds(rest);
      else this.#next();
    });
  }

  #stream(): void {
    this.#after(this.#latencyMs(), () => {
      const [stream] = this.#streams;
      for (let i = 0; i < STREAM_MAX && stream !== undefined; i++) {
        const { value, done } = stream.frames.next();
        if (done) {
          this.#streams.shift();
          break;
        }
        this.#send([stream.to], value);
      }
      if (this.#streams.length > 0) this.#stream();
    });
  }

  /** One after the other, and beside everything else. */
  #runHook(): void {
    const [name] = this.#hooks;
    if (name === undefined || this.#hookRuns) return;
    this.#hookRuns = true;
    this.#around.runHook(name, (failure) =>
      this.run(() => {
        this.#hooks.shift();
        this.#hookRuns = false;
        this.#input(() => this.replica.onHook(name, failure));
        this.#runHook();
      }),
    );
  }
}
