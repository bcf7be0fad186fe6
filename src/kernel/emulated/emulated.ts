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
export class EmulatedNamespace implements Kernel {
  readonly name = 'emulated';
  readonly bootId: string;
  /** The engine's own half, for data planes that keep hold of an SA. */
  readonly engine: Namespace;

  constructor(host: Host) {
    this.engine = new Namespace(host);
    this.bootId = host.bootId;
  }

  async open(options?: EmulatedOpenOptions): Promise<EmulatedSocket> {
    return this.openNow(options);
  }

  /** As `open`, at once. @throws KernelError as `open` rejects */
  openNow(options: EmulatedOpenOptions = {}): EmulatedSocket {
    return openSocket(this.engine, options);
  }

  /** Writes a sysctl by its dotted name; 0 or the errno. */
  setSysctl(name: string, value: string): number {
    return writeSysctl(this.engine.sysctls, name, value);
  }

  sysctl(name: string): string | undefined {
    return readSysctl(this.engine.sysctls, name);
  }

  /** A counter of /proc/net/xfrm_stat. */
  stat(name: XfrmStat): number {
    return this.engine.stats.get(name) ?? 0;
  }

  stats(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.engine.stats);
  }

  /** Takes an inbound IPsec packet: check, account, number, events. */
  input(facts: InboundFacts): Verdict {
    return input(this.engine, facts);
  }

  /** Takes an outbound packet through policies and SAs. The result is valid until the next call. */
  output(facts: OutboundFacts): OutboundResult {
    return output(this.engine, facts);
  }
}

/** A machine with an emulated kernel, and its first network namespace. */
export class EmulatedKernel extends EmulatedNamespace {
  constructor(options: EmulatedOptions = {}) {
    super(new Host(options));
  }

  /** Another network namespace of the same machine. Namespaces share the listeners' mask and the clock, nothing else. */
  namespace(): EmulatedNamespace {
    return new EmulatedNamespace(this.engine.host);
  }
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
