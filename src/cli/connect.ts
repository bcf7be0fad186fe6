import type { Command } from 'commander';
import { XfrmClient } from '../client/index.ts';
import { type Kernel, linuxKernel, unixKernel } from '../kernel/index.ts';
import { usageError } from './failure.ts';

/** The options that every command on a kernel has. */
export interface KernelOptions {
  readonly netns?: string;
  readonly kernel?: string;
  readonly json?: boolean;
}

export function withKernelOptions(command: Command): Command {
  return command
    .option('--netns <name|path>', 'network namespace to work in, as `ip netns` names it, or its path')
    .option('--kernel <socket>', "a daemon's emulated kernel instead of this machine's: its kernel.socket")
    .option('--json', 'print JSON, one object a line');
}

/** `gw` is /run/netns/gw, as iproute2 has it; anything with a slash is a path. */
export function kernelOf({ netns, kernel }: KernelOptions): Kernel {
  if (kernel !== undefined) {
    if (netns !== undefined) throw usageError('--netns and --kernel name two different kernels: give one of them');
    return unixKernel(kernel);
  }
  if (netns === undefined) return linuxKernel();
  return linuxKernel({ namespace: netns.includes('/') ? netns : `/run/netns/${netns}` });
}

export async function withClient<T>(options: KernelOptions, action: (client: XfrmClient) => Promise<T>): Promise<T> {
  await using client = await XfrmClient.open(kernelOf(options));
  return await action(client);
}
