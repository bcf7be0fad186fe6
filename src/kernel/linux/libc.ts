/**
 * The one file that knows how Node.js calls libc: through koffi, imported when first needed, so that everything else loads on any
 * machine. Calls return what C returns; after -1 ask `errno()` before calling anything else.
 */
import { KernelError } from '../errors.ts';

/** Memory that libc may read or write during a call, or, where its address is stored, for as long as the storing one is in use. */
export type Memory = Uint8Array | Int32Array | Uint32Array | BigUint64Array;

/** Readiness of one descriptor, watched by libuv. While it is open it keeps the event loop alive. */
export interface Watch {
  /** Starts again after libuv has stopped by itself, which it does when it reports a negative status. */
  restart(): void;
  /** After this the descriptor may be closed at once. */
  close(): void;
}

export interface Libc {
  errno(): number;
  socket(family: number, type: number, protocol: number): number;
  bind(fd: number, address: Memory, addressBytes: number): number;
  getsockname(fd: number, address: Memory, addressBytes: Memory): number;
  setsockopt(fd: number, level: number, option: number, value: Memory, valueBytes: number): number;
  getsockopt(fd: number, level: number, option: number, value: Memory, valueBytes: Memory): number;
  sendto(fd: number, data: Memory, bytes: number, flags: number, address: Memory | null, addressBytes: number): number;
  recvmmsg(fd: number, headers: Memory, count: number, flags: number, timeout: null): number;
  setns(fd: number, type: number): number;
  unshare(flags: number): number;
  poll(fds: Memory, count: number, timeoutMs: number): number;
  capget(header: Memory, data: Memory): number;
  capset(header: Memory, data: Memory): number;
  sched_getaffinity(pid: number, bytes: number, mask: Memory): number;
  sched_setaffinity(pid: number, bytes: number, mask: Memory): number;
  sched_setscheduler(pid: number, policy: number, param: Memory): number;
  sched_getcpu(): number;
  sched_yield(): number;
  /** With an argument in memory; calls that take it by value have no place here. */
  ioctl(fd: number, request: number, argument: Memory): number;
  read(fd: number, data: Memory, bytes: number): number;
  write(fd: number, data: Memory, bytes: number): number;
  close(fd: number): number;
  /** Where `memory` lies. It moves never if it is on an ArrayBuffer of its own; whoever stores the address keeps `memory` referenced. */
  addressOf(memory: Memory): bigint;
  /**
   * Calls `ready` when `fd` is readable (level-triggered) or in error; the status is negative in the latter case, and nothing else may
   * be read from it. `ready` must not throw: koffi would never call it again.
   */
  watch(fd: number, ready: (status: number) => void): Watch;
}

/** What the machine is. Tests put another one here. */
export interface Host {
  platform: string;
  arch: string;
  importKoffi: () => Promise<unknown>;
}

type Koffi = typeof import('koffi');

const KOFFI_WANTED = 'npm i koffi@3.3.4';
const ARCHES_64_BIT: readonly string[] = ['x64', 'arm64', 'riscv64', 'loong64', 'ppc64', 's390x', 'mips64el'];

const thisHost: Host = { platform: process.platform, arch: process.arch, importKoffi: () => import('koffi') };

let loaded: Promise<Libc> | undefined;

/** Throws `KernelError` ERR_NOT_LINUX, ERR_UNSUPPORTED_ARCH or ERR_NO_KOFFI, in this order. */
export function loadLibc(host: Host = thisHost): Promise<Libc> {
  if (host !== thisHost) return load(host);
  loaded ??= load(thisHost).catch((error: unknown) => {
    loaded = undefined;
    throw error;
  });
  return loaded;
}

async function load(host: Host): Promise<Libc> {
  if (host.platform !== 'linux') {
    throw new KernelError(
      'ERR_NOT_LINUX',
      `The Linux kernel's XFRM sockets do not exist on ${host.platform}: run on Linux`,
    );
  }
  if (!ARCHES_64_BIT.includes(host.arch)) {
    throw new KernelError(
      'ERR_UNSUPPORTED_ARCH',
      `XFRM sockets need a 64-bit Node.js, and this one is built for ${host.arch}: install a 64-bit build`,
    );
  }
  let koffi: Koffi;
  try {
    koffi = (await host.importKoffi()) as Koffi;
  } catch (cause) {
    throw new KernelError(
      'ERR_NO_KOFFI',
      `XFRM sockets need the optional package koffi, which does not load: ${KOFFI_WANTED} (without --omit=optional or --no-optional)`,
      { cause },
    );
  }
  if (typeof koffi.node?.poll !== 'function') {
    throw new KernelError('ERR_NO_KOFFI', `koffi ${koffi.version} cannot watch sockets: ${KOFFI_WANTED}`);
  }
  try {
    return bindLibc(koffi);
  } catch (cause) {
    throw new KernelError('ERR_NO_KOFFI', `koffi ${koffi.version} does not find the calls of libc: ${KOFFI_WANTED}`, {
      cause,
    });
  }
}

function bindLibc(koffi: Koffi): Libc {
  // null: libc is in the process already, be it glibc or musl.
  const process_ = koffi.load(null);
  const ioctl = process_.func('int ioctl(int, unsigned long, ...)');
  return {
    errno: () => koffi.errno(),
    socket: process_.func('int socket(int, int, int)'),
    bind: process_.func('int bind(int, const void *, uint32_t)'),
    getsockname: process_.func('int getsockname(int, void *, void *)'),
    setsockopt: process_.func('int setsockopt(int, int, int, const void *, uint32_t)'),
    getsockopt: process_.func('int getsockopt(int, int, int, void *, void *)'),
    sendto: process_.func('intptr_t sendto(int, const void *, uintptr_t, int, const void *, uint32_t)'),
    recvmmsg: process_.func('int recvmmsg(int, void *, unsigned int, int, void *)'),
    setns: process_.func('int setns(int, int)'),
    unshare: process_.func('int unshare(int)'),
    poll: process_.func('int poll(void *, unsigned long, int)'),
    capget: process_.func('int capget(void *, void *)'),
    capset: process_.func('int capset(void *, const void *)'),
    sched_getaffinity: process_.func('int sched_getaffinity(int, uintptr_t, void *)'),
    sched_setaffinity: process_.func('int sched_setaffinity(int, uintptr_t, const void *)'),
    sched_yield: process_.func('int sched_yield()'),
    sched_setscheduler: process_.func('int sched_setscheduler(int, int, const void *)'),
    sched_getcpu: process_.func('int sched_getcpu()'),
    ioctl: (fd, request, argument) => ioctl(fd, request, 'void *', argument),
    read: process_.func('intptr_t read(int, void *, uintptr_t)'),
    write: process_.func('intptr_t write(int, const void *, uintptr_t)'),
    close: process_.func('int close(int)'),
    addressOf: (memory) => koffi.address(memory),
    watch: (fd, ready) => watch(koffi, fd, ready),
  };
}

function watch(koffi: Koffi, fd: number, ready: (status: number) => void): Watch {
  const readable = { readable: true };
  // koffi's types say that the callback gets the events; what comes first is libuv's status.
  const callback = ready as unknown as (events: unknown) => void;
  const handle = koffi.node.poll(fd, readable, callback);
  return {
    restart: () => handle.start(readable, callback),
    close: () => handle.close(),
  };
}
