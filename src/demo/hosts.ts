/** The hosts behind the gateways and behind the peer: they send each other packets through the tunnels and count what arrives. */
import { nowMs } from './clock.ts';
import type { Connection, Direction } from './connections.ts';
import { type Flow, makeFlows, noteArrival, noteSent, schedule } from './flows.ts';
import { readTag } from './packet.ts';
import type { Random } from './random.ts';
import { openUdp, type UdpSocket } from './sockets.ts';
import { type Gateway, Switch } from './switch.ts';

/** The inside ports of the gateways and the peer. */
export interface InsideEnds {
  readonly gwa: number;
  readonly gwb: number;
  readonly peer: number;
}

export interface HostsOptions {
  readonly connections: readonly Connection[];
  /** Of all flows together. */
  readonly ratePps: number;
  readonly random: Random;
}

const TICK_MS = 10;
/** In one tick; what is beyond waits for the next one, so that no socket buffer overflows after a late timer. */
const TICK_FACTOR = 3;
const TICK_PACKETS_MIN = 12;
/** What flows that are to be pushed send beside their own rate, all together, in one tick. */
const PUSH_PACKETS = 20;

export class Hosts {
  readonly flows: readonly Flow[];
  readonly sent: Record<Direction, number> = { out: 0, in: 0 };
  readonly received: Record<Direction, number> = { out: 0, in: 0 };
  readonly duplicates: Record<Direction, number> = { out: 0, in: 0 };
  readonly late: Record<Direction, number> = { out: 0, in: 0 };
  /** When anything arrived first or again. */
  lastArrivalMs = 0;
  readonly #options: HostsOptions;
  readonly #behindGateways: UdpSocket;
  readonly #behindPeer: UdpSocket;
  readonly #switch = new Switch();
  #ends: InsideEnds | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running = false;
  #givenUpMs = 0;
  #next = 0;
  #push: (() => readonly Flow[]) | undefined;
  #pushed = 0;

  private constructor(options: HostsOptions, behindGateways: UdpSocket, behindPeer: UdpSocket) {
    this.#options = options;
    this.#behindGateways = behindGateways;
    this.#behindPeer = behindPeer;
    this.flows = makeFlows(options.connections, options.ratePps, options.random);
  }

  static async open(options: HostsOptions): Promise<Hosts> {
    const behindGateways = await openUdp((packet, port) => hosts.#fromGateway(packet, port));
    const behindPeer = await openUdp((packet, port) => hosts.#fromPeer(packet, port));
    const hosts = new Hosts(options, behindGateways, behindPeer);
    return hosts;
  }

  /** Where gateways and peer send what they have unprotected. */
  ports(): { forGateways: number; forPeer: number } {
    return { forGateways: this.#behindGateways.port, forPeer: this.#behindPeer.port };
  }

  wire(ends: InsideEnds): void {
    this.#ends = ends;
  }

  get holder(): Gateway | undefined {
    return this.#switch.holder;
  }

  get holderSinceMs(): number {
    return this.#switch.sinceMs;
  }

  start(): void {
    if (this.#running) return;
    schedule(this.flows, nowMs(), this.#options.random);
    this.#running = true;
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
  }

  stop(): void {
    this.#running = false;
    this.#push = undefined;
  }

  /** From now on what was sent before `ms` and has not arrived is lost, whatever comes. */
  giveUp(ms: number): void {
    this.#givenUpMs = ms;
  }

  /** Sends faster on the flows that `which` names at the moment, until it names none. */
  push(which: () => readonly Flow[]): void {
    this.#push = which;
  }

  get pushing(): boolean {
    return this.#push !== undefined;
  }

  /** Packets that pushing has added. */
  get pushed(): number {
    return this.#pushed;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#behindGateways.close();
    this.#behindPeer.close();
  }

  #tick(): void {
    if (!this.#running) return;
    const { flows } = this;
    const { ratePps } = this.#options;
    const now = nowMs();
    let left = Math.max(TICK_PACKETS_MIN, Math.ceil((TICK_FACTOR * ratePps * TICK_MS) / 1000));
    // Starts where the last tick stopped: no flow is behind the others for ever.
    for (let looked = 0; looked < flows.length && left > 0; looked++) {
      const flow = flows[this.#next] as Flow;
      this.#next = (this.#next + 1) % flows.length;
      if (flow.dueMs > now) continue;
      for (let i = 0; i < flow.burst; i++) this.#send(flow, now);
      left -= flow.burst;
      flow.dueMs = Math.max(flow.dueMs + flow.everyMs, now);
    }
    const pushed = this.#push?.();
    if (pushed === undefined) return;
    if (pushed.length === 0) this.#push = undefined;
    for (let i = 0; i < Math.min(PUSH_PACKETS, pushed.length); i++) {
      this.#send(pushed[this.#pushed % pushed.length] as Flow, now);
      this.#pushed += 1;
    }
  }

  #send(flow: Flow, now: number): void {
    const packet = flow.packet(noteSent(flow, now));
    this.sent[flow.direction] += 1;
    if (flow.direction === 'out') {
      const { holder } = this.#switch;
      if (holder !== undefined) this.#behindGateways.send(packet, this.#ends?.[holder] ?? 0);
    } else this.#behindPeer.send(packet, this.#ends?.peer ?? 0);
  }

  #fromGateway(packet: Buffer, port: number): void {
    const from = port === this.#ends?.gwa ? 'gwa' : port === this.#ends?.gwb ? 'gwb' : undefined;
    if (from === undefined) return;
    this.#switch.heard(from);
    this.#arrived(packet, 'in');
  }

  #fromPeer(packet: Buffer, port: number): void {
    if (port === this.#ends?.peer) this.#arrived(packet, 'out');
  }

  #arrived(packet: Buffer, direction: Direction): void {
    const tag = readTag(packet);
    const flow = tag && this.flows[tag.flow];
    if (flow === undefined || flow.direction !== direction) return;
    const now = nowMs();
    switch (noteArrival(flow, tag?.number ?? -1, now, this.#givenUpMs)) {
      case 'first':
        this.received[direction] += 1;
        break;
      case 'late':
        this.late[direction] += 1;
        break;
      case 'again':
        this.duplicates[direction] += 1;
        break;
      case 'unknown':
        return;
    }
    this.lastArrivalMs = now;
  }
}
