/**
 * The applications of the lab: steady flows with bursts, both ways on every connection. Each datagram says which flow it belongs to and
 * counts up, so that every loss and every second delivery is known for certain, without asking IPsec.
 */
import { close, type Family, hasIpv4Address, receive, send, socketAddress, udpSocket } from './libc.ts';
import { type Connection, type Direction, ENCAP_PORT, MARK, senderPort, TRAFFIC_PORT } from './sas.ts';
import { ADDRESSES, GATEWAYS, type Gateway, tunnelAddress } from './world.ts';

export interface Flow {
  connection: Connection;
  direction: Direction;
  /** When each datagram was sent; its number is the index. */
  sentAtMs: number[];
  /** When each datagram arrived first, by its number; undefined: not (yet). */
  receivedAtMs: (number | undefined)[];
  received: number;
  /** Of the newest datagram that arrived: when it was sent. */
  newestSentMs: number;
  /** Second and later deliveries of a datagram. */
  duplicates: number;
  /** The kernel refused to send: the application knows, so it is no loss. */
  refused: number;
}

export interface TrafficOptions {
  ratePps: number;
  /** Datagrams of a burst, and the time between bursts (on one flow after the other). */
  burst: number;
  burstEveryMs: number;
}

/** Also the resolution of all times: the guest's timer may tick at 100 Hz. */
export const TICK_MS = 10;
const MAGIC = 0x78667273;
const DATAGRAM_BYTES = 64;
const SENDER_PORT = 7001;
const FAMILIES: readonly Family[] = [4, 6];
/** What a flow that has fallen behind may send in one tick; more would be a burst that nobody asked for. */
const CATCH_UP_MAX = 5;

function must(fd: number | undefined, what: string): number {
  if (fd === undefined) throw new Error(`cannot open the ${what} socket: the address is not there`);
  return fd;
}

export class Traffic {
  readonly flows: readonly Flow[];
  readonly #options: TrafficOptions;
  readonly #origin: number;
  readonly #receivers: number[] = [];
  readonly #encapsulation: number[] = [];
  /** Sender sockets of the flows that do not depend on a gateway, by flow number. */
  readonly #fixed = new Map<number, number>();
  readonly #targets: Buffer[];
  /** Per gateway: a socket that is asked for the shared address, and the senders while the gateway has it. */
  readonly #applications = new Map<Gateway, { probe: number; senders: Map<number, number> }>();
  readonly #datagram = Buffer.alloc(DATAGRAM_BYTES);
  readonly #incoming = Buffer.alloc(2048);
  #running = false;
  #dueMs: number[] = [];
  #nextBurstMs = 0;
  #burstFlow = 0;
  #lastArrivalMs = 0;

  constructor(connections: readonly Connection[], options: TrafficOptions) {
    this.#options = options;
    this.#origin = performance.now();
    this.flows = connections.flatMap((connection) =>
      (['out', 'in'] as const).map((direction) => ({
        connection,
        direction,
        sentAtMs: [],
        receivedAtMs: [],
        received: 0,
        newestSentMs: -1,
        duplicates: 0,
        refused: 0,
      })),
    );
    this.#targets = this.flows.map((flow) => this.#target(flow));
    this.#open();
  }

