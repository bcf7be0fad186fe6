import { KernelError } from '../errors.ts';
import type { Kernel, OpenOptions, PfkeyOpenOptions } from '../kernel.ts';
import { type Host, loadLibc } from './libc.ts';
import { openPfkeySocket, openXfrmSocket } from './open.ts';
import { type LinuxKernelSocket, type LinuxPfkeySocket, LinuxSocket, pfkeyProtocol } from './socket.ts';

export interface LinuxKernelOptions {
  /** A network namespace, such as `/run/netns/gw`: sockets are opened there by setns(2), and the thread returns at once. */
  namespace?: string;
  /** Lets datagrams of other processes through. For tests that play the kernel: anybody with CAP_NET_ADMIN can then forge events. */
  acceptUserSpaceSenders?: boolean;
}

export interface LinuxKernel extends Kernel {
  open(options?: OpenOptions): Promise<LinuxKernelSocket>;
  openPfkey(options?: PfkeyOpenOptions): Promise<LinuxPfkeySocket>;
}

/**
 * The kernel of this machine. Nothing is loaded or tried before `open`, which rejects with `KernelError`: ERR_NOT_LINUX,
 * ERR_UNSUPPORTED_ARCH, ERR_NO_KOFFI, ERR_NO_XFRM, ERR_PERMISSION, ERR_NAMESPACE, ERR_ARGUMENT or ERR_SYSCALL.
 *
 * A socket for requests opens without any privilege; without CAP_NET_ADMIN the kernel then answers each request with EPERM. A PF_KEY socket
 * takes CAP_NET_ADMIN to open, and a kernel that has them (ERR_NO_PFKEY).
 *
 * `host` says what machine this is; leave it out.
 */
export function linuxKernel(options: LinuxKernelOptions = {}, host?: Host): LinuxKernel {
  return {
    name: 'linux',
    async open(openOptions: OpenOptions = {}) {
      const libc = await loadLibc(host);
      const opened = openXfrmSocket(libc, options.namespace, openOptions);
      return new LinuxSocket(libc, opened, options.acceptUserSpaceSenders ?? false);
    },
    async openPfkey(openOptions: PfkeyOpenOptions = {}) {
      if (openOptions.tellOverruns)
        throw new KernelError(
          'ERR_ARGUMENT',
          'Linux does not tell a PF_KEY socket of messages that were lost: use netlink',
        );
      const libc = await loadLibc(host);
      // What comes from a PF_KEY socket has no sender's address.
      return new LinuxSocket(libc, openPfkeySocket(libc, options.namespace, openOptions), true, pfkeyProtocol);
    },
  };
}
