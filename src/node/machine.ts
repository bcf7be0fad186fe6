import type { Logger } from 'pino';
import type { Gateway } from '../gateway/index.ts';
import { type Kernel, linuxKernel } from '../kernel/index.ts';
import type { Config, GatewayConfig } from './config-schema.ts';

/** What a node runs on. */
export interface Machine {
  readonly kernel: Kernel;
  /** The data plane, where it is in this process. */
  readonly gateway?: Gateway;
}

/** A machine, and what it holds open. */
export interface OpenMachine extends Machine, AsyncDisposable {
  /** Rejects when something of it ends that should not. */
  readonly failed: Promise<never>;
}

/** The machine that the configuration asks for. @throws Error if a port, a socket or a device of it cannot be opened */
export async function openMachine(
  { kernel: { type, release, socket }, gateway: options }: Pick<Config, 'gateway'> & Pick<GatewayConfig, 'kernel'>,
  log: Logger,
): Promise<OpenMachine> {
  let fail: ((error: Error) => void) | undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => {});
  if (type === 'linux') return { kernel: linuxKernel(), failed, [Symbol.asyncDispose]: async () => {} };
  const { EmulatedKernel } = await import('../kernel/emulated/index.ts');
  const kernel = new EmulatedKernel(release === undefined ? {} : { release });
  const opened: { close(): void }[] = [];
  const close = (): void => {
    for (const each of opened.reverse()) each.close();
  };
  try {
    if (socket !== undefined) {
      const { serveKernel } = await import('./kernel-server.ts');
      opened.push(await serveKernel(kernel, socket));
    }
    if (options === undefined) return { kernel, failed, [Symbol.asyncDispose]: async () => close() };
    const { openGateway } = await import('../gateway/index.ts');
    const gateway = await openGateway(kernel, options, {
      onError: (error) => fail?.(error),
      onTrouble: (text) => log.warn(text),
    });
    opened.push(gateway);
    return { kernel, gateway, failed, [Symbol.asyncDispose]: async () => close() };
  } catch (error) {
    close();
    throw error;
  }
}
