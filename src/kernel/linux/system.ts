import { closeSync } from 'node:fs';
import { version } from 'node:os';
import { syscallError } from '../errors.ts';
import {
  CAP_NET_ADMIN,
  CAPABILITY_VERSION_3,
  CapabilityData,
  Cmsghdr,
  Iovec,
  Mmsghdr,
  MSG_DONTWAIT,
  NETLINK_PKTINFO,
  POLLIN,
  SCHED_FIFO,
  SCHED_OTHER,
  SOCK_CLOEXEC,
  SOL_NETLINK,
  SockaddrNl,
} from './abi.ts';
import { type Host, type Libc, loadLibc } from './libc.ts';
import { inOpenNamespace, newNetworkNamespace } from './namespace.ts';

/**
 * The machine below the door, for programs that examine a kernel instead of using it: network namespaces, sockets of any family, and
 * rights given up for a moment. All calls are synchronous and act on the calling thread. What Linux reports as an errno comes back as a
 * negative number, as in the kernel itself; only what leaves the thread in a state that nobody wants is thrown.
 */
export interface LinuxSystem {
  /** Makes a network namespace and returns its descriptor. @throws KernelError ERR_PERMISSION */
  newNamespace(): number;
  /** Runs `action` in a namespace; sockets and files of /proc/thread-self/net that it opens belong there for good. */
  inNamespace<T>(namespace: number, action: () => T): T;
  /** Runs `action` without CAP_NET_ADMIN in the thread's effective set. */
  withoutNetAdmin<T>(action: () => T): T;
  /** Whether the kernel is built for several processors: its workers then wait for RCU, and finish later. */
  readonly smp: boolean;
  /** Keeps the thread on the processor it is on. */
  holdProcessor(): ProcessorHold;
  /** A descriptor, closed on exec, or a negative errno. */
  socket(family: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array): number;
  setOption(fd: number, level: number, option: number, value: number): number;
  /** Sends one datagram without waiting, to `address` if there is one. 0 or a negative errno. */
  send(fd: number, datagram: Uint8Array, address: Uint8Array | null): number;
  /** The next datagram, in memory of its own, or a negative errno: -11 (EAGAIN) if none waits. */
  receive(fd: number): ReceivedDatagram | number;
  /** Waits until something can be read, or an error reported; false when the time is over. */
  waitReadable(fd: number, timeoutMs: number): boolean;
  close(fd: number): void;
}

/**
 * The thread on one processor. On an SMP kernel it also has real-time priority there, if it may: workers of the kernel run when this thread
 * waits or lets them.
 */
export interface ProcessorHold {
  /** Lets those run who are ready to, such as a worker that a request has woken. */
  letWorkersRun(): void;
  release(): void;
}

export interface ReceivedDatagram {
  readonly bytes: Uint8Array;
  /** Of a netlink socket with NETLINK_PKTINFO: the group it was multicast to; else 0. */
  readonly group: number;
  /** The port id of a netlink sender, 0 for the kernel. */
  readonly portId: number;
}

/** Makes the kernel pack the parts of a dump into as large datagrams as it ever does, and holds any packet. */
const RECEIVE_BYTES = 128 << 10;
const CONTROL_BYTES = 64;
const INTERRUPTED = 4;
/** A call that signals interrupt is made again, so often. */
const ATTEMPTS_MAX = 100;
/** 1024 processors. */
const AFFINITY_WORDS = 32;
/** Many times what a worker takes, as it has the processor to itself. */
const WORKER_MS = 20;
/** The lowest one: above everything that is not real-time. */
const FIFO_PRIORITY = 1;

/** Loads libc. @throws KernelError ERR_NOT_LINUX, ERR_UNSUPPORTED_ARCH or ERR_NO_KOFFI */
export async function openSystem(host?: Host): Promise<LinuxSystem> {
  const libc = await loadLibc(host);
  const message = new MessageSlot(libc);
  // The kernel's version begins with its build number and what kind of build it is.
  const smp = / SMP /.test(version());
  const result = (value: number): number => (value < 0 ? -libc.errno() : value);
  return {
    newNamespace: () => newNetworkNamespace(libc),
    inNamespace: (namespace, action) => inOpenNamespace(libc, namespace, 'a network namespace', action),
    withoutNetAdmin: (action) => withoutNetAdmin(libc, action),
    smp,
    holdProcessor: () => holdProcessor(libc, smp),
    socket: (family, type, protocol) => result(libc.socket(family, type | SOCK_CLOEXEC, protocol)),
    bind: (fd, address) => result(libc.bind(fd, address, address.length)),
    setOption: (fd, level, option, value) => result(libc.setsockopt(fd, level, option, Int32Array.of(value), 4)),
    send(fd, datagram, address) {
      const sent = again(() =>
        result(libc.sendto(fd, datagram, datagram.length, MSG_DONTWAIT, address, address?.length ?? 0)),
      );
      return Math.min(sent, 0);
    },
    receive: (fd) => message.receive(fd),
    waitReadable(fd, timeoutMs) {
      const end = performance.now() + timeoutMs;
      // struct pollfd: descriptor, then 16 bits of what to wait for and 16 bits of what there is.
      const pollfd = Int32Array.of(fd, 0);
      new Int16Array(pollfd.buffer)[2] = POLLIN;
      const left = (): number => Math.max(0, Math.ceil(end - performance.now()));
      const ready = again(() => result(libc.poll(pollfd, 1, left())));
      if (ready < 0) throw syscallError('poll', -ready, 'Cannot wait for a socket');
      return ready > 0;
    },
    close: (fd) => closeSync(fd),
  };
}

