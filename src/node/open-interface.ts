import type { Kernel } from '../kernel/index.ts';
import type { Config } from './config-schema.ts';
import type { KernelEvents, KernelInterface } from './kernel-interface.ts';

/** Everything is open, and no event is missed from then on. @throws KernelError, ClientError */
export async function openKernelInterface(
  { via, receive_buffer_bytes }: Config['kernel'],
  kernel: Kernel,
  events: KernelEvents,
): Promise<KernelInterface> {
  if (via === 'netlink') {
    const { NetlinkInterface } = await import('./netlink-interface.ts');
    return NetlinkInterface.open(kernel, receive_buffer_bytes, events);
  }
  const { PfkeyInterface } = await import('./pfkey-interface.ts');
  return PfkeyInterface.open(kernel, receive_buffer_bytes, events);
}