  #target({ connection: { mode, family, n }, direction }: Flow): Buffer {
    const address =
      direction === 'out'
        ? mode === 'tunnel'
          ? tunnelAddress(n, family)
          : ADDRESSES.peer[family]
        : mode === 'tunnel'
          ? ADDRESSES.inside[family]
          : ADDRESSES.shared[family];
    return socketAddress(family, address, TRAFFIC_PORT);
  }

  #open(): void {
    const receiveBufferBytes = 8 << 20;
    for (const family of FAMILIES) {
      for (const namespace of ['peer', 'inside', ...GATEWAYS]) {
        this.#receivers.push(must(udpSocket(namespace, family, '', TRAFFIC_PORT, { receiveBufferBytes }), 'receiving'));
      }
      // An IKE daemon wants the port for itself.
      for (const namespace of this.flows.some(({ connection }) => connection.encap) ? ['peer', ...GATEWAYS] : []) {
        // The kernel takes the ESP out of these; nothing is ever read from them.
        this.#encapsulation.push(
          must(udpSocket(namespace, family, '', ENCAP_PORT, { encapsulation: true }), 'encapsulation'),
        );
      }
      const inside = must(udpSocket('inside', family, ADDRESSES.inside[family], SENDER_PORT), 'inside');
      this.flows.forEach(({ connection, direction }, i) => {
        if (connection.family !== family) return;
        if (direction === 'in') {
          const { mode, n } = connection;
          const [address, port] =
            mode === 'tunnel'
              ? [tunnelAddress(n, family), SENDER_PORT]
              : [ADDRESSES.peer[family], senderPort(connection)];
          this.#fixed.set(i, must(udpSocket('peer', family, address, port), 'peer'));
        } else if (connection.mode === 'tunnel') this.#fixed.set(i, inside);
      });
    }
    for (const gateway of GATEWAYS) this.startApplications(gateway);
  }

  /** Ends all applications. Nothing may be called afterwards. */
  close(): void {
    for (const gateway of GATEWAYS) this.stopApplications(gateway);
    for (const fd of [...this.#receivers, ...this.#encapsulation, ...new Set(this.#fixed.values())]) close(fd);
  }

  nowMs(): number {
    return performance.now() - this.#origin;
  }

  startApplications(gateway: Gateway): void {
    this.#applications.set(gateway, { probe: must(udpSocket(gateway, 4, '', 0), 'probe'), senders: new Map() });
  }

  /** The gateway's applications die with it. */
  stopApplications(gateway: Gateway): void {
    const application = this.#applications.get(gateway);
    if (application === undefined) return;
    for (const fd of application.senders.values()) close(fd);
    close(application.probe);
    this.#applications.delete(gateway);
  }

  /** Whether the gateway holds the shared address, as its applications see it. */
  holds(gateway: Gateway): boolean {
    const application = this.#applications.get(gateway);
    return application !== undefined && hasIpv4Address(application.probe, ADDRESSES.shared[4]);
  }

  start(): void {
    const now = this.nowMs();
    const intervalMs = 1000 / this.#options.ratePps;
    this.#dueMs = this.flows.map((_, i) => now + (i / this.flows.length) * intervalMs);
    this.#nextBurstMs = now + this.#options.burstEveryMs;
    this.#running = true;
  }

  stop(): void {
    this.#running = false;
  }

  /** Time since anything arrived. */
  quietMs(): number {
    return this.nowMs() - this.#lastArrivalMs;
  }

  /** Receives what waits and sends what is due. */
  tick(): void {
    this.#receive();
    this.#followAddress();
    if (!this.#running) return;
    const now = this.nowMs();
    const intervalMs = 1000 / this.#options.ratePps;
    this.flows.forEach((_, i) => {
      let sent = 0;
      while ((this.#dueMs[i] ?? now) <= now && sent < CATCH_UP_MAX) {
        this.#send(i, now);
        this.#dueMs[i] = (this.#dueMs[i] ?? now) + intervalMs;
        sent += 1;
      }
      if ((this.#dueMs[i] ?? now) < now) this.#dueMs[i] = now + intervalMs;
    });
    if (now >= this.#nextBurstMs) {
      for (let i = 0; i < this.#options.burst; i++) this.#send(this.#burstFlow, now);
      this.#burstFlow = (this.#burstFlow + 1) % this.flows.length;
      this.#nextBurstMs = now + this.#options.burstEveryMs;
    }
  }

  /** Sends on some flows beyond their rate, now. */
  push(flows: readonly Flow[], datagrams: number): void {
    const now = this.nowMs();
    for (const flow of flows) {
      const i = this.flows.indexOf(flow);
      for (let n = 0; n < datagrams; n++) this.#send(i, now);
    }
  }

  /** Applications on a gateway send from the shared address while it is there; a service that follows its address does the same. */
  #followAddress(): void {
    for (const [gateway, { senders }] of this.#applications) {
      const here = this.holds(gateway);
      if (!here) {
        for (const fd of senders.values()) close(fd);
        senders.clear();
        continue;
      }
      this.flows.forEach(({ connection, direction }, i) => {
        if (connection.mode !== 'transport' || direction !== 'out' || senders.has(i)) return;
        const options = connection.mark ? { mark: MARK.value } : {};
        const { family } = connection;
        const fd = udpSocket(gateway, family, ADDRESSES.shared[family], senderPort(connection), options);
        if (fd !== undefined) senders.set(i, fd);
      });
    }
  }

  /** Where both gateways have the shared address, the applications on both send. */
  #sendersOf(i: number): number[] {
    const fixed = this.#fixed.get(i);
    if (fixed !== undefined) return [fixed];
    return [...this.#applications.values()].flatMap(({ senders }) => senders.get(i) ?? []);
  }

  #send(i: number, now: number): void {
    const flow = this.flows[i] as Flow;
    for (const fd of this.#sendersOf(i)) {
      this.#datagram.writeUInt32BE(MAGIC, 0);
      this.#datagram.writeUInt32BE(i, 4);
      this.#datagram.writeUInt32BE(flow.sentAtMs.length, 8);
      if (send(fd, this.#datagram, DATAGRAM_BYTES, this.#targets[i] as Buffer) < 0) flow.refused += 1;
      else flow.sentAtMs.push(now);
    }
  }

  #receive(): void {
    const now = this.nowMs();
    for (const fd of this.#receivers) {
      for (let bytes = receive(fd, this.#incoming); bytes >= 0; bytes = receive(fd, this.#incoming)) {
        if (bytes !== DATAGRAM_BYTES || this.#incoming.readUInt32BE(0) !== MAGIC) continue;
        const flow = this.flows[this.#incoming.readUInt32BE(4)];
        if (flow === undefined) continue;
        const number = this.#incoming.readUInt32BE(8);
        this.#lastArrivalMs = now;
        if (flow.receivedAtMs[number] === undefined) {
          flow.receivedAtMs[number] = now;
          flow.received += 1;
          flow.newestSentMs = Math.max(flow.newestSentMs, flow.sentAtMs[number] ?? 0);
        } else flow.duplicates += 1;
      }
    }
  }
}
