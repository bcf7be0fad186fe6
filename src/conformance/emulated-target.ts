import {
  EmulatedKernel,
  type EmulatedNamespace,
  type EmulatedPfkeySocket,
  type EmulatedSocket,
  type SaKey,
  saUsage,
  VirtualClock,
} from '../kernel/emulated/index.ts';
import { KernelError } from '../kernel/index.ts';
import { AddressFamily, parseAddress } from '../xfrm/index.ts';
import { inboundPacket } from './packets.ts';
import { addDatagram, addPfkey, growth, nothing } from './received.ts';
import type { Scenario } from './scenario.ts';
import type { PacketInAnswer, PacketOutAnswer, Received, Target } from './target.ts';

/** The emulated kernel as a target: its profile from the scenario, its clock by hand. */

const EINVAL = 22;
const EPERM = 1;
const ENOBUFS = 105;
const SOURCE_PORT = 4242;
/** The interface index of the link between the namespaces: behind the loopback. */
const LINK = 2;
const UDP = 17;
const UDP_HEADER = 8;
const VERDICTS = ['accept', 'late', 'replay', 'integrity', 'drop'] as const;
/** A process id that no scenario binds to. */
const PROCESS_ID = 31_337;

/** `prepare` is called with each namespace before the scenario has anything to do with it. */
export function emulatedTarget(
  { kernel: release, hz, pad64 }: Pick<Scenario, 'kernel' | 'hz' | 'pad64'>,
  prepare: (namespace: EmulatedNamespace) => void = () => {},
): Target {
  const clock = new VirtualClock();
  let random = 1;
  const machine: EmulatedKernel = new EmulatedKernel({
    release,
    hz,
    pad64,
    // The one recorded kernel with aligned attributes is User-Mode Linux, which has one CPU.
    smp: !pad64,
    clock,
    processId: PROCESS_ID,
    // Any sequence does (a linear congruential one): what is picked at random is volatile in the recordings.
    random: () => {
      random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
      return random;
    },
    // Nobody waits for a turn of the event loop: sockets are read.
    later: () => {},
  });
  const spaces = new Map<string, EmulatedNamespace>([['a', machine]]);
  prepare(machine);
  const sockets = new Map<string, EmulatedSocket>();
  const pfkeySockets = new Map<string, EmulatedPfkeySocket>();
  const udpEncap = new Set<string>();

  const space = (name = 'a'): EmulatedNamespace => {
    const found = spaces.get(name);
    if (found !== undefined) return found;
    const made = machine.namespace();
    spaces.set(name, made);
    prepare(made);
    return made;
  };
  const socketOf = (name: string): EmulatedSocket => {
    const socket = sockets.get(name);
    if (socket === undefined) throw new Error(`The scenario has no socket ${name}`);
    return socket;
  };
  const closeSocket = (name: string): void => {
    sockets.get(name)?.close();
    sockets.delete(name);
    pfkeySockets.get(name)?.close();
    pfkeySockets.delete(name);
  };

  return {
    openSocket({ sock, ns, proto, portid = 'auto', groups = 0, opts = {}, cap_net_admin = true }) {
      closeSocket(sock);
      try {
        if (proto === 'pfkey') {
          const socket = space(ns).openPfkeyNow({ privileged: cap_net_admin });
          pfkeySockets.set(sock, socket);
          if (opts.rcvbuf !== undefined) socket.setReceiveBuffer(opts.rcvbuf);
          return 0;
        }
        const socket = space(ns).openNow({
          groups: groupsOf(groups),
          privileged: cap_net_admin,
          ...(typeof portid === 'number' && portid !== 0 && { portId: portid }),
        });
        sockets.set(sock, socket);
        for (const [name, value] of Object.entries(opts)) setOption(socket, name, value, cap_net_admin);
        return 0;
      } catch (error) {
        if (error instanceof KernelError && error.errno !== undefined) return error.errno;
        throw error;
      }
    },
    setOption: ({ sock, name, value, cap_net_admin = true }) => setOption(socketOf(sock), name, value, cap_net_admin),
    setMembership: ({ op, sock, group, cap_net_admin = true }) =>
      setMembership(socketOf(sock), group, op === 'join', cap_net_admin),
    closeSocket,
    send: (sock, datagram, sender) =>
      pfkeySockets.get(sock)?.sendNow(datagram) ?? socketOf(sock).sendAs(datagram, sender),
    read(sock) {
      const pfkey = pfkeySockets.get(sock);
      return pfkey === undefined ? readAll(socketOf(sock)) : readPfkey(pfkey);
    },
    wait(sock, count, timeoutMs) {
      const socket = pfkeySockets.get(sock) ?? socketOf(sock);
      const end = clock.monotonicMs() + timeoutMs;
      while (socket.waiting < count && clock.nextMs <= end) clock.advanceTo(clock.nextMs);
      if (socket.waiting < count) clock.advanceTo(end);
    },
    packetOut(step): PacketOutAnswer {
      const ns = space(step.ns);
      const key = keyOf(step.sa);
      const before = ns.stats();
      const usedBefore = saUsage(ns.engine, key);
      const { family } = addressOf(step.dst);
      const flow = {
        family,
        saddr: bytesOf(step.src),
        daddr: bytesOf(step.dst),
        proto: UDP,
        sport: SOURCE_PORT,
        dport: step.dport,
        // Only IPv4 looks for the way out before it asks the policies.
        ifindex: family === AddressFamily.INET ? LINK : 0,
      };
      const payloadBytes = UDP_HEADER + step.payload;
      const packetBytes = payloadBytes + (flow.family === 2 ? 20 : 40);
      const seq: number[] = [];
      const errnos: number[] = [];
      for (let i = 0; i < (step.count ?? 1); i++) {
        const got = ns.output({ flow, mark: step.mark ?? 0, ifId: 0, payloadBytes, packetBytes });
        errnos.push(got.errno);
        if (got.sent && got.slot >= 0) seq.push(got.seq);
      }
      const used = saUsage(ns.engine, key);
      const acct =
        used && usedBefore
          ? { bytes: used.bytes - usedBefore.bytes, packets: used.packets - usedBefore.packets }
          : undefined;
      return { seq, errnos, acct, stat: growth(before, ns.stats()) };
    },
    packetIn(step): PacketInAnswer {
      const name = step.ns ?? 'a';
      const ns = space(name);
      const key = keyOf(step.sa);
      const before = ns.stats();
      const verdicts = step.packets.map((packet) => {
        const statBefore = ns.stats();
        const usedBefore = saUsage(ns.engine, key);
        const verdict = inboundPacket(ns, packet, (port) => udpEncap.has(`${name} ${port}`));
        const used = saUsage(ns.engine, key);
        const bytes = used && usedBefore ? used.bytes - usedBefore.bytes : undefined;
        return { verdict: VERDICTS[verdict], bytes, stat: growth(statBefore, ns.stats()) };
      });
      return { verdicts, stat: growth(before, ns.stats()) };
    },
    setSysctl: (ns, name, value) => space(ns).setSysctl(name, value),
    sysctl: (ns, name) => space(ns).sysctl(name),
    openUdpEncap: (ns, port) => void udpEncap.add(`${ns} ${port}`),
    sleep: (ms) => clock.advance(ms),
    close() {
      for (const name of [...sockets.keys(), ...pfkeySockets.keys()]) closeSocket(name);
    },
  };
}

