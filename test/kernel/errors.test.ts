/** What an operator is told. No kernel is needed: libc is a stand-in where a call has to fail. */
import { describe, expect, test } from 'vitest';
import { Errno, KernelError, type KernelErrorCode, syscallError } from '../../src/kernel/errors.ts';
import { type Host, type Libc, loadLibc } from '../../src/kernel/linux/libc.ts';
import { linuxKernel } from '../../src/kernel/linux/linux.ts';
import { openPfkeySocket, openXfrmSocket } from '../../src/kernel/linux/open.ts';
import { LinuxSocket, pfkeyProtocol } from '../../src/kernel/linux/socket.ts';

const host: Host = { platform: 'linux', arch: 'x64', importKoffi: async () => import('koffi') };

describe('a machine that cannot', () => {
  const table: { name: string; host: Partial<Host>; code: KernelErrorCode; says: RegExp }[] = [
    { name: 'macOS', host: { platform: 'darwin' }, code: 'ERR_NOT_LINUX', says: /darwin: run on Linux/ },
    {
      name: 'Windows on a 32-bit machine',
      host: { platform: 'win32', arch: 'ia32' },
      code: 'ERR_NOT_LINUX',
      says: /win32/,
    },
    { name: '32-bit ARM (trap 13)', host: { arch: 'arm' }, code: 'ERR_UNSUPPORTED_ARCH', says: /64-bit.*arm/ },
    {
      name: 'no koffi',
      host: { importKoffi: () => Promise.reject(new Error('not found')) },
      code: 'ERR_NO_KOFFI',
      says: /npm i koffi/,
    },
    {
      name: 'koffi too old',
      host: { importKoffi: async () => ({ version: '2.9.0' }) },
      code: 'ERR_NO_KOFFI',
      says: /2\.9\.0.*npm i koffi/,
    },
    {
      name: 'koffi without libc',
      host: {
        importKoffi: async () => ({
          version: '3.3.4',
          node: { poll() {} },
          load() {
            throw new Error("Cannot find function 'recvmmsg'");
          },
        }),
      },
      code: 'ERR_NO_KOFFI',
      says: /libc/,
    },
  ];

  test.each(table)('$name: $code', async ({ host: difference, code, says }) => {
    const opening = linuxKernel({}, { ...host, ...difference }).open();
    await expect(opening).rejects.toBeInstanceOf(KernelError);
    await expect(opening).rejects.toMatchObject({ code, message: expect.stringMatching(says) });
  });

  test('the platform is tested before koffi is touched', async () => {
    let imported = 0;
    const importKoffi = async () => {
      imported++;
    };
    await expect(loadLibc({ platform: 'freebsd', arch: 'x64', importKoffi })).rejects.toThrow(KernelError);
    await expect(loadLibc({ platform: 'linux', arch: 'ia32', importKoffi })).rejects.toThrow(KernelError);
    expect(imported).toBe(0);
  });

  test('the cause is kept', async () => {
    const cause = new Error('Cannot find the native Koffi module');
    const opening = linuxKernel({}, { ...host, importKoffi: () => Promise.reject(cause) }).open();
    await expect(opening).rejects.toMatchObject({ cause });
  });
});

describe('a system call that fails', () => {
  const table: { syscall: string; errno: number; code: KernelErrorCode; says: RegExp }[] = [
    { syscall: 'socket', errno: Errno.EPROTONOSUPPORT, code: 'ERR_NO_XFRM', says: /modprobe xfrm_user/ },
    { syscall: 'socket', errno: Errno.EAFNOSUPPORT, code: 'ERR_NO_XFRM', says: /EAFNOSUPPORT/ },
    { syscall: 'sendto', errno: Errno.ECONNREFUSED, code: 'ERR_NO_XFRM', says: /modprobe xfrm_user/ },
    { syscall: 'socket', errno: Errno.EMFILE, code: 'ERR_SYSCALL', says: /LimitNOFILE/ },
    { syscall: 'setsockopt', errno: Errno.EPERM, code: 'ERR_PERMISSION', says: /CAP_NET_ADMIN/ },
    { syscall: 'setns', errno: Errno.EPERM, code: 'ERR_PERMISSION', says: /CAP_SYS_ADMIN/ },
    { syscall: 'setns', errno: Errno.EINVAL, code: 'ERR_NAMESPACE', says: /network namespace/ },
    { syscall: 'sendto', errno: Errno.EMSGSIZE, code: 'ERR_TOO_LARGE', says: /wmem_max/ },
    { syscall: 'sendto', errno: Errno.ENOBUFS, code: 'ERR_SYSCALL', says: /took nothing/ },
    { syscall: 'recvmmsg', errno: 14, code: 'ERR_SYSCALL', says: /errno 14/ },
  ];

  test.each(table)('$syscall, errno $errno: $code', ({ syscall, errno, code, says }) => {
    const error = syscallError(syscall, errno, 'Cannot');
    expect(error).toMatchObject({ name: 'KernelError', code, errno, syscall });
    expect(error.message).toMatch(says);
  });
});

