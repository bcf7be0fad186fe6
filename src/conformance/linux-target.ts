import { readFileSync, writeFileSync } from 'node:fs';
import { abi, type LinuxSystem } from '../kernel/linux/index.ts';
import { forEachMessage, hostLittleEndian } from '../netlink/index.ts';
import { XfrmMsg } from '../xfrm/index.ts';
import { linuxSaUsage } from './linux-sa.ts';
import { addressBytes, inetAddress, netlinkAddress, udpSocket } from './linux-sockets.ts';
import { LINK_MAC, LinuxWorld, opposite, sysctlFile } from './linux-world.ts';
import { addDatagram, addPfkey, growth, nothing } from './received.ts';
import type { Scenario } from './scenario.ts';
import type { PacketInAnswer, PacketInStep, PacketOutAnswer, PacketOutStep, Received, Target } from './target.ts';
import { frameOf, ipsecPacket } from './wire.ts';

/** The kernel of this machine as a target. */

const EAGAIN = 11;
const SOURCE_PORT = 4242;
/** Of the runner's own socket: no scenario binds to it, and the kernel does not choose it, as it begins with the process id. */
const OWN_PORT_ID = 0x7866726d;
/** The timer that deletes an SA at a hard limit needs at most some 20 ms; this long, the machine may be busy with other things. */
const EXPIRY_TIMEOUT_MS = 2000;
/** From the verdict on a packet until what it carried has been handed on, by a worker of the kernel if need be. */
const DELIVERY_TIMEOUT_MS = 200;
const POLL_MS = 1;
const NLMSG_TYPE_AT = 4;
/** One read of a socket takes at most so many datagrams; no receive buffer of a scenario holds as many. */
const DATAGRAMS_MAX = 1_000_000;

/** Level and number of the socket options that scenarios name. */
const OPTIONS: Readonly<Record<string, readonly [level: number, option: number]>> = {
  rcvbuf: [abi.SOL_SOCKET, abi.SO_RCVBUF],
  add_membership: [abi.SOL_NETLINK, abi.NETLINK_ADD_MEMBERSHIP],
  drop_membership: [abi.SOL_NETLINK, abi.NETLINK_DROP_MEMBERSHIP],
  pktinfo: [abi.SOL_NETLINK, abi.NETLINK_PKTINFO],
  broadcast_error: [abi.SOL_NETLINK, abi.NETLINK_BROADCAST_ERROR],
  no_enobufs: [abi.SOL_NETLINK, abi.NETLINK_NO_ENOBUFS],
  listen_all_nsid: [abi.SOL_NETLINK, abi.NETLINK_LISTEN_ALL_NSID],
  cap_ack: [abi.SOL_NETLINK, abi.NETLINK_CAP_ACK],
  ext_ack: [abi.SOL_NETLINK, abi.NETLINK_EXT_ACK],
  strict_chk: [abi.SOL_NETLINK, abi.NETLINK_GET_STRICT_CHK],
};

/**
 * This machine's kernel for one scenario, in network namespaces of its own, which end with `close`. The calling thread enters them for a
 * moment at a time.
 *
 * @throws KernelError ERR_PERMISSION (it takes CAP_NET_ADMIN and CAP_SYS_ADMIN), ERR_NAMESPACE, ERR_SYSCALL
 */
export function linuxTargetOn(system: LinuxSystem, { topology }: Pick<Scenario, 'topology'>): Target {
  return new LinuxTarget(system, new LinuxWorld(system, topology));
}

class LinuxTarget implements Target {
  readonly algorithmsVary = true;
  readonly #system: LinuxSystem;
  readonly #world: LinuxWorld;
  readonly #sockets = new Map<string, number>();
  readonly #pfkey = new Set<string>();
  /** Read while waiting, and not asked for yet. */
  readonly #waiting = new Map<string, Received>();
  /** The runner's own sockets, by namespace. */
  readonly #own = new Map<string, number>();

  constructor(system: LinuxSystem, world: LinuxWorld) {
    this.#system = system;
    this.#world = world;
  }

  openSocket(step: Parameters<Target['openSocket']>[0]): number {
    const { sock, ns, proto, portid = 'auto', groups = 0, opts = {}, cap_net_admin = true } = step;
    this.closeSocket(sock);
    const system = this.#system;
    const open = (): number => {
      if (proto === 'pfkey') return system.socket(abi.AF_KEY, abi.SOCK_RAW, abi.PF_KEY_V2);
      const fd = system.socket(abi.AF_NETLINK, abi.SOCK_RAW, abi.NETLINK_XFRM);
      if (fd < 0) return fd;
      const options = Object.entries({ pktinfo: 1, ...opts });
      let errno = 0;
      for (const [name, value] of options) errno ||= setOption(system, fd, name, value);
      if (errno === 0 && portid !== 'none') {
        errno = errnoOf(system.bind(fd, netlinkAddress(portid === 'auto' ? 0 : portid, groups)));
      }
      if (errno === 0) return fd;
      system.close(fd);
      return -errno;
    };
    const fd = this.#world.within(ns, () => (cap_net_admin ? open() : system.withoutNetAdmin(open)));
    if (fd < 0) return -fd;
    this.#sockets.set(sock, fd);
    if (proto === 'pfkey') this.#pfkey.add(sock);
    return 0;
  }

