import type { Command } from 'commander';
import { type ControlRequest, callControl, type DryRun, readConfig, type Status } from '../node/index.ts';
import type { JsonObject } from '../xfrm/index.ts';
import { dryRunText } from './dry-run-text.ts';
import { paint, print, printJson } from './output.ts';

/** The commands that talk to a running daemon. */

interface Options {
  readonly config: string;
  readonly json?: boolean;
  readonly force?: boolean;
  readonly restore?: boolean;
  readonly sas?: boolean;
  readonly dryRun?: boolean;
  readonly to?: string;
}

export function register(program: Command): void {
  command(program, 'status', 'show role, term, completeness and counts of a node')
    .option('--sas', 'list every SA of the replica')
    .addHelpText('after', '\nExample:\n  $ xfrmsync status -c /etc/xfrmsync/xfrmsync.toml')
    .action(async (options: Options) => {
      const status = (await call(options, { command: 'status', sas: options.sas === true })) as Status;
      if (options.json) await printJson(status as unknown as JsonObject);
      else await print(statusText(status));
    });

  command(program, 'promote', 'make this node the active one')
    .option('--force', 'take over although the active is there, or although this standby is not complete')
    .option('--restore', 'bring back what the active has deleted all at once; see held in status')
    .option('--dry-run', 'change nothing: print what a takeover now would do to each SA, and what stands against it')
    .addHelpText(
      'after',
      `
With the active connected this is a planned switchover: it gives up its addresses, waits until it is quiet, shuts its SAs and
hands over exact counters. With the active gone it is a takeover: outbound numbers skip what it may have used, inbound windows
start as configured. Make sure that the old active is dead or fenced: nothing here can do that for you.

Examples:
  $ xfrmsync promote --dry-run -c /etc/xfrmsync/xfrmsync.toml
  $ xfrmsync promote -c /etc/xfrmsync/xfrmsync.toml`,
    )
    .action(async (options: Options) => {
      const force = options.force === true;
      if (!options.dryRun)
        return show(options, await call(options, { command: 'promote', force, restore: options.restore === true }));
      const result = (await call(options, { command: 'dryRun', force })) as DryRun;
      if (options.json) await printJson(result as unknown as JsonObject);
      else await print(dryRunText(result));
    });

  command(program, 'switchover', 'make a standby the active one while both nodes are there, or do nothing')
    .option(
      '--to <node>',
      'which standby, on the active of a cluster of several; otherwise the first that has everything',
    )
    .addHelpText(
      'after',
      `
On the standby this is what promote does while the active is connected, on the active it is demote. It is refused if the other node is
not there: it never becomes a takeover.

Examples:
  $ xfrmsync switchover -c /etc/xfrmsync/xfrmsync.toml
  $ xfrmsync promote --dry-run -c /etc/xfrmsync/xfrmsync.toml   # what stands against it`,
    )
    .action(async (options: Options) =>
      show(
        options,
        await call(options, { command: 'switchover', ...(options.to === undefined ? {} : { to: options.to }) }),
      ),
    );

  command(program, 'demote', 'hand over to the standby in a planned switchover')
    .option('--force', 'stop being active even if no standby is connected')
    .addHelpText('after', '\nExample:\n  $ xfrmsync demote -c /etc/xfrmsync/xfrmsync.toml')
    .action(async (options: Options) =>
      show(options, await call(options, { command: 'demote', force: options.force === true })),
    );

  command(program, 'dismiss', 'let the active go on without standbys that are gone for good')
    .addHelpText(
      'after',
      `
In mode "safe" an active uses outbound numbers only as far as its standby knows (in a cluster of three or more: as a majority knows), and its
SAs stop at that ceiling when it is away for long. A standby whose daemon is stopped resigns by itself. This is for those that are not
connected and can do so no more: make sure that they do not take over.

Example:
  $ xfrmsync dismiss -c /etc/xfrmsync/xfrmsync.toml`,
    )
    .action(async (options: Options) => show(options, await call(options, { command: 'dismiss' })));

  command(program, 'resync', 'read the kernel anew (active) or ask the active for a whole account (standby)')
    .addHelpText('after', '\nExample:\n  $ xfrmsync resync -c /etc/xfrmsync/xfrmsync.toml')
    .action(async (options: Options) => show(options, await call(options, { command: 'resync' })));
}

function command(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .requiredOption('-c, --config <file>', 'configuration of the node')
    .option('--json', 'print JSON');
}

