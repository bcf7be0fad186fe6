import { KernelError } from '../errors.ts';
import type { Kernel, OpenOptions } from '../kernel.ts';
import { Errno } from './errno.ts';
import { GROUP_MAX, Host, type HostOptions } from './host.ts';
import { type InboundFacts, input, type Verdict } from './input.ts';
import { Namespace, type XfrmStat } from './namespace.ts';
import { type OutboundFacts, type OutboundResult, output } from './output.ts';
import { EmulatedSocket } from './socket.ts';
import { readSysctl, writeSysctl } from './sysctl.ts';

export interface EmulatedOptions extends HostOptions {}

export interface EmulatedOpenOptions extends OpenOptions {
  /** The port id to bind to; without it the process id if it is free, else one that the kernel picks. */
  portId?: number;
  /** False: opened without CAP_NET_ADMIN. */
  privileged?: boolean;
}

/**
 * One network namespace of an emulated machine: a `Kernel` as good as the real one, and beside it what a real one has elsewhere: sysctls,
 * counters, and packets.
 */
export interface EmulatedNamespace extends Kernel {
  open(options?: EmulatedOpenOptions): Promise<EmulatedSocket>;
  /** As `open`, at once. @throws KernelError as `open` rejects */
  openNow(options?: EmulatedOpenOptions): EmulatedSocket;
  /** Writes a sysctl by its dotted name; 0 or the errno. */
  setSysctl(name: string, value: string): number;
  sysctl(name: string): string | undefined;
  /** A counter of /proc/net/xfrm_stat. */
  stat(name: XfrmStat): number;
  stats(): Readonly<Record<string, number>>;
  /** Takes an inbound IPsec packet: check, account, number, events. */
  input(facts: InboundFacts): Verdict;
  /** Takes an outbound packet through policies and SAs. The result is valid until the next call. */
  output(facts: OutboundFacts): OutboundResult;
  /** The engine's own half, for data planes that keep hold of an SA. */
  readonly engine: Namespace;
}

export interface EmulatedKernel extends EmulatedNamespace {
  /** Another network namespace of the same machine. Namespaces share the listeners' mask and the clock, nothing else. */
  namespace(): EmulatedNamespace;
}

/** A machine with an emulated kernel; what it returns is its first network namespace. */
export function emulatedKernel(options: EmulatedOptions = {}): EmulatedKernel {
  const host = new Host(options);
  return { ...namespaceOf(host), namespace: () => namespaceOf(host) };
}

function namespaceOf(host: Host): EmulatedNamespace {
  const ns = new Namespace(host);
  const openNow = (options: EmulatedOpenOptions = {}): EmulatedSocket => openSocket(ns, options);
  return {
    name: 'emulated',
    engine: ns,
    open: async (options) => openNow(options),
    openNow,
    setSysctl: (name, value) => writeSysctl(ns.sysctls, name, value),
    sysctl: (name) => readSysctl(ns.sysctls, name),
    stat: (name) => ns.stats.get(name) ?? 0,
    stats: () => Object.fromEntries(ns.stats),
    input: (facts) => input(ns, facts),
    output: (facts) => output(ns, facts),
  };
}

/** Port ids that the kernel picks have their top bit set. */
const PICKED = 0x8000_0000;

function openSocket(ns: Namespace, options: EmulatedOpenOptions): EmulatedSocket {
  const groups = maskOf(options.groups ?? []);
  const privileged = options.privileged ?? true;
  if (groups !== 0 && !privileged) {
    throw new KernelError('ERR_PERMISSION', 'Joining a group needs CAP_NET_ADMIN', {
      errno: Errno.EPERM,
      syscall: 'bind',
    });
  }
  const { portId: wanted } = options;
  if (wanted !== undefined && ns.sockets.has(wanted)) {
    throw new KernelError('ERR_SYSCALL', `Port id ${wanted} is taken: choose another, or let the kernel choose`, {
      errno: Errno.EADDRINUSE,
      syscall: 'bind',
    });
  }
  return new EmulatedSocket(ns, {
    portId: wanted ?? freePort(ns),
    groups,
    receiveBufferBytes: options.receiveBufferBytes,
    privileged,
  });
}

function freePort(ns: Namespace): number {
  let portId = ns.host.processId;
  while (portId === 0 || ns.sockets.has(portId)) portId = (ns.host.random() | PICKED) >>> 0;
  return portId;
}

function maskOf(groups: Iterable<number>): number {
  let mask = 0;
  for (const group of groups) {
    if (!Number.isInteger(group) || group < 1 || group > GROUP_MAX) {
      throw new KernelError('ERR_ARGUMENT', `Group ${group}: groups are 1 to ${GROUP_MAX}`, { errno: Errno.EINVAL });
    }
    mask |= 1 << (group - 1);
  }
  return mask >>> 0;
}
