import { release } from 'node:os';
import { XfrmClient } from '../../src/client/index.ts';
import { type Kernel, linuxKernel } from '../../src/kernel/index.ts';
import { parseEsp, readdressed } from '../lab/frames.ts';
import { close, packetDrops, packetSocket, readProcNet, receive, send, socketAddress, udpSocket } from '../lab/libc.ts';
import { parseXfrmStat } from '../lab/state-text.ts';
import { ipBatch } from '../lab/world.ts';
import { ADDRESSES, type Gateway, HOSTS, type Host, type Machine, type Packet, PORT } from './machine.ts';

/**
 * Network namespaces of one Linux, as root of a guest: `a`, `b` and `peer`, each with a cable to `wire`, which forwards nothing. Packet
 * sockets at the ends of the cables there record what comes out of a host, and put frames in.
 */

const MACS: Readonly<Record<Host, string>> = {
  a: '02:00:00:00:00:0a',
  b: '02:00:00:00:00:0b',
  peer: '02:00:00:00:00:02',
};
const WAIT_MS = 60_000;
const FRAME_BYTES_MAX = 2048;
const RECEIVE_BUFFER_BYTES = 4 << 20;
const PAYLOAD_BYTES = 56;

/** An ESP packet with its frame, and the datagram in it. */
interface Sent extends Packet {
  readonly frame: Buffer;
  readonly datagram: number;
}

/** Of one host: its applications' sockets, and the two at the other end of its cable. */
interface Ends {
  readonly applications: readonly number[];
  readonly ear: number;
  readonly mouth: number;
}

const farOf = (host: Host): Host => (host === 'peer' ? 'a' : 'peer');
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function built(connections: number): Record<Host, Ends> {
  ipBatch(
    undefined,
    ['wire', ...HOSTS].map((name) => `netns add ${name}`),
  );
  ipBatch(
    undefined,
    HOSTS.map((host) => `link add to-${host} netns wire type veth peer name out0 netns ${host}`),
  );
  ipBatch(
    'wire',
    HOSTS.map((host) => `link set to-${host} up`),
  );
  for (const host of HOSTS)
    ipBatch(host, [
      'link set lo up',
      `link set out0 address ${MACS[host]} up`,
      `addr add ${ADDRESSES[host]}/24 dev out0`,
      `neigh add ${ADDRESSES[farOf(host)]} lladdr ${MACS[farOf(host)]} dev out0 nud permanent`,
    ]);
  const must = (fd: number | undefined): number => {
    if (fd === undefined) throw new Error('an address of the machine is not there');
    return fd;
  };
  const ends = (host: Host): Ends => ({
    applications: Array.from({ length: connections }, (_, n) =>
      must(udpSocket(host, 4, ADDRESSES[host], PORT + n, { receiveBufferBytes: RECEIVE_BUFFER_BYTES })),
    ),
    ear: packetSocket('wire', `to-${host}`, true),
    mouth: packetSocket('wire', `to-${host}`, false),
  });
  return { a: ends('a'), b: ends('b'), peer: ends('peer') };
}

/** Packets that a host's XFRM has dropped so far. */
function dropped(host: Host, direction: 'XfrmIn' | 'XfrmOut'): number {
  const counters = Object.entries(parseXfrmStat(readProcNet(host, 'xfrm_stat')));
  return counters.reduce((sum, [name, count]) => sum + (name.startsWith(direction) ? count : 0), 0);
}

export class LinuxMachine implements Machine {
  readonly name = `Linux ${release()}`;
  readonly kernels: Readonly<Record<Host, Kernel>>;
  readonly #ends: Record<Host, Ends>;
  readonly #buffer = Buffer.alloc(FRAME_BYTES_MAX);
  #datagrams = 0;

  constructor(connections: number) {
    this.#ends = built(connections);
    const kernel = (host: Host) => linuxKernel({ namespace: `/run/netns/${host}` });
    this.kernels = { a: kernel('a'), b: kernel('b'), peer: kernel('peer') };
  }

  async transmit(host: Host, connection: number, count: number): Promise<Packet[]> {
    const { applications, ear } = this.#ends[host];
    this.#read(ear);
    const before = dropped(host, 'XfrmOut');
    const to = socketAddress(4, ADDRESSES[farOf(host)], PORT + connection);
    const payload = Buffer.alloc(PAYLOAD_BYTES);
    const first = this.#datagrams;
    for (let i = 0; i < count; i++) {
      payload.writeUInt32BE(this.#datagrams++);
      send(applications[connection] as number, payload, payload.length, to);
    }
    // Every datagram is on the wire, or counted.
    const frames: Buffer[] = [];
    await this.#until(
      `${count} datagrams of ${host}`,
      () => frames.push(...this.#read(ear).filter(isIpv4)) + dropped(host, 'XfrmOut') - before === count,
    );
    if (packetDrops(ear) > 0) throw new Error('the wire has lost frames');
    // In order; a host that drops one of a run drops those after it, too.
    return frames.flatMap((frame, i): Sent[] => {
      const esp = parseEsp(frame);
      return esp === undefined ? [] : [{ from: host, spi: esp.spi, seq: esp.seq, frame, datagram: first + i }];
    });
  }

  async arrive(host: Host, packets: readonly Packet[]): Promise<Packet[]> {
    const { applications, mouth } = this.#ends[host];
    const before = dropped(host, 'XfrmIn');
    for (const packet of packets) {
      const frame = readdressed((packet as Sent).frame, MACS[host]);
      while (send(mouth, frame, frame.length, null) < 0) await turn();
    }
    // Every packet is with its application, or counted.
    const received: number[] = [];
    await this.#until(`${packets.length} packets at ${host}`, () => {
      for (const fd of applications) for (const datagram of this.#read(fd)) received.push(datagram.readUInt32BE(0));
      return received.length + dropped(host, 'XfrmIn') - before === packets.length;
    });
    return packets.filter((packet) => {
      const at = received.indexOf((packet as Sent).datagram);
      if (at >= 0) received.splice(at, 1);
      return at >= 0;
    });
  }

  async reboot(gateway: Gateway): Promise<void> {
    await using client = await XfrmClient.open(this.kernels[gateway]);
    await client.flushPolicies();
    await client.flushSas();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { applications, ear, mouth } of Object.values(this.#ends))
      for (const fd of [...applications, ear, mouth]) close(fd);
    ipBatch(
      undefined,
      ['wire', ...HOSTS].map((name) => `netns delete ${name}`),
    );
  }

  #read(fd: number): Buffer[] {
    const all: Buffer[] = [];
    for (let bytes = receive(fd, this.#buffer); bytes >= 0; bytes = receive(fd, this.#buffer))
      all.push(Buffer.from(this.#buffer.subarray(0, bytes)));
    return all;
  }

  async #until(what: string, done: () => boolean): Promise<void> {
    const deadline = performance.now() + WAIT_MS;
    while (!done()) {
      if (performance.now() > deadline) throw new Error(`${what}: not all are accounted for after ${WAIT_MS} ms`);
      await turn();
    }
  }
}

const ETHERTYPE_IPV4 = 0x0800;
const isIpv4 = (frame: Buffer): boolean => frame.readUInt16BE(12) === ETHERTYPE_IPV4;
