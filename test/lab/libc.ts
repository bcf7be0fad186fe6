/**
 * The few calls of libc that Node.js has no word for, for a process that plays every machine of the lab: sockets that live in other
 * network namespaces, raw frames, UDP encapsulation. Linux on 64 bits, root of a guest. All sockets are non-blocking.
 */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import koffi from 'koffi';

const lib = koffi.load(null);
const c = {
  setns: lib.func('int setns(int, int)'),
  socket: lib.func('int socket(int, int, int)'),
  bind: lib.func('int bind(int, const void *, uint32_t)'),
  close: lib.func('int close(int)'),
  setsockopt: lib.func('int setsockopt(int, int, int, const void *, uint32_t)'),
  getsockopt: lib.func('int getsockopt(int, int, int, void *, void *)'),
  sendto: lib.func('intptr_t sendto(int, const void *, uintptr_t, int, const void *, uint32_t)'),
  recv: lib.func('intptr_t recv(int, void *, uintptr_t, int)'),
  recvfrom: lib.func('intptr_t recvfrom(int, void *, uintptr_t, int, void *, void *)'),
};

const AF_INET = 2;
const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000;
const MSG_DONTWAIT = 0x40;
const CLONE_NEWNET = 0x40000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_RCVBUFFORCE = 33;
const SO_MARK = 36;
const IPPROTO_UDP = 17;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPPROTO_IP = 0;
const IP_TOS = 1;
const IPV6_TCLASS = 67;
const IP_MULTICAST_IF = 32;
const UDP_ENCAP = 100;
const UDP_ENCAP_ESPINUDP = 2;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const PACKET_IGNORE_OUTGOING = 23;
const ETH_P_ALL = 0x0003;

/** A call of libc failed where the lab needs it to succeed. */
export class LibcError extends Error {
  readonly code = 'ERR_LAB_LIBC';
  readonly errno: number;
  constructor(call: string, errno: number) {
    super(
      `${call} failed with errno ${errno}; the lab runs as root of its own guest, on a kernel with the modules of its boot script`,
    );
    this.errno = errno;
  }
}

function checked(result: number, call: string): number {
  if (result < 0) throw new LibcError(call, koffi.errno());
  return result;
}

const ownNamespace = openSync('/proc/self/ns/net', 'r');

/** Runs `action` in a network namespace. setns(2) moves this thread alone, so `action` must be synchronous. */
export function inNamespace<T>(name: string, action: () => T): T {
  const fd = openSync(`/run/netns/${name}`, 'r');
  try {
    checked(c.setns(fd, CLONE_NEWNET), `setns(${name})`);
    try {
      return action();
    } finally {
      checked(c.setns(ownNamespace, CLONE_NEWNET), 'setns(back)');
    }
  } finally {
    closeSync(fd);
  }
}

/** A file below /proc/net or /proc/sys/net shows the namespace of the thread that opens it. */
export function readProcNet(namespace: string, file: string): string {
  return inNamespace(namespace, () => readFileSync(`/proc/thread-self/net/${file}`, 'latin1'));
}

export function writeSysctls(namespace: string, values: Readonly<Record<string, number>>): void {
  inNamespace(namespace, () => {
    for (const [name, value] of Object.entries(values)) writeFileSync(`/proc/sys/net/${name}`, `${value}\n`);
  });
}

export type Family = 4 | 6;

function ipv6Bytes(text: string): Buffer {
  const [head = '', tail] = text.split('::');
  const words = (part: string | undefined) => (part ? part.split(':').map((word) => Number.parseInt(word, 16)) : []);
  const left = words(head);
  const right = words(tail);
  const all = [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
  const bytes = Buffer.alloc(16);
  all.forEach((word, i) => {
    bytes.writeUInt16BE(word, 2 * i);
  });
  return bytes;
}

/** `struct sockaddr_in` or `sockaddr_in6`; the address is in plain notation, empty for any. */
export function socketAddress(family: Family, address: string, port: number): Buffer {
  const bytes = Buffer.alloc(family === 4 ? 16 : 28);
  bytes.writeUInt16LE(family === 4 ? AF_INET : AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  if (address === '') return bytes;
  if (family === 6) ipv6Bytes(address).copy(bytes, 8);
  else Buffer.from(address.split('.').map(Number)).copy(bytes, 4);
  return bytes;
}

function setInt(fd: number, level: number, option: number, value: number, call: string): void {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value, 0);
  checked(c.setsockopt(fd, level, option, bytes, 4), call);
}

export interface UdpOptions {
  mark?: number;
  /** Type of service or traffic class of what is sent. */
  tos?: number;
  encapsulation?: boolean;
  receiveBufferBytes?: number;
}

/** A bound UDP socket in a namespace; undefined if the namespace does not have the address (now). */
export function udpSocket(
  namespace: string,
  family: Family,
  address: string,
  port: number,
  options: UdpOptions = {},
): number | undefined {
  return inNamespace(namespace, () => {
    const domain = family === 4 ? AF_INET : AF_INET6;
    const fd = checked(c.socket(domain, SOCK_DGRAM | SOCK_NONBLOCK_CLOEXEC, 0), 'socket(udp)');
    if (family === 6) setInt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, 'setsockopt(IPV6_V6ONLY)');
    setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1, 'setsockopt(SO_REUSEADDR)');
    if (options.mark !== undefined) setInt(fd, SOL_SOCKET, SO_MARK, options.mark, 'setsockopt(SO_MARK)');
    if (options.tos !== undefined) {
      if (family === 4) setInt(fd, IPPROTO_IP, IP_TOS, options.tos, 'setsockopt(IP_TOS)');
      else setInt(fd, IPPROTO_IPV6, IPV6_TCLASS, options.tos, 'setsockopt(IPV6_TCLASS)');
    }
    if (options.encapsulation) setInt(fd, IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP, 'setsockopt(UDP_ENCAP)');
    if (options.receiveBufferBytes !== undefined) {
      setInt(fd, SOL_SOCKET, SO_RCVBUFFORCE, options.receiveBufferBytes, 'setsockopt(SO_RCVBUFFORCE)');
    }
    const name = socketAddress(family, address, port);
    if (c.bind(fd, name, name.length) === 0) return fd;
    c.close(fd);
    return undefined;
  });
}

