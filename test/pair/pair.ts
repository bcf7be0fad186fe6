import { deepStrictEqual, ok } from 'node:assert';
import { type Sa, saIdOf, XfrmClient } from '../../src/client/index.ts';
import type { Status } from '../../src/node/index.ts';
import type { SaOptions } from '../../src/simulator/sas.ts';
import { Cluster } from '../node/daemons.ts';
import { Cable } from './cable.ts';
import { CONNECTIONS, type Direction, policiesOf, saOf, spiOf } from './connections.ts';
import { GATEWAYS, type Gateway, type Host, type Machine, type MakeMachine, type Packet } from './machine.ts';

/**
 * A pair of gateways that runs: two nodes in this process, their kernels and the far end in a machine. It keeps the books that no node can
 * see: every packet that ever left, by whom (S1), and every packet that was accepted (S2).
 */

/** An inbound SA may be as fast as this without having been so lately: a test sends all its packets at once. */
const RATE_FLOOR_PPS = 100_000;
/** No link is lost because the machine is busy; one that is closed is noticed at once. */
const LINK = { ping_ms: 50, timeout_ms: 10_000 };

export interface PairOptions {
  readonly install?: 'immediate' | 'takeover';
  readonly inbound?: 'strict' | 'window';
  readonly receiveBufferBytes?: number;
  /** Other keys of the configuration, by table. */
  readonly more?: Readonly<Record<string, Record<string, unknown>>>;
  /** How many numbers a grant has at least. */
  readonly grantMin?: number;
  /** What the SAs of a connection start with. */
  readonly start?: (n: number, direction: Direction) => SaOptions;
}

export const all = CONNECTIONS.map((_, n) => n);

/** The standby gateway of an active one. */
export const otherOf = (gateway: Gateway): Gateway => (gateway === 'a' ? 'b' : 'a');

export class Pair implements AsyncDisposable {
  readonly machine: Machine;
  readonly cluster: Cluster;
  readonly cable: Cable;
  /** What has left each host. */
  readonly recorded: Record<Host, Packet[]> = { a: [], b: [], peer: [] };
  #install: PairOptions['install'];
  readonly #senders = new Map<string, Gateway>();
  readonly #accepted = new Map<Packet, Gateway>();

  private constructor(machine: Machine, cluster: Cluster, cable: Cable) {
    this.machine = machine;
    this.cluster = cluster;
    this.cable = cable;
  }

  /** Both nodes run, `a` is active and has SAs and policies, `b` is a complete standby. */
  static async make(make: MakeMachine, options: PairOptions = {}): Promise<Pair> {
    const cluster = await Cluster.make();
    const pair = new Pair(await make(CONNECTIONS.length), cluster, await Cable.make(cluster.port));
    try {
      await pair.#begin(options);
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
    return pair;
  }

  async #begin(options: PairOptions): Promise<void> {
    const { install = 'immediate', inbound = 'strict', receiveBufferBytes, grantMin, more = {}, start } = options;
    this.#install = install;
    const kernel = receiveBufferBytes === undefined ? {} : { receive_buffer_bytes: receiveBufferBytes };
    for (const name of GATEWAYS)
      await this.cluster.set(
        name,
        ...[
          'link',
          LINK,
          'replicate',
          { install },
          'takeover',
          { inbound, rate_floor_pps: RATE_FLOOR_PPS, ...(grantMin === undefined ? {} : { grant_min: grantMin }) },
          'kernel',
          kernel,
        ],
      );
    for (const name of GATEWAYS) await this.cluster.set(name, ...Object.entries(more).flat());
    // The one with the later name dials.
    await this.cluster.set('b', 'peer', { address: `127.0.0.1:${this.cable.port}` });
    for (const host of ['a', 'peer'] as const)
      await this.with(host, async (client) => {
        for (const n of all) {
          for (const direction of ['out', 'in'] as const) await client.addSa(saOf(n, direction, start?.(n, direction)));
          for (const policy of policiesOf(n, host)) await client.addPolicy(policy);
        }
      });
    for (const name of GATEWAYS) await this.start(name);
    await this.inStep('b');
  }

  start(name: Gateway): Promise<void> {
    return this.cluster.start(name, this.machine.kernels[name]);
  }

  /** The whole gateway dies: nothing of it is left but the disk. */
  async powerOff(name: Gateway): Promise<void> {
    await this.cluster.stop(name);
    await this.machine.reboot(name);
  }

  async with<T>(host: Host, use: (client: XfrmClient) => Promise<T>): Promise<T> {
    await using client = await XfrmClient.open(this.machine.kernels[host]);
    return await use(client);
  }

  sas(host: Host): Promise<Sa[]> {
    return this.with(host, async (client) => (await client.dumpSas()).sort((x, y) => x.body.id.spi - y.body.id.spi));
  }

  sa(host: Host, n: number, direction: Direction): Promise<Sa | undefined> {
    return this.with(host, (client) => client.getSa(saIdOf(saOf(n, direction))));
  }

