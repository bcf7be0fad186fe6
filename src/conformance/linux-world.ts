import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { KernelError } from '../kernel/index.ts';
import { abi, type LinuxSystem, type ProcessorHold } from '../kernel/linux/index.ts';
import { hostLittleEndian, NLMSG_HDRLEN } from '../netlink/index.ts';
import { addressBytes, checked, linkAddress, netlinkAddress, type SocketSpec, udpSocket } from './linux-sockets.ts';
import { type LinkEnd, linkUp, newAddress, newVeth } from './rtnetlink.ts';
import type { Scenario } from './scenario.ts';
import type { Counters } from './target.ts';
import { isMarker, marker } from './wire.ts';

/** The network namespaces that a scenario starts in, on the machine's own kernel. */

export type NamespaceName = 'a' | 'b';

/** A namespace of a scenario. */
export interface Place {
  readonly namespace: number;
  /** Descriptors of files that show this namespace's counters. */
  readonly counters: { readonly xfrm: number; readonly snmp: number; readonly snmp6: number };
  /** In the world `pair`: a packet socket on this end of the link, which gets what comes in there. */
  link: number | undefined;
}

const LOOPBACK = 1;
/** The link comes right behind the loopback; selectors of ACQUIRE name it by this number. */
const LINK = 2;
export const LINK_MAC = Uint8Array.of(2, 0, 0, 0, 0, 9);
const end: LinkEnd = { name: 'v0', index: LINK, mac: LINK_MAC };
const ADDRESSES: Readonly<Record<NamespaceName, readonly (readonly [string, number])[]>> = {
  a: [
    ['10.9.0.1', 24],
    ['fd09::1', 64],
  ],
  b: [
    ['10.9.0.2', 24],
    ['fd09::2', 64],
  ],
};
const SINK_PORT = 9;

/** Nothing but what a scenario asks for may travel on the link: no look for routers, no addresses that nobody gave. */
const QUIET_SYSCTLS = {
  'net.ipv6.conf.default.accept_ra': '0',
  'net.ipv6.conf.default.addr_gen_mode': '1',
} as const;

const PACKET_BUFFER_BYTES = 32 << 20;
const COUNTERS_BYTES_MAX = 64 << 10;
/** How long a marker may take across the link; microseconds, unless the machine is suspended. */
const MARKER_TIMEOUT_MS = 10_000;

const LINK_POLL_MS = 1;

const EEXIST = 17;
const EBUSY = 16;

export class LinuxWorld {
  readonly #system: LinuxSystem;
  readonly #places = new Map<string, Place>();
  readonly #descriptors: number[] = [];
  /** The kernel hands frames over per processor: on one they keep their order. */
  readonly processor: ProcessorHold;
  readonly #counterBytes = Buffer.alloc(COUNTERS_BYTES_MAX);
  #markers = 0;

