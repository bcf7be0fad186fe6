import { endianness } from 'node:os';
import { type Batch, type KernelSocket, linuxKernel } from 'xfrmsync';
import { interleave, type Slice } from '../measure.ts';
import { numberOf, PeerProcess } from '../peer-process.ts';
import { type Aim, compared, skipped } from '../report.ts';
import { compilePeer } from '../toolchain.ts';
import type { Row } from './row.ts';

const unit = 'events/s';
const peer = 'C poll + recvmmsg loop (cc -O2)';
const target = 0.7;
const DRAIN: Aim = { name: 'receive/drain', what: 'empty a queue of kernel events', unit, peer, target };
const LIVE: Aim = { name: 'receive/live', what: 'receive kernel events while they are made', unit, peer, target };

const XFRMNLGRP_POLICY = 4;
const NLMSG_HDRLEN = 16;
const LITTLE = endianness() === 'LE';
const MESSAGES_PER_SENDMSG = 64;

const RECEIVE_BUFFER_BYTES = 128 << 20;
/** What a policy event is charged in a receive buffer, and some room; it is about a kilobyte. */
const CHARGED_BYTES_MAX = 1536;
const DRAIN_EVENTS_MAX = 100_000;
const LIVE_EVENTS = 300_000;

/** Counts and sums the messages, as the peer does. */
class Tally {
  messages = 0;
  sum = 0;
  overruns = 0;
  firstNs = 0n;
  lastNs = 0n;

  /** Counts whatever the socket gives from now on. */
  start(socket: KernelSocket, timed: boolean): void {
    socket.onOverrun(() => this.overruns++);
    socket.receive((batch) => {
      if (timed && this.messages === 0) this.firstNs = process.hrtime.bigint();
      this.#walk(batch);
      if (timed) this.lastNs = process.hrtime.bigint();
    });
  }

  #walk({ view, count, offsets, lengths }: Batch): void {
    let messages = 0;
    let sum = this.sum;
    for (let i = 0; i < count; i++) {
      let at = offsets[i] as number;
      const end = at + (lengths[i] as number);
      while (end - at >= NLMSG_HDRLEN) {
        const length = view.getUint32(at, LITTLE);
        if (length < NLMSG_HDRLEN || length > end - at) break;
        sum = (sum + view.getUint32(at + 8, LITTLE) + view.getUint16(at + 4, LITTLE)) >>> 0;
        messages++;
        at += (length + 3) & ~3;
      }
    }
    this.messages += messages;
    this.sum = sum;
  }
}

const open = (): Promise<KernelSocket> =>
  linuxKernel().open({ groups: [XFRMNLGRP_POLICY], receiveBufferBytes: RECEIVE_BUFFER_BYTES });

/** What both sides saw beyond their rates. */
interface Seen {
  lost: number;
  cpuNs: number;
  messages: number;
  generatorRates: number[];
}

const nothingSeen = (): Seen => ({ lost: 0, cpuNs: 0, messages: 0, generatorRates: [] });

class Bench {
  readonly ours = nothingSeen();
  readonly theirs = nothingSeen();
  readonly #generator: PeerProcess;
  readonly #receiver: PeerProcess;
  readonly drainEvents: number;
  #sums = new Map<number, number>();

  constructor(generator: PeerProcess, receiver: PeerProcess, drainEvents: number) {
    this.#generator = generator;
    this.#receiver = receiver;
    this.drainEvents = drainEvents;
  }

  async generate(events: number): Promise<void> {
    const answer = await this.#generator.ask(`policy ${events} ${MESSAGES_PER_SENDMSG}`);
    this.ours.generatorRates.push((events * 1e9) / numberOf(answer, 'ns'));
  }

  async ourDrain(): Promise<Slice> {
    await using socket = await open();
    await this.generate(this.drainEvents);
    const tally = new Tally();
    const start = process.hrtime.bigint();
    tally.start(socket, false);
    socket.drain();
    const ns = Number(process.hrtime.bigint() - start);
    this.#count(this.ours, this.drainEvents, tally.messages, tally.sum, 0);
    return { messages: tally.messages, ns };
  }

  async theirDrain(): Promise<Slice> {
    await this.#receiver.ask(`open ${RECEIVE_BUFFER_BYTES}`);
    await this.generate(this.drainEvents);
    return await this.#theirAnswer(this.#receiver.ask(`drain ${this.drainEvents}`), this.drainEvents);
  }