function groupsOf(mask: number): number[] {
  return Array.from({ length: 32 }, (_, i) => i + 1).filter((group) => (mask & (1 << (group - 1))) !== 0);
}

function setMembership(socket: EmulatedSocket, group: number, join: boolean, privileged: boolean): number {
  if (!privileged) return EPERM;
  if (group < 1 || group > 32) return EINVAL;
  const bit = 1 << (group - 1);
  socket.setGroups(join ? socket.groups | bit : socket.groups & ~bit);
  return 0;
}

function setOption(socket: EmulatedSocket, name: string, value: number, privileged: boolean): number {
  switch (name) {
    case 'rcvbuf':
      socket.setReceiveBuffer(value);
      return 0;
    case 'add_membership':
    case 'drop_membership':
      return setMembership(socket, value, name === 'add_membership', privileged);
    case 'cap_ack':
      socket.options.capAck = value !== 0;
      return 0;
    case 'ext_ack':
      socket.options.extAck = value !== 0;
      return 0;
    case 'no_enobufs':
      socket.options.noEnobufs = value !== 0;
      return 0;
    default:
      // pktinfo, broadcast_error, listen_all_nsid, strict_chk: nothing that a scenario can see.
      return 0;
  }
}

function readAll(socket: EmulatedSocket): Received {
  const received = nothing();
  const { overrun, batch } = socket.read();
  if (overrun) received.overruns.push([0, ENOBUFS]);
  for (let i = 0; i < batch.count; i++) {
    const at = batch.offsets[i] as number;
    addDatagram(received, batch.buffer.slice(at, at + (batch.lengths[i] as number)), batch.groups[i] as number);
  }
  return received;
}

/** Each datagram is one message, and there are no groups. */
function readPfkey(socket: EmulatedPfkeySocket): Received {
  const received = nothing();
  const { batch } = socket.read();
  for (let i = 0; i < batch.count; i++) {
    const at = batch.offsets[i] as number;
    addPfkey(received, batch.buffer.slice(at, at + (batch.lengths[i] as number)));
  }
  return received;
}

const addressOf = (text: string): { family: number; address: SaKey['daddr'] } => {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`The scenario has an address that is none: ${text}`);
  return parsed;
};

function bytesOf(text: string): Uint8Array {
  const { w0, w1, w2, w3 } = addressOf(text).address;
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  [w0, w1, w2, w3].forEach((word, i) => {
    view.setUint32(4 * i, word);
  });
  return bytes;
}

function keyOf(sa: {
  daddr: string;
  spi: number;
  proto: number;
  family: number;
  mark?: [number, number] | undefined;
}): SaKey {
  const [value, mask] = sa.mark ?? [0, 0];
  const { daddr, spi, proto, family } = sa;
  return { family, daddr: addressOf(daddr).address, spi, proto, mark: (value & mask) >>> 0 };
}