  /** @throws KernelError */
  constructor(system: LinuxSystem, topology: Scenario['topology']) {
    this.#system = system;
    this.processor = system.holdProcessor();
    try {
      for (const name of topology === 'pair' ? (['a', 'b'] as const) : (['a'] as const)) {
        this.#places.set(name, this.#newPlace());
      }
      if (topology === 'pair') this.#join();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  place(name = 'a'): Place {
    const found = this.#places.get(name);
    if (found === undefined) throw new Error(`The scenario has no namespace ${name}`);
    return found;
  }

  /** Runs `action` in a namespace. */
  within<T>(name: string | undefined, action: () => T): T {
    return this.#system.inNamespace(this.place(name).namespace, action);
  }

  /** A socket in a namespace, with options and an address, that lasts as long as the world. @throws KernelError */
  keepSocket(name: string | undefined, what: string, spec: SocketSpec): number {
    const fd = this.socket(name, what, spec);
    this.#descriptors.push(fd);
    return fd;
  }

  /** A socket that the caller closes. @throws KernelError */
  socket(name: string | undefined, what: string, { family, type, protocol, options, address }: SocketSpec): number {
    const system = this.#system;
    const fd = checked(
      'socket',
      what,
      this.within(name, () => system.socket(family, type, protocol)),
    );
    try {
      for (const [level, option, value] of options ?? []) {
        checked('setsockopt', what, system.setOption(fd, level, option, value));
      }
      if (address !== undefined) checked('bind', what, system.bind(fd, address));
      return fd;
    } catch (error) {
      system.close(fd);
      throw error;
    }
  }

  /** Puts a frame on the link towards `name`. */
  deliver(name: string, frame: Uint8Array): void {
    checked('sendto', 'Cannot put a packet on the link', this.#system.send(this.#linkOf(opposite(name)), frame, null));
  }

  /**
   * The frames that have arrived at `name`, all that were sent up to now: a marker follows them on the same way and is waited for.
   */
  arrived(name: string): Buffer[] {
    const link = this.#linkOf(name);
    const number = ++this.#markers;
    this.deliver(name, marker(LINK_MAC, number));
    const frames: Buffer[] = [];
    const deadline = performance.now() + MARKER_TIMEOUT_MS;
    while (performance.now() < deadline) {
      const got = this.#system.receive(link);
      if (typeof got === 'number') {
        this.#system.waitReadable(link, deadline - performance.now());
        continue;
      }
      const frame = Buffer.from(got.bytes.buffer, got.bytes.byteOffset, got.bytes.length);
      if (isMarker(frame, number)) return frames;
      frames.push(frame);
    }
    throw new Error(`A frame was lost between the namespaces: nothing within ${MARKER_TIMEOUT_MS} ms`);
  }

  /** The kernel switches a new link on in its own time: until then it drops what is sent. */
  #untilLinked(name: string): void {
    const link = this.#linkOf(name);
    const deadline = performance.now() + MARKER_TIMEOUT_MS;
    while (performance.now() < deadline) {
      this.deliver(name, marker(LINK_MAC, ++this.#markers));
      if (this.#system.waitReadable(link, LINK_POLL_MS)) {
        this.arrived(name);
        return;
      }
    }
    throw new Error(`The link between the namespaces does not come up within ${MARKER_TIMEOUT_MS} ms`);
  }

  /** /proc/net/xfrm_stat of a namespace. */
  xfrmStat(name: string | undefined): Counters {
    const text = this.#read(this.place(name).counters.xfrm);
    return Object.fromEntries([...text.matchAll(/^(\w+)\s+(\d+)$/gm)].map(([, key, value]) => [key, Number(value)]));
  }

  /** How many packets IPv4 and IPv6 have handed to a protocol of this machine. */
  delivered(name: string | undefined): number {
    const { snmp, snmp6 } = this.place(name).counters;
    const [names = '', values = ''] = this.#read(snmp)
      .split('\n')
      .filter((line) => line.startsWith('Ip: '));
    const column = names.split(' ').indexOf('InDelivers');
    const six = /^Ip6InDelivers\s+(\d+)$/m.exec(this.#read(snmp6));
    return Number(values.split(' ')[column]) + Number(six?.[1] ?? 0);
  }

  /** Everything in the namespaces ends with the last descriptor. */
  close(): void {
    this.processor.release();
    for (const fd of this.#descriptors.splice(0)) closeSync(fd);
    this.#places.clear();
  }

  #newPlace(): Place {
    const system = this.#system;
    const namespace = this.#keep(system.newNamespace());
    const open = (file: string): number => this.#keep(openSync(`/proc/thread-self/net/${file}`, 'r'));
    return system.inNamespace(namespace, () => ({
      namespace,
      counters: { xfrm: open('xfrm_stat'), snmp: open('snmp'), snmp6: open('snmp6') },
      link: undefined,
    }));
  }

  #keep(fd: number): number {
    this.#descriptors.push(fd);
    return fd;
  }

  #join(): void {
    for (const name of ['a', 'b'] as const) {
      this.within(name, () => {
        for (const [sysctl, value] of Object.entries(QUIET_SYSCTLS)) writeFileSync(sysctlFile(sysctl), value);
      });
    }
    this.#route('a', [newVeth(end, end, this.place('b').namespace)]);
    for (const name of ['a', 'b'] as const) {
      this.#route(name, [
        linkUp(LOOPBACK),
        linkUp(LINK),
        ...ADDRESSES[name].map(([text, prefixLength]) => {
          const { family, bytes } = addressBytes(text);
          return newAddress(LINK, family, bytes, prefixLength);
        }),
      ]);
      for (const family of [abi.AF_INET, abi.AF_INET6]) {
        // Nobody reads it: what does not fit any more is thrown away.
        this.keepSocket(name, 'Cannot receive UDP', udpSocket(family, undefined, SINK_PORT));
      }
      this.place(name).link = this.keepSocket(name, 'Cannot open a packet socket', {
        family: abi.AF_PACKET,
        type: abi.SOCK_RAW,
        protocol: 0,
        options: [
          [abi.SOL_PACKET, abi.PACKET_IGNORE_OUTGOING, 1],
          [abi.SOL_SOCKET, abi.SO_RCVBUFFORCE, PACKET_BUFFER_BYTES],
        ],
        address: linkAddress(LINK),
      });
    }
    for (const name of ['a', 'b'] as const) this.#untilLinked(name);
  }

  #linkOf(name: string): number {
    const { link } = this.place(name);
    if (link === undefined) throw new Error('The scenario sends packets in a world that has no link');
    return link;
  }

  /** Requests to NETLINK_ROUTE, one after the other, each of which must succeed. */
  #route(name: NamespaceName, requests: readonly Uint8Array[]): void {
    const system = this.#system;
    const what = 'Cannot join two network namespaces';
    const fd = this.socket(name, what, {
      family: abi.AF_NETLINK,
      type: abi.SOCK_RAW,
      protocol: abi.NETLINK_ROUTE,
      address: netlinkAddress(0, 0),
    });
    try {
      for (const request of requests) {
        checked('sendto', what, system.send(fd, request, null));
        const reply = system.receive(fd);
        if (typeof reply === 'number') throw checked('recvmmsg', what, reply);
        const { bytes } = reply;
        const errno = -new DataView(bytes.buffer, bytes.byteOffset).getInt32(NLMSG_HDRLEN, hostLittleEndian);
        if (errno === EEXIST || errno === EBUSY) {
          throw new KernelError(
            'ERR_NAMESPACE',
            `${what}: interface ${LINK} is there already in a fresh one: set net.core.fb_tunnels_only_for_init_net=2`,
            { errno, syscall: 'sendto' },
          );
        }
        checked('sendto', what, -errno);
      }
    } finally {
      system.close(fd);
    }
  }

  #read(fd: number): string {
    return this.#counterBytes.toString('latin1', 0, readSync(fd, this.#counterBytes, 0, COUNTERS_BYTES_MAX, 0));
  }
}

export const opposite = (name: string): NamespaceName => (name === 'a' ? 'b' : 'a');

export const sysctlFile = (name: string): string => `/proc/sys/${name.replaceAll('.', '/')}`;