  setOption({ sock, name, value, cap_net_admin = true }: Parameters<Target['setOption']>[0]): number {
    return this.#as(cap_net_admin, () => setOption(this.#system, this.#socket(sock), name, value));
  }

  setMembership({ op, sock, group, cap_net_admin = true }: Parameters<Target['setMembership']>[0]): number {
    const name = op === 'join' ? 'add_membership' : 'drop_membership';
    return this.#as(cap_net_admin, () => setOption(this.#system, this.#socket(sock), name, group));
  }

  closeSocket(sock: string): void {
    const fd = this.#sockets.get(sock);
    if (fd !== undefined) this.#system.close(fd);
    this.#sockets.delete(sock);
    this.#pfkey.delete(sock);
    this.#waiting.delete(sock);
  }

  /**
   * A request that makes a hash table too small wakes a worker, and GETSADINFO and GETSPDINFO show whether that is done. On a uniprocessor
   * kernel it is, when the request returns. On the others the SPD's worker waits for RCU first, longer than the recordings did; the SAD's
   * does not.
   */
  send(sock: string, datagram: Uint8Array, sender: { privileged: boolean; addressed: boolean }): number {
    const isPfkey = this.#pfkey.has(sock);
    const address = sender.addressed && !isPfkey ? netlinkAddress(0, 0) : null;
    const { processor } = this.#world;
    if (!isPfkey && asksSadInfo(datagram)) processor.letWorkersRun();
    const errno = this.#as(sender.privileged, () => errnoOf(this.#system.send(this.#socket(sock), datagram, address)));
    if (!this.#system.smp) processor.letWorkersRun();
    return errno;
  }

  read(sock: string): Received {
    const got = this.#receive(sock);
    this.#waiting.delete(sock);
    return got;
  }

  wait(sock: string, count: number, timeoutMs: number): void {
    const fd = this.#socket(sock);
    const deadline = performance.now() + timeoutMs;
    while (this.#receive(sock).datagrams.length < count) {
      if (!this.#system.waitReadable(fd, deadline - performance.now())) break;
    }
  }

  packetOut(step: PacketOutStep): PacketOutAnswer {
    const system = this.#system;
    const world = this.#world;
    const { src, dst, dport, mark = 0, ns, sa, count = 1 } = step;
    const { family } = addressBytes(dst);
    const there = opposite(ns ?? 'a');
    const before = world.xfrmStat(ns);
    const usedBefore = this.#usage(ns, sa);
    const fd = world.socket(
      ns,
      'Cannot send UDP',
      udpSocket(family, src, SOURCE_PORT, [[abi.SOL_SOCKET, abi.SO_MARK, mark]]),
    );
    const to = inetAddress(family, dst, dport);
    const payload = new Uint8Array(step.payload);
    const errnos: number[] = [];
    let stat = before;
    world.arrived(there);
    try {
      for (let i = 0; i < count; i++) {
        const errno = errnoOf(system.send(fd, payload, to));
        errnos.push(errno);
        if (errno === 0) continue;
        this.#untilExpired(step, stat);
        stat = world.xfrmStat(ns);
      }
    } finally {
      system.close(fd);
    }
    const packets = world.arrived(there).flatMap((frame) => ipsecPacket(frame, sa.spi) ?? []);
    const used = this.#usage(ns, sa);
    return {
      seq: packets.map(({ seq }) => seq),
      ipLengths: [...new Set(packets.map(({ ipBytes }) => ipBytes))],
      errnos,
      acct:
        used && usedBefore
          ? { bytes: used.bytes - usedBefore.bytes, packets: used.packets - usedBefore.packets }
          : undefined,
      stat: growth(before, world.xfrmStat(ns)),
    };
  }

  packetIn(step: PacketInStep): PacketInAnswer {
    const before = this.#world.xfrmStat(step.ns);
    const verdicts = step.packets.map(({ hex }) => this.#inbound(step, Buffer.from(hex, 'hex')));
    return { verdicts, stat: growth(before, this.#world.xfrmStat(step.ns)) };
  }

  setSysctl(ns: string, name: string, value: string): number {
    return this.#world.within(ns, () => {
      try {
        writeFileSync(sysctlFile(name), value);
        return 0;
      } catch (error) {
        const { errno } = error as NodeJS.ErrnoException;
        if (errno === undefined) throw error;
        return -errno;
      }
    });
  }

  sysctl(ns: string, name: string): string {
    return this.#world.within(ns, () => readFileSync(sysctlFile(name), 'latin1').trimEnd());
  }

  openUdpEncap(ns: string, port: number): void {
    for (const family of [abi.AF_INET, abi.AF_INET6]) {
      const encap = [abi.IPPROTO_UDP, abi.UDP_ENCAP, abi.UDP_ENCAP_ESPINUDP] as const;
      this.#world.keepSocket(ns, 'Cannot take ESP in UDP', udpSocket(family, undefined, port, [encap]));
    }
  }

  sleep(ms: number): void {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  }

  close(): void {
    for (const sock of [...this.#sockets.keys()]) this.closeSocket(sock);
    this.#world.close();
  }

  #inbound(step: PacketInStep, packet: Uint8Array): PacketInAnswer['verdicts'][number] {
    const world = this.#world;
    const { ns = 'a', sa } = step;
    const stat = world.xfrmStat(ns);
    const delivered = world.delivered(ns);
    const before = this.#usage(ns, sa);
    world.deliver(ns, frameOf(LINK_MAC, packet));
    world.arrived(ns);
    this.#untilExpired(step, stat);
    const after = this.#usage(ns, sa);
    const grew = (field: keyof NonNullable<typeof before>): boolean =>
      before !== undefined && after !== undefined && after[field] > before[field];
    const verdict = VERDICT_OF.find(([field]) => grew(field))?.[1] ?? 'drop';
    if (verdict === 'accept') {
      // IPsec's packet and then what was in it, which a worker of the kernel may hand on; or no policy allows that.
      this.#until(DELIVERY_TIMEOUT_MS, () => {
        return world.delivered(ns) >= delivered + 2 || Object.keys(growth(stat, world.xfrmStat(ns))).length > 0;
      });
    }
    return {
      verdict,
      bytes: verdict === 'accept' && before && after ? after.bytes - before.bytes : undefined,
      stat: growth(stat, world.xfrmStat(ns)),
    };
  }

  /** After a packet that met a hard limit: a timer tells so and deletes the SA. */
  #untilExpired({ ns, sa }: PacketInStep | PacketOutStep, before: Readonly<Record<string, number>>): void {
    const { XfrmInStateExpired = 0, XfrmOutStateExpired = 0 } = growth(before, this.#world.xfrmStat(ns));
    if (XfrmInStateExpired + XfrmOutStateExpired === 0) return;
    this.#until(EXPIRY_TIMEOUT_MS, () => this.#usage(ns, sa) === undefined);
  }

  #until(timeoutMs: number, reached: () => boolean): void {
    const deadline = performance.now() + timeoutMs;
    while (!reached() && performance.now() < deadline) this.sleep(POLL_MS);
  }

  #usage(ns = 'a', sa: PacketInStep['sa']) {
    const fd =
      this.#own.get(ns) ??
      this.#world.keepSocket(ns, 'Cannot open a socket for XFRM requests', {
        family: abi.AF_NETLINK,
        type: abi.SOCK_RAW,
        protocol: abi.NETLINK_XFRM,
        address: netlinkAddress(OWN_PORT_ID, 0),
      });
    this.#own.set(ns, fd);
    return linuxSaUsage(this.#system, fd, sa);
  }

  /** Reads all there is at a socket, behind what was read before. */
  #receive(sock: string): Received {
    const fd = this.#socket(sock);
    const kept = this.#waiting.get(sock) ?? nothing();
    this.#waiting.set(sock, kept);
    for (let i = 0; i < DATAGRAMS_MAX; i++) {
      const got = this.#system.receive(fd);
      if (got === -EAGAIN) break;
      if (typeof got === 'number') kept.overruns.push([kept.messages.length, -got]);
      else if (this.#pfkey.has(sock)) addPfkey(kept, got.bytes);
      else addDatagram(kept, got.bytes, got.group);
    }
    return kept;
  }

  #socket(sock: string): number {
    const fd = this.#sockets.get(sock);
    if (fd === undefined) throw new Error(`The scenario has no socket ${sock}`);
    return fd;
  }

  #as<T>(privileged: boolean, action: () => T): T {
    return privileged ? action() : this.#system.withoutNetAdmin(action);
  }
}

const VERDICT_OF = [
  ['packets', 'accept'],
  ['late', 'late'],
  ['replay', 'replay'],
  ['integrity', 'integrity'],
] as const;

/** Positive, 0 for success. */
const errnoOf = (result: number): number => (result < 0 ? -result : 0);

function asksSadInfo(datagram: Uint8Array): boolean {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  let asks = false;
  forEachMessage(datagram, (at) => {
    asks ||= view.getUint16(at + NLMSG_TYPE_AT, hostLittleEndian) === XfrmMsg.GETSADINFO;
  });
  return asks;
}

function setOption(system: LinuxSystem, fd: number, name: string, value: number): number {
  const option = OPTIONS[name];
  if (option === undefined) throw new Error(`The scenario sets a socket option that nobody knows: ${name}`);
  return errnoOf(system.setOption(fd, ...option, value));
}
