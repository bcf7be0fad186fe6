import { Errno, KernelError, syscallError } from '../errors.ts';
import { defaultReceiveBuffer, type OpenOptions, type PfkeyOpenOptions } from '../kernel.ts';
import {
  AF_KEY,
  AF_NETLINK,
  NETLINK_ADD_MEMBERSHIP,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_XFRM,
  PF_KEY_V2,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_RAW,
  SOL_NETLINK,
  SOL_SOCKET,
  SockaddrNl,
} from './abi.ts';
import type { Libc } from './libc.ts';
import { inNetworkNamespace } from './namespace.ts';

/** A batch of 64 messages of the largest kind (16 KiB each) is one datagram. */
const SEND_BUFFER_BYTES = 1 << 20;
/** The kernel doubles what it is given and keeps it in an int (sock_set_rcvbuf). */
const BUFFER_BYTES_MAX = 0x3fffffff;
/** What netlink_sendmsg and pfkey_sendmsg keep back from the send buffer. */
const SEND_RESERVE_BYTES = 32;
/** XFRM groups fit the 32-bit masks of struct sockaddr_nl. */
const GROUP_MAX = 32;

/** A socket and what the kernel said about it. */
export interface OpenedSocket {
  fd: number;
  /** Of a netlink socket, which is bound; else 0. */
  portId: number;
  /** Room for many small datagrams, or for few large ones. */
  forEvents: boolean;
  receiveBufferBytes: number;
  datagramBytesMax: number;
}

/** Opens, sizes and binds the socket, and joins its groups. Throws `KernelError`; then nothing stays open. */
export function openXfrmSocket(libc: Libc, namespace: string | undefined, options: OpenOptions): OpenedSocket {
  const groups = [...new Set(options.groups)];
  const what = groups.length > 0 ? 'Cannot listen for XFRM events' : 'Cannot open a socket for XFRM requests';
  const wanted = options.receiveBufferBytes ?? defaultReceiveBuffer(groups.length > 0);
  checkArguments(groups, wanted);

  const fd = createSocket(libc, namespace, [AF_NETLINK, NETLINK_XFRM], (errno) => syscallError('socket', errno, what));
  const socket = { libc, fd, what };
  try {
    // Before the groups are joined: the first events already find the large buffer.
    const receiveBufferBytes = sizeBuffer(socket, SO_RCVBUFFORCE, SO_RCVBUF, wanted);
    const sendBufferBytes = sizeBuffer(socket, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER_BYTES);
    if (groups.length === 0) {
      setOption(socket, SOL_NETLINK, NETLINK_CAP_ACK, 1);
      setOption(socket, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    }
    const portId = bindSocket(socket);
    for (const group of groups) setOption(socket, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
    return {
      fd,
      portId,
      forEvents: groups.length > 0,
      receiveBufferBytes,
      datagramBytesMax: sendBufferBytes - SEND_RESERVE_BYTES,
    };
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

const noPfkey: readonly number[] = [Errno.EAFNOSUPPORT, Errno.EPROTONOSUPPORT, Errno.ESOCKTNOSUPPORT];

/** Opens and sizes a PF_KEY socket, which needs no bind. Throws `KernelError`; then nothing stays open. */
export function openPfkeySocket(libc: Libc, namespace: string | undefined, options: PfkeyOpenOptions): OpenedSocket {
  const what = 'Cannot open a PF_KEY socket';
  const wanted = options.receiveBufferBytes ?? defaultReceiveBuffer(true);
  checkArguments([], wanted);
  const fd = createSocket(libc, namespace, [AF_KEY, PF_KEY_V2], (errno) =>
    noPfkey.includes(errno)
      ? new KernelError(
          'ERR_NO_PFKEY',
          `${what}: this kernel has none (CONFIG_NET_KEY); load it on the host with: modprobe af_key, or use netlink`,
          { errno, syscall: 'socket' },
        )
      : syscallError('socket', errno, what),
  );
  const socket = { libc, fd, what };
  try {
    const receiveBufferBytes = sizeBuffer(socket, SO_RCVBUFFORCE, SO_RCVBUF, wanted);
    const sendBufferBytes = sizeBuffer(socket, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER_BYTES);
    const datagramBytesMax = sendBufferBytes - SEND_RESERVE_BYTES;
    return { fd, portId: 0, forEvents: true, receiveBufferBytes, datagramBytesMax };
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

interface Socket {
  libc: Libc;
  fd: number;
  what: string;
}

function checkArguments(groups: readonly number[], receiveBufferBytes: number): void {
  for (const group of groups) {
    if (!Number.isInteger(group) || group < 1 || group > GROUP_MAX) {
      throw new KernelError('ERR_ARGUMENT', `groups: ${group} is not a multicast group: use 1 to ${GROUP_MAX}`);
    }
  }
  if (!Number.isInteger(receiveBufferBytes) || receiveBufferBytes < 1 || receiveBufferBytes > BUFFER_BYTES_MAX) {
    throw new KernelError(
      'ERR_ARGUMENT',
      `receiveBufferBytes: ${receiveBufferBytes} is out of range: use 1 to ${BUFFER_BYTES_MAX}`,
    );
  }
}

function createSocket(
  libc: Libc,
  namespace: string | undefined,
  [family, protocol]: readonly [number, number],
  failure: (errno: number) => KernelError,
): number {
  // errno is read before setns(2) on the way back could change it.
  const create = () => {
    const fd = libc.socket(family, SOCK_RAW | SOCK_CLOEXEC, protocol);
    return fd < 0 ? -libc.errno() : fd;
  };
  const result = namespace === undefined ? create() : inNetworkNamespace(libc, namespace, create);
  if (result < 0) throw failure(-result);
  return result;
}

function bindSocket({ libc, fd, what }: Socket): number {
  const address = new Uint32Array(new ArrayBuffer(SockaddrNl.bytes));
  new Uint16Array(address.buffer)[0] = AF_NETLINK;
  if (libc.bind(fd, address, SockaddrNl.bytes) < 0) throw syscallError('bind', libc.errno(), what);
  if (libc.getsockname(fd, address, int32(SockaddrNl.bytes)) < 0) throw syscallError('getsockname', libc.errno(), what);
  return address[SockaddrNl.portIdWord] as number;
}

/** Forces the size where the kernel allows it (CAP_NET_ADMIN), else takes what rmem_max or wmem_max leaves. Returns what was granted. */
function sizeBuffer(socket: Socket, force: number, plain: number, bytes: number): number {
  const { libc, fd, what } = socket;
  if (libc.setsockopt(fd, SOL_SOCKET, force, int32(bytes), 4) < 0) {
    const errno = libc.errno();
    if (errno !== Errno.EPERM) throw syscallError('setsockopt', errno, what);
    setOption(socket, SOL_SOCKET, plain, bytes);
  }
  const granted = int32(0);
  if (libc.getsockopt(fd, SOL_SOCKET, plain, granted, int32(4)) < 0)
    throw syscallError('getsockopt', libc.errno(), what);
  return granted[0] as number;
}

function setOption({ libc, fd, what }: Socket, level: number, option: number, value: number): void {
  if (libc.setsockopt(fd, level, option, int32(value), 4) < 0) throw syscallError('setsockopt', libc.errno(), what);
}

function int32(value: number): Int32Array {
  const memory = new Int32Array(new ArrayBuffer(4));
  memory[0] = value;
  return memory;
}
