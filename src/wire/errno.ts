/** The errno values that a netlink family answers with, and what they say to an operator. */
const errnos: Readonly<Record<number, readonly [name: string, text: string]>> = {
  1: ['EPERM', 'not permitted: CAP_NET_ADMIN is needed in the network namespace'],
  2: ['ENOENT', 'no such entry'],
  3: ['ESRCH', 'no such SA'],
  11: ['EAGAIN', 'try again'],
  12: ['ENOMEM', 'the kernel is out of memory'],
  14: ['EFAULT', 'bad address'],
  16: ['EBUSY', 'busy: a dump is already running on this socket'],
  17: ['EEXIST', 'already exists'],
  19: ['ENODEV', 'no such device'],
  22: ['EINVAL', 'invalid request'],
  34: ['ERANGE', 'an attribute is too short or a number out of range'],
  38: ['ENOSYS', 'algorithm not known to the kernel'],
  61: ['ENODATA', 'no data'],
  75: ['EOVERFLOW', 'sequence numbers are used up'],
  90: ['EMSGSIZE', 'message too long'],
  92: ['ENOPROTOOPT', 'not built into this kernel'],
  93: ['EPROTONOSUPPORT', 'protocol, mode or algorithm not supported by this kernel (is the module loaded?)'],
  95: ['EOPNOTSUPP', 'operation not supported'],
  97: ['EAFNOSUPPORT', 'address family not supported'],
  98: ['EADDRINUSE', 'address in use'],
  105: ['ENOBUFS', 'receive buffer overrun: messages were lost'],
  111: ['ECONNREFUSED', 'nobody listens'],
};

/** `22` -> `EINVAL`; numbers that are not in the table keep their number. Takes either sign. */
export function errnoName(errno: number): string {
  return errnos[Math.abs(errno)]?.[0] ?? `errno ${Math.abs(errno)}`;
}

export function errnoText(errno: number): string {
  return errnos[Math.abs(errno)]?.[1] ?? 'unknown error';
}