/**
 * Whether the namespace of an IPv4 socket has an address of its own now, in one cheap call: the kernel accepts as multicast interface only
 * an address that it has.
 */
export function hasIpv4Address(fd: number, address: string): boolean {
  const value = Buffer.from(address.split('.').map(Number));
  return c.setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, value, value.length) === 0;
}

/** `struct sockaddr_ll`: the family, the protocol in network order at 2, the interface at 4. */
const SOCKADDR_LL_BYTES = 20;
const ANY_INTERFACE = 0;

/** In the calling thread's namespace. `index` 0: all interfaces. */
function boundPacketSocket(index: number, receive: boolean): number {
  // Protocol 0 until it is bound: else it would collect the frames of all interfaces meanwhile.
  const fd = checked(c.socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK_CLOEXEC, 0), 'socket(AF_PACKET)');
  setInt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, 'setsockopt(PACKET_IGNORE_OUTGOING)');
  if (receive) setInt(fd, SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20, 'setsockopt(SO_RCVBUFFORCE)');
  const name = Buffer.alloc(SOCKADDR_LL_BYTES);
  name.writeUInt16LE(AF_PACKET, 0);
  name.writeUInt16BE(receive ? ETH_P_ALL : 0, 2);
  name.writeInt32LE(index, 4);
  checked(c.bind(fd, name, name.length), `bind(AF_PACKET ${index})`);
  return fd;
}

function interfaceIndex(name: string): number {
  return Number(readFileSync(`/proc/thread-self/net/dev_snmp6/${name}`, 'latin1').match(/ifIndex\s+(\d+)/)?.[1]);
}

/**
 * A raw socket on one interface. With `receive` it gets each frame that comes in there, before a bridge takes it, and none that goes
 * out; without, it only sends.
 */
export function packetSocket(namespace: string, interfaceName: string, receive: boolean): number {
  return inNamespace(namespace, () => boundPacketSocket(interfaceIndex(interfaceName), receive));
}

/** Frames of several interfaces in the order in which they came in. */
export interface PacketEar {
  readonly fd: number;
  /** The interface of the frame that `receiveFrom` has given last; undefined: another one than those that were asked for. */
  interfaceName(): string | undefined;
  /** As `receive`. */
  receiveFrom(into: Buffer): number;
}

/** A raw socket on all interfaces of a namespace, as `packetSocket` on one. */
export function packetEar(namespace: string, interfaceNames: readonly string[]): PacketEar {
  return inNamespace(namespace, () => {
    const names = new Map(interfaceNames.map((name) => [interfaceIndex(name), name]));
    const fd = boundPacketSocket(ANY_INTERFACE, true);
    const from = Buffer.alloc(SOCKADDR_LL_BYTES);
    const length = Buffer.alloc(4);
    return {
      fd,
      interfaceName: () => names.get(from.readInt32LE(4)),
      receiveFrom(into) {
        length.writeUInt32LE(SOCKADDR_LL_BYTES, 0);
        return Number(c.recvfrom(fd, into, into.length, MSG_DONTWAIT, from, length));
      },
    };
  });
}

/** Frames that the kernel could not hand to this packet socket since it was last asked. */
export function packetDrops(fd: number): number {
  const statistics = Buffer.alloc(8);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(8, 0);
  checked(c.getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, statistics, length), 'getsockopt(PACKET_STATISTICS)');
  return statistics.readUInt32LE(4);
}

/** The number of bytes sent, or -1. */
export function send(fd: number, data: Buffer, bytes: number, to: Buffer | null): number {
  return Number(c.sendto(fd, data, bytes, MSG_DONTWAIT, to, to === null ? 0 : to.length));
}

/** The number of bytes received, or -1 when nothing waits. */
export function receive(fd: number, into: Buffer): number {
  return Number(c.recv(fd, into, into.length, MSG_DONTWAIT));
}

export function close(fd: number): void {
  c.close(fd);
}