/** What a change of roles takes beside waiting for the other node and the hooks: reading and writing every SA. */
const CHANGE_MS = 60_000;

async function call({ config: path }: Options, request: ControlRequest): Promise<object> {
  const { node, takeover, hooks } = await readConfig(path);
  if (request.command === 'dryRun') return callControl(node.control, request, CHANGE_MS);
  if (!['promote', 'demote', 'switchover'].includes(request.command)) return callControl(node.control, request);
  return callControl(node.control, request, takeover.handover_timeout_ms + 2 * hooks.timeout_ms + CHANGE_MS);
}

async function show({ json }: Options, result: object): Promise<void> {
  if (json) await printJson(result as JsonObject);
  else for (const [name, value] of Object.entries(result)) await print(`${name} ${value}`);
}

function statusText(status: Status): string {
  const { node, cluster, role, term, phase, complete, bound, peers, sas, installed, policies, unseenMs, counts } =
    status;
  const { exposure, quiet } = status;
  const lines = [
    `${paint('strong', node)} of ${cluster}: ${paint('strong', role)}, term ${term}${phase === 'steady' ? '' : ` (${phase})`}`,
    `  complete  ${complete ? 'yes' : paint('alarm', 'no: a takeover would be partial')}`,
    ...peers.map((peer) => `  peer      ${peerText(peer)}`),
    `  kernel    ${status.kernel}, over ${status.via === 'pfkey' ? 'PF_KEY' : 'netlink'}`,
    `  SAs       ${sas}, ${installed} in the kernel; ${policies} policies`,
    ...(status.held === 0
      ? []
      : [
          `  held      ${paint('alarm', `${status.held} SAs that the active deleted all at once`)}: promote --restore brings them back`,
        ]),
    ...(role === 'active'
      ? [`  grants    ${bound ? 'bind: outbound numbers only as far as standbys know' : 'none: no standby'}`]
      : []),
    ...(unseenMs === null ? [] : [`  unseen    ${unseenMs} ms of the active's progress`]),
    `  exposure  ${exposureText(exposure)}`,
    `  quiet     ${quiet} SAs are known to be silent`,
    `  counts    ${pairs(counts)}`,
  ];
  if (status.gateway !== undefined) lines.push(`  packets   ${pairs(status.gateway)}`);
  for (const sa of status.list ?? []) {
    lines.push(
      `  ${sa.daddr} ${sa.spi} oseq ${sa.oseq} seq ${sa.seq} packets ${sa.packets} bytes ${sa.bytes}` +
        ` events every ${sa.thresholdPackets} packets or ${sa.thresholdTimerMs} ms, peak ${sa.peakPps} packets/s` +
        ` exposure ${sa.exposurePackets === null ? 'all' : `${sa.exposurePackets} packets${within(sa.exposureMs)}`}` +
        `${sa.quiet ? ' (quiet)' : ''}${sa.installed ? '' : ' (not in the kernel)'}`,
    );
  }
  return lines.join('\n');
}

function peerText(peer: Status['peers'][number]): string {
  const { name, connected, role, term, behindMs, clockOffsetMs, clockUncertaintyMs } = peer;
  const parts = [name, connected ? `connected, ${role}, term ${term}` : paint('alarm', 'not connected')];
  if (behindMs !== null) parts.push(`its account is ${behindMs} ms old`);
  if (clockOffsetMs !== null) parts.push(`its clock is ${offsetText(clockOffsetMs, clockUncertaintyMs ?? 0)}`);
  return parts.join(', ');
}

function offsetText(ms: number, uncertaintyMs: number): string {
  const text = `${Math.abs(ms)} ms ${ms < 0 ? 'behind' : 'ahead'}, give or take ${uncertaintyMs} ms`;
  return Math.abs(ms) > 1000 ? paint('alarm', text) : text;
}

function exposureText(exposure: Status['exposure']): string {
  if (exposure === null) return paint('alarm', 'everything: no standby has a whole account');
  const { packets, ms, worst } = exposure;
  if (worst === null) return 'none';
  return `${packets} packets${within(ms)}; worst ${worst.daddr} ${worst.spi}: ${worst.packets}${within(worst.ms)}`;
}

const within = (ms: number | null): string =>
  ms === 0 ? '' : ms === null ? ', without a bound in time' : ` in ${ms} ms`;

const pairs = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([name, n]) => `${name} ${n}`)
    .join(', ');
