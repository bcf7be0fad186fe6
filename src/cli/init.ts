import type { Command } from 'commander';
import { initCluster } from '../node/index.ts';
import { parseAddress } from '../xfrm/index.ts';
import { usageError } from './failure.ts';
import { print } from './output.ts';

interface NodeOption {
  readonly name: string;
  readonly address: string;
  readonly port?: number;
}

/** The daemons' own port; strongSwan's ha plugin, which has the same purpose, uses it too. */
const PORT = 4510;

export function register(program: Command): void {
  program
    .command('init')
    .description('write configuration, keys and certificates of the nodes of a pair, or of a larger cluster')
    .argument('<directory>', 'gets one folder for each node; copy each to its machine')
    .requiredOption('--cluster <name>', 'name of the pair or cluster')
    .requiredOption(
      '--node <name=address[:port]>',
      'a node and its address on the link to the others; twice or more often, the active one first',
      collect,
      [],
    )
    .option('--port <number>', 'TCP port of the link, where --node has none', String(PORT))
    .addHelpText(
      'after',
      `
Example:
  $ xfrmsync init pair --cluster vpn --node a=10.255.0.1 --node b=10.255.0.2
  $ scp -r pair/b gateway-b:/etc/xfrmsync
  $ xfrmsync init three --cluster vpn --node a=10.255.0.1 --node b=10.255.0.2 --node c=10.255.0.3`,
    )
    .action(async (directory: string, options: { cluster: string; node: NodeOption[]; port: string }) => {
      const port = Number(options.port);
      if (!Number.isInteger(port) || port < 1 || port > 65535)
        throw usageError(`--port: "${options.port}" is not a port number`);
      for (const file of await initCluster({ directory, cluster: options.cluster, nodes: options.node, port }))
        await print(file);
    });
}

/** `a=10.0.0.1`, `a=10.0.0.1:4510`, `a=fd00::1`, `a=[fd00::1]:4510`. */
function collect(text: string, before: NodeOption[]): NodeOption[] {
  const [, name, end = ''] = /^([A-Za-z0-9_.-]{1,63})=(.+)$/.exec(text) ?? [];
  const [, bracketed, plain, digits] = /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(end) ?? [];
  const address = bracketed ?? plain ?? end;
  const port = digits === undefined ? undefined : Number(digits);
  const isPort = port === undefined || (port >= 1 && port <= 65535);
  if (name === undefined || parseAddress(address) === undefined || !isPort) {
    throw usageError(
      `--node: "${text}" is not NAME=ADDRESS or NAME=ADDRESS:PORT, such as a=10.255.0.1 or a=[fd00::1]:4510`,
    );
  }
  return [...before, { name, address, ...(port === undefined ? {} : { port }) }];
}
