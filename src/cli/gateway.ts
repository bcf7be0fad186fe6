import type { Command } from 'commander';
import { openLog, openMachine, readGatewayConfig } from '../node/index.ts';
import { doing } from './failure.ts';

export function register(program: Command): void {
  program
    .command('gateway')
    .description(
      'run an ESP-in-UDP gateway in user space, without a partner: the other end of a pair, or to try things out',
    )
    .requiredOption('-c, --config <file>', 'configuration: [kernel], [gateway] and, if wanted, [log]')
    .addHelpText(
      'after',
      `
Its kernel is emulated: SAs and policies are installed through kernel.socket, and are gone when it ends.
Runs in the foreground, logs JSON lines to standard error, ends on SIGTERM or SIGINT. Needs no rights, but for a TUN device.

Example:
  $ xfrmsync gateway -c peer.toml
  $ xfrmsync sa list --kernel kernel.sock`,
    )
    .action(async (options: { config: string }) => {
      const config = await readGatewayConfig(options.config);
      const log = await openLog('gateway', config.log);
      await using machine = await doing('the gateway cannot start', openMachine(config, log));
      machine.gateway?.start();
      log.info({ listen: config.gateway.listen }, 'the gateway runs');
      await Promise.race([
        machine.failed,
        new Promise<void>((resolve) => {
          process.once('SIGTERM', resolve);
          process.once('SIGINT', resolve);
        }),
      ]);
      log.flush();
    });
}