  async promote(name: Gateway): Promise<{ kind: string; sas: number; failed: number }> {
    return (await this.cluster.control(name, { command: 'promote' })) as Awaited<ReturnType<Pair['promote']>>;
  }

  // --- packets -------------------------------------------------------------------------------------------------------------

  /** The applications behind a gateway send; no number of an SA may leave twice (S1). */
  async transmit(from: Gateway, n: number, count = 1): Promise<Packet[]> {
    const packets = await this.machine.transmit(from, n, count);
    this.recorded[from].push(...packets);
    for (const { spi, seq } of packets) {
      const mark = `0x${spi.toString(16)}/${seq}`;
      ok(!this.#senders.has(mark), `S1: ${from} sends ${mark}, which ${this.#senders.get(mark)} has sent`);
      this.#senders.set(mark, from);
    }
    return packets;
  }

  /** Packets of the far end arrive at a gateway; none may be accepted twice (S2). */
  async arrive(at: Gateway, packets: readonly Packet[]): Promise<Packet[]> {
    const accepted = await this.machine.arrive(at, packets);
    for (const packet of accepted) {
      const first = this.#accepted.get(packet);
      ok(
        first === undefined,
        `S2: ${at} accepts 0x${packet.spi.toString(16)}/${packet.seq}, which ${first} has accepted`,
      );
      this.#accepted.set(packet, at);
    }
    return accepted;
  }

  /** The far end sends, and it arrives at a gateway; both as packets. */
  async receive(at: Gateway, n: number, count = 1): Promise<{ sent: Packet[]; accepted: Packet[] }> {
    const sent = await this.machine.transmit('peer', n, count);
    this.recorded.peer.push(...sent);
    return { sent, accepted: await this.arrive(at, sent) };
  }

  /** So many datagrams both ways on every connection, and all of them get through. */
  async flow(at: Gateway, count: number): Promise<void> {
    for (const n of all) {
      const packets = await this.transmit(at, n, count);
      deepStrictEqual(packets.length, count, `${CONNECTIONS[n]?.name}: ${at} sends`);
      deepStrictEqual(
        (await this.machine.arrive('peer', packets)).length,
        count,
        `${CONNECTIONS[n]?.name}: peer accepts`,
      );
      const { accepted } = await this.receive(at, n, count);
      deepStrictEqual(accepted.length, count, `${CONNECTIONS[n]?.name}: ${at} accepts`);
    }
  }

  /** Everything that was recorded arrives once more, newest first: at a gateway and at the far end. Nothing of it is accepted. */
  async replay(at: Gateway): Promise<void> {
    deepStrictEqual(await this.arrive(at, this.recorded.peer.toReversed()), [], `replays at ${at}`);
    const outbound = GATEWAYS.flatMap((name) => this.recorded[name]).toReversed();
    deepStrictEqual(await this.machine.arrive('peer', outbound), [], 'replays at the far end');
  }

  // --- what the nodes know -------------------------------------------------------------------------------------------------

  /** Where a node stands with an SA, by its own account. */
  async account(name: Gateway, n: number, direction: Direction): Promise<SaAccount> {
    const { list = [] } = await this.cluster.status(name, true);
    const spi = spiOf(n, direction);
    const found = list.find((one) => Number(one.spi) === spi);
    ok(found, `${name} knows nothing of SPI 0x${spi.toString(16)}`);
    return found;
  }

  /** The standby is complete and its kernel has what it should have; its account is the other's kernel, number for number. */
  async inStep(standby: Gateway): Promise<void> {
    await this.cluster.until(
      standby,
      (s) =>
        s.role === 'standby' &&
        s.complete &&
        s.unseenMs !== null &&
        s.installed === (this.#install === 'immediate' ? s.sas : 0),
    );
    const numbers = async (): Promise<[string, string]> => {
      const { list = [] } = await this.cluster.status(standby, true);
      const known = list.map(({ spi, oseq, seq }) => `${Number(spi)} ${oseq} ${seq}`);
      return [known.sort().join(), (await this.sas(otherOf(standby))).map(numbersOf).sort().join()];
    };
    let seen = await numbers();
    await this.cluster.when(
      async () => {
        seen = await numbers();
        return seen[0] === seen[1];
      },
      () => `${standby} has ${seen[0]} and the active's kernel ${seen[1]}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
    await this.cable[Symbol.asyncDispose]();
    await this.machine[Symbol.asyncDispose]();
  }
}

type SaAccount = NonNullable<Status['list']>[number];

const TWO_32 = 2 ** 32;

/** SPI, outbound and inbound number of an SA. */
function numbersOf({ body, attributes: { replayEsnVal: esn, replayVal: plain } }: Sa): string {
  const oseq = esn ? esn.oseqHi * TWO_32 + esn.oseq : plain?.oseq;
  const seq = esn ? esn.seqHi * TWO_32 + esn.seq : plain?.seq;
  return `${body.id.spi} ${oseq} ${seq}`;
}
