import { type Kernel, linuxKernel } from '../kernel/index.ts';
import type { Config } from './config.ts';

/** What a node runs on: a kernel, and what belongs to it. */
export interface Machine extends AsyncDisposable {
  readonly kernel: Kernel;
}

/** The machine that the configuration asks for. @throws Error if a socket of it cannot be opened */
export async function openMachine({ kernel: { type, release, socket } }: Config): Promise<Machine> {
  if (type === 'linux') return { kernel: linuxKernel(), [Symbol.asyncDispose]: async () => {} };
  const [{ EmulatedKernel }, { serveKernel }] = await Promise.all([
    import('../kernel/emulated/index.ts'),
    import('./kernel-server.ts'),
  ]);
  const kernel = new EmulatedKernel(release === undefined ? {} : { release });
  const server = socket === undefined ? undefined : await serveKernel(kernel, socket);
  return { kernel, [Symbol.asyncDispose]: async () => server?.close() };
}