  async ourLive(): Promise<Slice> {
    await using socket = await open();
    const tally = new Tally();
    const cpu = process.cpuUsage();
    tally.start(socket, true);
    await this.generate(LIVE_EVENTS);
    // The generator has done: what is neither counted nor waiting now is lost.
    socket.drain();
    const { user, system } = process.cpuUsage(cpu);
    this.#count(this.ours, LIVE_EVENTS, tally.messages, tally.sum, user + system);
    return { messages: tally.messages, ns: Number(tally.lastNs - tally.firstNs) };
  }

  async theirLive(): Promise<Slice> {
    await this.#receiver.ask(`open ${RECEIVE_BUFFER_BYTES}`);
    const answer = this.#receiver.ask(`live ${LIVE_EVENTS}`);
    await this.generate(LIVE_EVENTS);
    return await this.#theirAnswer(answer, LIVE_EVENTS);
  }

  async #theirAnswer(asked: ReturnType<PeerProcess['ask']>, events: number): Promise<Slice> {
    const answer = await asked;
    await this.#receiver.ask('close');
    const messages = numberOf(answer, 'messages');
    this.#count(this.theirs, events, messages, numberOf(answer, 'sum'), numberOf(answer, 'cpu_us'));
    return { messages, ns: numberOf(answer, 'ns') };
  }

  /** Whoever lost nothing has the same sum: both did read the messages. */
  #count(seen: Seen, events: number, messages: number, sum: number, cpuUs: number): void {
    seen.lost += events - messages;
    seen.messages += messages;
    seen.cpuNs += cpuUs * 1000;
    if (messages !== events) return;
    const expected = this.#sums.get(events) ?? sum;
    this.#sums.set(events, expected);
    if (sum !== expected) throw new Error(`receive: the sides read different events (${sum}, ${expected})`);
  }

  notes(): string {
    const { ours, theirs } = this;
    const made = Math.round(Math.max(...ours.generatorRates) / 1000);
    const cpu = (seen: Seen): string => `${(seen.cpuNs / seen.messages / 1000).toFixed(2)} us`;
    const times = ours.cpuNs > 0 ? `; processor per event: ${cpu(ours)}, peer ${cpu(theirs)}` : '';
    return `generator at most ${made}k/s; lost ${ours.lost} of ${ours.messages + ours.lost}, peer ${theirs.lost}${times}`;
  }
}

export const receive: Row = {
  name: 'receive',
  aims: [DRAIN, LIVE],
  needsNamespace: true,
  async run(log) {
    const programs = [compilePeer('generator'), compilePeer('receive')] as const;
    const [generatorPeer, receiverPeer] = programs;
    if ('missing' in generatorPeer) return [DRAIN, LIVE].map((aim) => skipped(aim, generatorPeer.missing));
    if ('missing' in receiverPeer) return [DRAIN, LIVE].map((aim) => skipped(aim, receiverPeer.missing));
    await using generator = new PeerProcess('generator', generatorPeer);
    await using receiver = new PeerProcess('receive', receiverPeer);
    const granted = numberOf(await receiver.ask(`open ${RECEIVE_BUFFER_BYTES}`), 'granted');
    await receiver.ask('close');
    const events = Math.min(DRAIN_EVENTS_MAX, 2 * Math.floor(granted / CHARGED_BYTES_MAX / 2));
    const source = `real XFRM policy events, receive buffer ${Math.round(granted / 1024)} KiB`;
    const results = [];
    for (const [aim, method] of [
      [DRAIN, 'Drain'],
      [LIVE, 'Live'],
    ] as const) {
      const bench = new Bench(generator, receiver, events);
      const sides = [
        { name: 'xfrmsync', run: () => bench[`our${method}`]() },
        { name: peer, run: () => bench[`their${method}`]() },
      ];
      const [ours = [], theirs = []] = await interleave(sides, (text) => log(`${aim.name}: ${text}`));
      const size = aim === DRAIN ? events : LIVE_EVENTS;
      const result = compared(aim, ours, theirs, `${source}, ${size} a slice; ${bench.notes()}`);
      results.push({ ...result, met: result.met === true && bench.ours.lost === 0 });
    }
    return results;
  },
};