function again(call: () => number): number {
  let result = -INTERRUPTED;
  for (let attempt = 0; attempt < ATTEMPTS_MAX && result === -INTERRUPTED; attempt++) result = call();
  return result;
}

/** capset(2) of libc is the bare system call, which changes one thread. */
function withoutNetAdmin<T>(libc: Libc, action: () => T): T {
  const header = Uint32Array.of(CAPABILITY_VERSION_3, 0);
  const full = new Uint32Array(CapabilityData.words);
  if (libc.capget(header, full) < 0) throw syscallError('capget', libc.errno(), 'Cannot read the capabilities');
  const less = full.slice();
  less[CapabilityData.effectiveWord] = (full[CapabilityData.effectiveWord] as number) & ~(1 << CAP_NET_ADMIN);
  set(less, 'Cannot give up CAP_NET_ADMIN');
  try {
    return action();
  } finally {
    set(full, 'Cannot take CAP_NET_ADMIN back');
  }

  function set(data: Uint32Array, what: string): void {
    if (libc.capset(header, data) < 0) throw syscallError('capset', libc.errno(), what);
  }
}

function holdProcessor(libc: Libc, smp: boolean): ProcessorHold {
  const before = new Uint32Array(AFFINITY_WORDS);
  const here = new Uint32Array(AFFINITY_WORDS);
  if (libc.sched_getaffinity(0, before.byteLength, before) < 0) {
    throw syscallError('sched_getaffinity', libc.errno(), 'Cannot read the affinity');
  }
  const processor = libc.sched_getcpu();
  here[processor >>> 5] = 1 << (processor & 31);
  if (libc.sched_setaffinity(0, here.byteLength, here) < 0) {
    throw syscallError('sched_setaffinity', libc.errno(), 'Cannot stay on a processor');
  }
  const schedule = (policy: number, priority: number): boolean =>
    libc.sched_setscheduler(0, policy, Int32Array.of(priority)) >= 0;
  // Without CAP_SYS_NICE, or with a libc that does not offer it, workers may come in between.
  const realTime = smp && schedule(SCHED_FIFO, FIFO_PRIORITY);
  return {
    letWorkersRun() {
      // To yield is not to stop: 6.12's scheduler may choose this thread again.
      if (smp) libc.poll(Int32Array.of(-1, 0), 1, WORKER_MS);
      else libc.sched_yield();
    },
    release() {
      if (realTime) schedule(SCHED_OTHER, 0);
      libc.sched_setaffinity(0, before.byteLength, before);
    },
  };
}

/** Room for one datagram, its sender and its control messages, as recvmmsg(2) wants it. */
class MessageSlot {
  readonly #libc: Libc;
  readonly #data = new Uint8Array(new ArrayBuffer(RECEIVE_BYTES));
  readonly #name = new Uint32Array(new ArrayBuffer(SockaddrNl.bytes));
  readonly #control = new BigUint64Array(new ArrayBuffer(CONTROL_BYTES));
  readonly #iovec = new BigUint64Array(new ArrayBuffer(Iovec.bytes));
  readonly #header = new BigUint64Array(new ArrayBuffer(Mmsghdr.bytes));
  readonly #words = new Uint32Array(this.#header.buffer);
  readonly #controlWords = new Uint32Array(this.#control.buffer);

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#iovec[Iovec.baseWord64] = libc.addressOf(this.#data);
    this.#iovec[Iovec.lengthWord64] = BigInt(RECEIVE_BYTES);
    this.#header[Mmsghdr.nameWord64] = libc.addressOf(this.#name);
    this.#header[Mmsghdr.iovWord64] = libc.addressOf(this.#iovec);
    this.#header[Mmsghdr.iovCountWord64] = 1n;
    this.#header[Mmsghdr.controlWord64] = libc.addressOf(this.#control);
  }

  receive(fd: number): ReceivedDatagram | number {
    this.#words[Mmsghdr.nameLengthWord] = SockaddrNl.bytes;
    this.#header[Mmsghdr.controlLengthWord64] = BigInt(CONTROL_BYTES);
    this.#name.fill(0);
    const read = again(() => {
      const count = this.#libc.recvmmsg(fd, this.#header, 1, MSG_DONTWAIT, null);
      return count < 0 ? -this.#libc.errno() : count;
    });
    if (read < 0) return read;
    return {
      bytes: this.#data.slice(0, this.#words[Mmsghdr.lengthWord] as number),
      group: this.#group(),
      portId: this.#name[SockaddrNl.portIdWord] as number,
    };
  }

  /** NETLINK_PKTINFO is the only control message that a netlink socket of ours asks for. */
  #group(): number {
    if (this.#header[Mmsghdr.controlLengthWord64] === 0n) return 0;
    const words = this.#controlWords;
    if (words[Cmsghdr.levelWord] !== SOL_NETLINK || words[Cmsghdr.typeWord] !== NETLINK_PKTINFO) return 0;
    return words[Cmsghdr.dataWord] as number;
  }
}
