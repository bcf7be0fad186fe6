import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { checkHooks, openLog, openMachine, readConfig, startNode } from '../node/index.ts';
import { doing } from './failure.ts';

export function register(program: Command): void {
  program
    .command('daemon')
    .description('run a node: replicate SAs to the other node, or keep them ready to take over')
    .requiredOption('-c, --config <file>', 'configuration of the node')
    .addHelpText(
      'after',
      `
Runs in the foreground, logs JSON lines to standard error, ends on SIGTERM or SIGINT. Needs CAP_NET_ADMIN
unless kernel.type is "emulated". An emulated kernel can be spoken to over PF_KEY (kernel.via = "pfkey").
A node that is active when it ends leaves its SAs as they are; the standby is told nothing and takes over only when promoted.

Example:
  $ xfrmsync daemon -c /etc/xfrmsync/a/xfrmsync.toml`,
    )
    .action(async (options: { config: string }) => {
      const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
        version: string;
      };
      const config = await readConfig(options.config);
      await checkHooks(config);
      const log = await openLog(config.node.name, config.log);
      await using machine = await doing('the node cannot start', openMachine(config, log));
      const node = await doing('the node cannot start', startNode(config, machine, log, version));
      const stop = (): void => void node.stop({ resign: true });
      process.once('SIGTERM', stop);
      process.once('SIGINT', stop);
      await Promise.race([node.stopped, machine.failed]);
      log.flush();
    });
}