describe('the socket, when libc fails', () => {
  /** Every call succeeds unless said otherwise; nothing is ever waiting. */
  function libcWith(calls: Partial<Libc>): { libc: Libc; closed: number[] } {
    const closed: number[] = [];
    const ok = () => 0;
    const libc: Libc = {
      errno: () => Errno.EAGAIN,
      socket: () => 42,
      bind: ok,
      getsockname: ok,
      setsockopt: ok,
      getsockopt: ok,
      sendto: (_fd, _data, bytes) => bytes,
      recvmmsg: () => -1,
      setns: ok,
      unshare: ok,
      poll: ok,
      capget: ok,
      capset: ok,
      sched_getaffinity: ok,
      sched_setaffinity: ok,
      sched_setscheduler: ok,
      sched_getcpu: ok,
      sched_yield: ok,
      ioctl: ok,
      read: () => -1,
      write: (_fd, _data, bytes) => bytes,
      close: (fd) => closed.push(fd),
      addressOf: () => 0n,
      watch: () => ({ restart() {}, close() {} }),
      ...calls,
    };
    return { libc, closed };
  }

  function socketOn(libc: Libc): LinuxSocket {
    return new LinuxSocket(libc, openXfrmSocket(libc, undefined, {}), false);
  }

  test('a kernel without XFRM', () => {
    const { libc, closed } = libcWith({ socket: () => -1, errno: () => Errno.EPROTONOSUPPORT });
    expect(() => openXfrmSocket(libc, undefined, {})).toThrow(
      expect.objectContaining({ code: 'ERR_NO_XFRM', syscall: 'socket' }),
    );
    expect(closed).toEqual([]);
  });

  test.each([
    [Errno.EAFNOSUPPORT, 'ERR_NO_PFKEY', /modprobe af_key/],
    [Errno.EPROTONOSUPPORT, 'ERR_NO_PFKEY', /modprobe af_key/],
    [Errno.ESOCKTNOSUPPORT, 'ERR_NO_PFKEY', /modprobe af_key/],
    [Errno.EPERM, 'ERR_PERMISSION', /CAP_NET_ADMIN/],
    [Errno.EMFILE, 'ERR_SYSCALL', /LimitNOFILE/],
  ] as const)('no PF_KEY socket for errno %i: %s', (errno, code, says) => {
    const { libc, closed } = libcWith({ socket: () => -1, errno: () => errno });
    expect(() => openPfkeySocket(libc, undefined, {})).toThrow(
      expect.objectContaining({ code, errno, syscall: 'socket', message: expect.stringMatching(says) }),
    );
    expect(closed).toEqual([]);
  });

  test('a PF_KEY socket: its family, its buffers, what it sends', () => {
    const opened: number[][] = [];
    let errno: number = Errno.EPERM;
    const { libc, closed } = libcWith({
      socket: (...parameters) => opened.push(parameters) + 41,
      getsockopt: (_fd, _level, _option, value) => {
        (value as Int32Array)[0] = 1000;
        return 0;
      },
      sendto: () => -1,
      errno: () => errno,
    });
    const facts = openPfkeySocket(libc, undefined, {});
    expect(opened).toEqual([[15, 3 | 0o2000000, 2]]);
    expect(facts).toMatchObject({ fd: 42, receiveBufferBytes: 1000, datagramBytesMax: 968 });
    const socket = new LinuxSocket(libc, facts, true, pfkeyProtocol);
    expect(() => socket.send(new Uint8Array(15))).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
    for (const [failed, bytes, code] of [
      [Errno.EINVAL, 16, 'ERR_MALFORMED'],
      [Errno.EMSGSIZE, 16, 'ERR_MALFORMED'],
      [Errno.EMSGSIZE, 1000, 'ERR_TOO_LARGE'],
      [Errno.ENOBUFS, 16, 'ERR_SYSCALL'],
    ] as const) {
      errno = failed;
      expect(() => socket.send(new Uint8Array(bytes))).toThrow(expect.objectContaining({ code, errno }));
    }
    expect(() => openPfkeySocket(libc, undefined, { receiveBufferBytes: 0 })).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
    errno = Errno.ENOMEM;
    libc.getsockopt = () => -1;
    expect(() => openPfkeySocket(libc, undefined, {})).toThrow(expect.objectContaining({ code: 'ERR_SYSCALL' }));
    expect(closed).toEqual([43]);
  });

  test('what was opened is closed when a later step fails', () => {
    const { libc, closed } = libcWith({ bind: () => -1, errno: () => Errno.ENOMEM });
    expect(() => openXfrmSocket(libc, undefined, {})).toThrow(
      expect.objectContaining({ code: 'ERR_SYSCALL', syscall: 'bind' }),
    );
    expect(closed).toEqual([42]);
  });

  test('buffers may not be forced: SO_RCVBUF and SO_SNDBUF are asked instead', () => {
    const asked: number[] = [];
    const { libc } = libcWith({
      setsockopt: (_fd, level, option) => {
        if (level !== 1) return 0;
        asked.push(option);
        return option === 32 || option === 33 ? -1 : 0;
      },
      errno: () => Errno.EPERM,
    });
    openXfrmSocket(libc, undefined, {});
    expect(asked).toEqual([33, 8, 32, 7]);
  });

  test('the thread that cannot come back from a namespace says so', () => {
    let entered = false;
    const { libc } = libcWith({
      setns: () => {
        if (entered) return -1;
        entered = true;
        return 0;
      },
    });
    expect(() => openXfrmSocket(libc, '/proc/self/ns/net', {})).toThrow(
      expect.objectContaining({ code: 'ERR_NAMESPACE', message: expect.stringMatching(/restart/) }),
    );
  });

  test('send: EINTR is tried again, but not for ever; the rest is thrown', () => {
    let attempts = 0;
    let errno: number = Errno.EINTR;
    let succeedAt = 3;
    const { libc } = libcWith({
      sendto: (_fd, _data, bytes) => (++attempts === succeedAt ? bytes : -1),
      errno: () => errno,
    });
    const socket = socketOn(libc);
    socket.send(new Uint8Array(16));
    expect(attempts).toBe(3);

    succeedAt = -1;
    attempts = 0;
    expect(() => socket.send(new Uint8Array(16))).toThrow(
      expect.objectContaining({ code: 'ERR_SYSCALL', errno: Errno.EINTR }),
    );
    expect(attempts).toBe(8);

    for (errno of [Errno.EAGAIN, Errno.ENOBUFS]) {
      attempts = 0;
      expect(() => socket.send(new Uint8Array(16))).toThrow(expect.objectContaining({ code: 'ERR_SYSCALL', errno }));
      expect(attempts).toBe(1);
    }
    expect(socket.fd).toBe(42);
  });

  test('a receive that fails for good closes the socket and goes to the error handler', () => {
    const { libc, closed } = libcWith({ errno: () => 14 });
    const socket = socketOn(libc);
    const faults: Error[] = [];
    socket.onError((error) => faults.push(error));
    socket.receive(() => {});
    socket.drain();
    expect(faults).toEqual([expect.objectContaining({ code: 'ERR_SYSCALL', syscall: 'recvmmsg', errno: 14 })]);
    expect(closed).toEqual([42]);
    expect(() => socket.drain()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });

  test('a kernel that never stops answering EINTR does not hold drain for ever', () => {
    let reads = 0;
    const { libc } = libcWith({
      recvmmsg: () => {
        reads++;
        return -1;
      },
      errno: () => Errno.EINTR,
      getsockopt: (_fd, _level, _option, value) => {
        value[0] = 1 << 20;
        return 0;
      },
    });
    const socket = socketOn(libc);
    socket.receive(() => {});
    socket.drain();
    // A full buffer of the smallest datagrams, eight at a time, and one more.
    expect(reads).toBe((1 << 20) / 512 / 8 + 1);
  });

  test('readiness: nothing is thrown into koffi, and a stopped watch is started again after the read', () => {
    const calls: string[] = [];
    let ready: (status: number) => void = () => {};
    const { libc } = libcWith({
      recvmmsg: () => {
        calls.push('read');
        return -1;
      },
      watch: (_fd, callback) => {
        ready = callback;
        return { restart: () => calls.push('restart'), close: () => calls.push('close') };
      },
    });
    const socket = socketOn(libc);
    socket.receive(() => {});
    ready(0);
    expect(calls).toEqual(['read']);
    ready(-9);
    expect(calls).toEqual(['read', 'read', 'restart']);

    const faults: Error[] = [];
    socket.onError((error) => faults.push(error));
    libc.recvmmsg = () => {
      throw new TypeError('from koffi');
    };
    expect(() => ready(0)).not.toThrow();
    expect(faults).toEqual([expect.any(TypeError)]);
    expect(calls.at(-1)).toBe('close');
  });
});
