import { closeSync, constants, openSync } from 'node:fs';
import { Errno, KernelError, syscallError } from '../errors.ts';
import { loadLibc } from './libc.ts';

/** A network device whose other side is this process: what is routed to it is read here, what is written here arrives from it. */
export interface Tun {
  /** Hands one IP packet to the kernel. False: it would not take it (the device is down, or no packet it knows). */
  write(packet: Uint8Array): boolean;
  close(): void;
}

export interface TunEvents {
  /** One IP packet; the bytes are valid during the call. */
  onPacket(packet: Uint8Array): void;
  /** The device is gone. */
  onError(error: Error): void;
}

const DEVICE = '/dev/net/tun';
/** struct ifreq: name, then flags. linux/if_tun.h: TUNSETIFF, IFF_TUN, IFF_NO_PI. */
const IFREQ_BYTES = 40;
const IFREQ_FLAGS = 16;
const NAME_BYTES_MAX = 15;
const TUNSETIFF = 0x400454ca;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const PACKET_BYTES_MAX = 65_535;
/** Packets that one wake-up reads, so that everything else gets its turn. */
const READS_PER_WAKEUP_MAX = 256;

/**
 * Opens the TUN device `name`; it is made if it is not there, and then ends with `close`. Addresses, routes and "up" are the operator's.
 * @throws KernelError ERR_NOT_LINUX, ERR_NO_KOFFI, ERR_PERMISSION (CAP_NET_ADMIN is missing, or the device belongs to another user),
 *   ERR_ARGUMENT, ERR_SYSCALL
 */
export async function openTun(name: string, { onPacket, onError }: TunEvents): Promise<Tun> {
  const libc = await loadLibc();
  if (name === '' || Buffer.byteLength(name) > NAME_BYTES_MAX)
    throw new KernelError('ERR_ARGUMENT', `"${name}" is no name of a device: it has 1 to ${NAME_BYTES_MAX} bytes`);
  const fd = openDevice();
  const ifreq = Buffer.alloc(IFREQ_BYTES);
  ifreq.write(name, 0, 'utf8');
  // In the byte order of the host, which is that of its typed arrays.
  ifreq.set(new Uint8Array(Uint16Array.of(IFF_TUN | IFF_NO_PI).buffer), IFREQ_FLAGS);
  if (libc.ioctl(fd, TUNSETIFF, ifreq) < 0) {
    const errno = libc.errno();
    closeSync(fd);
    throw syscallError('ioctl', errno, `Cannot open the TUN device ${name}`);
  }

  const packet = new Uint8Array(new ArrayBuffer(PACKET_BYTES_MAX));
  let open = true;
  const close = (): void => {
    if (!open) return;
    open = false;
    watch.close();
    closeSync(fd);
  };
  const fail = (error: Error): void => {
    close();
    onError(error);
  };
  const watch = libc.watch(fd, (status) => {
    // Nothing may be thrown from here, or koffi never calls again.
    try {
      for (let i = 0; i < READS_PER_WAKEUP_MAX && open; i++) {
        const length = libc.read(fd, packet, packet.length);
        if (length > 0) {
          onPacket(packet.subarray(0, length));
          continue;
        }
        const errno = libc.errno();
        if (errno !== Errno.EAGAIN && errno !== Errno.EINTR)
          fail(syscallError('read', errno, `Cannot read from the TUN device ${name}`));
        break;
      }
      if (status < 0 && open) watch.restart();
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  });
  return { write: (bytes) => open && libc.write(fd, bytes, bytes.length) === bytes.length, close };
}

function openDevice(): number {
  try {
    return openSync(DEVICE, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM')
      throw new KernelError('ERR_PERMISSION', `Cannot open ${DEVICE}: ${message}: run as root`, { cause });
    throw new KernelError('ERR_SYSCALL', `Cannot open ${DEVICE}: ${message}: load it on the host with: modprobe tun`, {
      cause,
    });
  }
}
