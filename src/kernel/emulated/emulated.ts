import { KernelError } from '../errors.ts';
import { defaultReceiveBuffer, type Kernel, type OpenOptions, type PfkeyOpenOptions } from '../kernel.ts';
import { Errno } from './errno.ts';
import { checkErrno, type FaultScope, Faults, netlinkType } from './faults.ts';
import { GROUP_MAX, Host, type HostOptions } from './host.ts';
import { type InboundFacts, input, type Verdict } from './input.ts';
import { onLifetimeTimer } from './lifetime.ts';
import { Namespace, type Runs, type XfrmStat } from './namespace.ts';
import { type OutboundFacts, type OutboundResult, output } from './output.ts';
import { replayFrontEnd } from './pfkey/replay-notify.ts';
import { EmulatedPfkeySocket } from './pfkey/socket.ts';
import { onReplayTimer } from './replay-notify.ts';
import { type NamespaceSnapshot, type SnapshotOptions, takeSnapshotOf } from './snapshot.ts';
import { EmulatedSocket } from './socket.ts';
import { readSysctl, writeSysctl } from './sysctl.ts';

export interface EmulatedOptions extends HostOptions {}

export interface EmulatedOpenOptions extends OpenOptions {
  /** The port id to bind to; without it the process id if it is free, else one that the kernel picks. */
  portId?: number;
  /** False: opened without CAP_NET_ADMIN. */
  privileged?: boolean;
}

export interface EmulatedPfkeyOptions extends PfkeyOpenOptions {
  /** False: opened without CAP_NET_ADMIN. */
  readonly privileged?: boolean;
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
    this.engine = new Namespace(host, runsIn);
    this.bootId = host.bootId;
  }

  /** A socket as `linuxKernel` opens them: with explanations in refusals, and a large receive buffer. */
  async open(options: EmulatedOpenOptions = {}): Promise<EmulatedSocket> {
    const groups = [...(options.groups ?? [])];
    const receiveBufferBytes = options.receiveBufferBytes ?? defaultReceiveBuffer(groups.length > 0);
    const socket = this.openNow({ ...options, groups, receiveBufferBytes });
    socket.options.capAck = true;
    socket.options.extAck = true;
    return socket;
  }

  /** A plain socket, as socket(2) and bind(2) make it: no explanations, whole requests quoted, the system's receive buffer. @throws KernelError */
  openNow(options: EmulatedOpenOptions = {}): EmulatedSocket {
    return openSocket(this.engine, options);
  }

  /** A PF_KEY socket as `linuxKernel` opens them: with a large receive buffer. */
  async openPfkey(options: EmulatedPfkeyOptions = {}): Promise<EmulatedPfkeySocket> {
    return this.openPfkeyNow({
      ...options,
      receiveBufferBytes: options.receiveBufferBytes ?? defaultReceiveBuffer(true),
    });
  }

  /** A plain PF_KEY socket, as socket(2) makes it, with the system's receive buffer. @throws KernelError */
  openPfkeyNow({ privileged = true, ...options }: EmulatedPfkeyOptions = {}): EmulatedPfkeySocket {
    if (!privileged) {
      throw new KernelError('ERR_PERMISSION', 'PF_KEY needs CAP_NET_ADMIN', { errno: Errno.EPERM, syscall: 'socket' });
    }
    return new EmulatedPfkeySocket(this.engine, options);
  }

  /** The open netlink sockets of this namespace, oldest first: what a program under test has opened by itself. */
  sockets(): EmulatedSocket[] {
    return [...this.engine.sockets.values()].filter((socket) => socket instanceof EmulatedSocket);
  }

  /** The whole namespace as it stands, in words. */
  snapshot(options: SnapshotOptions = {}): NamespaceSnapshot {
    return takeSnapshotOf(this.engine, options);
  }

  /**
   * Answers the next request with this errno, given as a positive number; nothing of it is carried out, and other requests go on as usual.
   * @throws KernelError ERR_ARGUMENT
   */
  refuseNext(errno: number, scope: FaultScope = {}): void {
    this.engine.refusals ??= new Faults(netlinkType);
    this.engine.refusals.arm(checkErrno(errno), scope);
  }

  /**
   * The whole machine is out of memory. What allocates is refused as Linux does: NEWSA, UPDSA, NEWPOLICY, UPDPOLICY, ACQUIRE and all that
   * asks for something with ENOMEM, ALLOCSPI of a new SA with ENOENT, dumps with ENOBUFS. What takes no memory is carried out (DELSA, NEWAE,
   * flushes); all events are lost, and their listeners told of an overrun. PF_KEY takes no message at all (ENOBUFS). Acknowledgements,
   * packets and MIGRATE are spared.
   */
  get memoryPressure(): boolean {
    return this.engine.host.memoryPressure;
  }

  set memoryPressure(on: boolean) {
    this.engine.host.memoryPressure = on;
  }

  /** Ends the faults of the machine, of this namespace and of its sockets. */
  clearFaults(): void {
    this.memoryPressure = false;
    this.engine.refusals = undefined;
    for (const socket of [...this.engine.sockets.values(), ...this.engine.pfkey.all]) socket.clearFaults();
  }

  /** Writes a sysctl, named with dots or as its file below /proc/sys; 0 or the errno. */
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

function runsIn(ns: Namespace): Runs {
  const { replayNotifier } = ns.host;
  const frontEnd = replayFrontEnd(ns);
  return {
    replayTimer: (slot) => onReplayTimer(ns, slot),
    lifetimeTimer: (slot) => onLifetimeTimer(ns, slot),
    pfkeyRegistered(any) {
      if (any) replayNotifier.register(frontEnd);
      else replayNotifier.unregister(frontEnd);
    },
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
