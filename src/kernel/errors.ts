/** Why a kernel could not be reached, or a socket ended. Match on `code`; the message is for people and may change. */
export type KernelErrorCode =
  /** The platform is not Linux. */
  | 'ERR_NOT_LINUX'
  /** The machine's pointers are not 64 bits wide. */
  | 'ERR_UNSUPPORTED_ARCH'
  /** The optional dependency koffi is missing, too old, or has no build for this machine. */
  | 'ERR_NO_KOFFI'
  /** CAP_NET_ADMIN (or, to enter a namespace, CAP_SYS_ADMIN) is missing. */
  | 'ERR_PERMISSION'
  /** The kernel has no NETLINK_XFRM. */
  | 'ERR_NO_XFRM'
  /** The kernel has no PF_KEY sockets. */
  | 'ERR_NO_PFKEY'
  /** Nobody answers on the Unix socket of a kernel in another process. */
  | 'ERR_NO_KERNEL'
  /** The network namespace cannot be entered, or not be left again. */
  | 'ERR_NAMESPACE'
  /** An argument that no kernel could make sense of. */
  | 'ERR_ARGUMENT'
  /** A datagram to send that is larger than the send buffer. Nothing of it was sent. */
  | 'ERR_TOO_LARGE'
  /** PF_KEY: what was to be sent is no message to the kernel (header, version, type or length). */
  | 'ERR_MALFORMED'
  /** A datagram came that is larger than a receive slot: its end is lost. */
  | 'ERR_TRUNCATED'
  /** Any other system call that failed; see `errno` and `syscall`. */
  | 'ERR_SYSCALL'
  /** The socket has been closed, by its owner or by an earlier fault. */
  | 'ERR_CLOSED';

export interface KernelErrorFacts {
  /** Positive Linux errno. */
  errno?: number;
  syscall?: string;
  cause?: unknown;
}

export class KernelError extends Error {
  override readonly name = 'KernelError';
  readonly code: KernelErrorCode;
  readonly errno: number | undefined;
  readonly syscall: string | undefined;

  constructor(code: KernelErrorCode, message: string, facts: KernelErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.errno = facts.errno;
    this.syscall = facts.syscall;
  }
}

/** The errno values that this room meets, as Linux numbers them (asm-generic/errno.h). */
export const Errno = {
  EPERM: 1,
  EINTR: 4,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  EMSGSIZE: 90,
  EPROTONOSUPPORT: 93,
  ESOCKTNOSUPPORT: 94,
  EAFNOSUPPORT: 97,
  ENOBUFS: 105,
  ECONNREFUSED: 111,
} as const;

const errnoNames = new Map<number, string>(Object.entries(Errno).map(([name, errno]) => [errno, name]));

const remedies: readonly {
  code: KernelErrorCode;
  errnos: readonly number[];
  syscalls?: readonly string[];
  remedy: string;
}[] = [
  {
    code: 'ERR_NAMESPACE',
    errnos: [Errno.EINVAL],
    syscalls: ['setns'],
    remedy: 'the path does not name a network namespace; list them with: ip netns',
  },
  {
    code: 'ERR_PERMISSION',
    errnos: [Errno.EPERM, Errno.EACCES],
    syscalls: ['unshare'],
    remedy:
      'making a network namespace needs CAP_SYS_ADMIN and CAP_NET_ADMIN; run as root of a machine or guest of your own',
  },
  {
    code: 'ERR_PERMISSION',
    errnos: [Errno.EPERM, Errno.EACCES],
    syscalls: ['setns'],
    remedy: 'entering a network namespace needs CAP_SYS_ADMIN; or start the process inside it with: ip netns exec',
  },
  {
    code: 'ERR_PERMISSION',
    errnos: [Errno.EPERM, Errno.EACCES],
    remedy:
      'XFRM needs CAP_NET_ADMIN; run as root, set AmbientCapabilities=CAP_NET_ADMIN in the systemd unit, or, to try things out, use: unshare -Urn',
  },
  {
    code: 'ERR_NO_XFRM',
    errnos: [Errno.EPROTONOSUPPORT, Errno.EAFNOSUPPORT, Errno.ECONNREFUSED],
    remedy: 'this kernel does not serve NETLINK_XFRM (CONFIG_XFRM_USER); load it on the host with: modprobe xfrm_user',
  },
  {
    code: 'ERR_TOO_LARGE',
    errnos: [Errno.EMSGSIZE],
    syscalls: ['sendto'],
    remedy: 'send fewer messages in one datagram, or raise net.core.wmem_max',
  },
  {
    code: 'ERR_SYSCALL',
    errnos: [Errno.EMFILE, Errno.ENFILE],
    remedy: 'too many open descriptors; raise LimitNOFILE (ulimit -n)',
  },
  {
    code: 'ERR_SYSCALL',
    errnos: [Errno.ENOBUFS, Errno.ENOMEM],
    remedy: 'the kernel is short of memory and took nothing; try again later',
  },
];

/** The typed error for a system call that failed with `errno` (positive) while doing `what`. */
export function syscallError(syscall: string, errno: number, what: string): KernelError {
  const found = remedies.find((row) => row.errnos.includes(errno) && (row.syscalls?.includes(syscall) ?? true));
  const fact = `${what}: ${syscall} failed with ${errnoNames.get(errno) ?? `errno ${errno}`}`;
  return new KernelError(found?.code ?? 'ERR_SYSCALL', found ? `${fact}: ${found.remedy}` : fact, { errno, syscall });
}
