import type { Command } from 'commander';
import { type Sa, type SaFilter, type SaId, saIdOf, type XfrmClient } from '../client/index.ts';
import type { Mark } from '../xfrm/index.ts';
import { formatAddress, formatSpi, messageToJson, type XfrmMessage } from '../xfrm/index.ts';
import { type KernelOptions, withClient, withKernelOptions } from './connect.ts';
import { ExitCode } from './exit-codes.ts';
import { CliError, doing, usageError } from './failure.ts';
import { readJsonLines } from './json-lines.ts';
import { limitsFrom } from './lifetime-options.ts';
import { confirm, print, printJson } from './output.ts';
import { listSasByPfkey, type Via, viaOption } from './pfkey.ts';
import { buildSa, othersOf, type SaWords } from './sa-build.ts';
import { withSaId, withSaWords } from './sa-options.ts';
import { isKernelMade, isLarval, saText } from './sa-text.ts';
import { markText, protoText } from './text.ts';
import { type Host, type Prefix, prefix, proto, u32 } from './values.ts';

interface ShowOptions extends KernelOptions {
  readonly showKeys?: boolean;
}

interface ListOptions extends ShowOptions {
  readonly via: Via;
  readonly proto?: number;
  readonly src?: Prefix;
  readonly dst?: Prefix;
  readonly spi?: number;
  readonly reqid?: number;
}

export interface SaIdOptions extends KernelOptions {
  readonly dst: Host;
  readonly spi: number;
  readonly proto: number;
  readonly mark?: Mark;
}

interface WriteOptions extends KernelOptions, SaWords {
  readonly from?: string;
}

const SHOW_KEYS = 'print key material too: it then stands on your terminal and wherever the output goes';

export function register(program: Command): void {
  const sa = program.command('sa').description('security associations of the kernel');

  withKernelOptions(sa.command('list').description('print the SAs, newest first'))
    .option('--proto <proto>', 'only esp, ah, comp ...', proto)
    .option('--src <prefix>', 'only from these addresses', prefix)
    .option('--dst <prefix>', 'only to these addresses', prefix)
    .option('--spi <n>', 'only this SPI', u32)
    .option('--reqid <n>', 'only this reqid', u32)
    .addOption(viaOption())
    .option('--show-keys', SHOW_KEYS)
    .addHelpText(
      'after',
      `
Examples:
  xfrmsync sa list
  xfrmsync sa list --dst 192.0.2.0/24 --proto esp
  xfrmsync sa list --via pfkey
  xfrmsync sa list --json --show-keys > sas.jsonl      # to be read by: sa add --from`,
    )
    .action(list);

  withKernelOptions(withSaId(sa.command('get').description('print one SA')))
    .option('--show-keys', SHOW_KEYS)
    .addHelpText('after', '\nExample:\n  xfrmsync sa get --dst 192.0.2.2 --spi 0x100')
    .action(get);

  const files = 'one SA a line, as `sa list --json --show-keys` prints them; - is standard input';
  withKernelOptions(withSaWords(sa.command('add').description('install an SA, or many from a file')))
    .option('--from <file|->', files)
    .addHelpText('after', addHelp)
    .action(add);
  withKernelOptions(
    withSaWords(sa.command('update').description('change limits, encapsulation, set-mark and if_id of an SA')),
  )
    .option('--from <file|->', files)
    .addHelpText('after', updateHelp)
    .action(update);

  withKernelOptions(withSaId(sa.command('delete').description('remove one SA')))
    .addHelpText('after', '\nExample:\n  xfrmsync sa delete --dst 192.0.2.2 --spi 0x100')
    .action(remove);

  withKernelOptions(sa.command('flush').description('remove all SAs'))
    .option('--proto <proto>', 'only esp, ah, comp ...', proto)
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  xfrmsync sa flush --proto esp --yes')
    .action(flush);
}

const addHelp = `
Keys: whoever may run ps sees the command line, keys included. Keep them off it: --key @FILE or --key-file FILE, and likewise
  --enc NAME @FILE and --auth NAME @FILE, or --from -. A key file holds hexadecimal digits.
Window: up to 32 packets fit the kernel's plain replay state; --esn or a larger window is sent as XFRMA_REPLAY_ESN_VAL.
An SA that has no keys yet, and one that the kernel makes itself (ipip, beside comp), is left out of --from.
--from carries counters and lifetimes over as they stand in the file. Packets that were sent after it was written are not in it:
  an outbound SA restored from an old file uses sequence numbers twice.

Examples:
  xfrmsync sa add --src 192.0.2.1 --dst 192.0.2.2 --spi 0x100 --mode tunnel --reqid 1 \\
    --aead 'rfc4106(gcm(aes))' --key @/etc/keys/out.hex --esn --replay-window 1024
  xfrmsync sa add --src 192.0.2.2 --dst 192.0.2.1 --spi 0x200 \\
    --enc 'cbc(aes)' @enc.hex --auth 'hmac(sha256)' @auth.hex --trunc 128 --hard-packets 4000000000
  xfrmsync sa add --from sas.jsonl`;

const updateHelp = `
The SA is read first; what is not given stays as it is. Of an SA that has keys the kernel changes only its limits, the ports of its
encapsulation, --set-mark and --if-id. An SA that has no keys yet (larval) is completed: give all of it, as with sa add.
Counters are set by: ae set.

Examples:
  xfrmsync sa update --dst 192.0.2.2 --spi 0x100 --hard-packets 2000000
  xfrmsync sa update --from sas.jsonl`;

const asMessage = (sa: Sa): XfrmMessage<'NEWSA'> => ({ ...sa, kind: 'NEWSA', flags: 0, seq: 0, pid: 0 });

async function show(sa: Sa, options: ShowOptions): Promise<void> {
  if (options.json) await printJson(messageToJson(asMessage(sa), options));
  else await print(saText(sa, options));
}

export function idOf({ dst, spi, proto, mark }: SaIdOptions): SaId {
  return { daddr: dst.address, family: dst.family, spi, proto, ...(mark && { mark }) };
}

/** How an SA is called in messages to people. */
export function nameOf({ daddr, family, spi, proto, mark }: SaId): string {
  return `SA ${formatAddress(daddr, family)} ${protoText(proto)} ${formatSpi(spi)}${mark ? ` mark ${markText(mark)}` : ''}`;
}

export const noSuchSa = (id: SaId): CliError => new CliError(ExitCode.REFUSED, `there is no ${nameOf(id)}`);

async function list(options: ListOptions): Promise<void> {
  if (options.via === 'pfkey') return listSasByPfkey(options);
  const { spi, reqid } = options;
  const sas = await withClient(options, (client) => doing('cannot list SAs', client.dumpSas(filterOf(options))));
  for (const sa of sas) {
    if ((spi ?? sa.body.id.spi) === sa.body.id.spi && (reqid ?? sa.body.reqid) === sa.body.reqid)
      await show(sa, options);
  }
}

function filterOf({ proto, src, dst }: ListOptions): SaFilter {
  const any = { w0: 0, w1: 0, w2: 0, w3: 0 };
  const family = (src ?? dst)?.family;
  if (src && dst && src.family !== dst.family) throw usageError('--src and --dst are of different address families');
  return {
    ...(proto !== undefined && { proto }),
    ...(family !== undefined && {
      addresses: {
        saddr: src?.address ?? any,
        daddr: dst?.address ?? any,
        family,
        splen: src?.length ?? 0,
        dplen: dst?.length ?? 0,
      },
    }),
  };
}

async function get(options: SaIdOptions & ShowOptions): Promise<void> {
  const id = idOf(options);
  const sa = await withClient(options, (client) => doing(`cannot read ${nameOf(id)}`, client.getSa(id)));
  if (!sa) throw noSuchSa(id);
  await show(sa, options);
}

async function add(options: WriteOptions): Promise<void> {
  if (options.from !== undefined) return fromFile(options, 'added', (client, sa) => client.addSa(withCounters(sa)));
  const sa = buildSa(options);
  await withClient(options, (client) => doing(`cannot add ${nameOf(saIdOf(sa))}`, client.addSa(sa)));
  await done(options, 'added', sa);
}

/** NEWSA takes what was used from XFRMA_LTIME_VAL, not from `curlft` (xfrm_user.c:xfrm_update_ae_params). */
function withCounters(sa: Sa): Sa {
  const { addTime } = sa.body.curlft;
  if (sa.attributes.ltimeVal || addTime === 0n) return sa;
  return { ...sa, attributes: { ...sa.attributes, ltimeVal: sa.body.curlft } };
}

async function update(options: WriteOptions): Promise<void> {
  if (options.from !== undefined) return fromFile(options, 'updated', (client, sa) => client.updateSa(sa));
  const { dst, spi } = options;
  if (!dst || spi === undefined) throw usageError('--dst and --spi are needed (or --from FILE)');
  const id = idOf({ ...options, dst, spi, proto: options.proto ?? 50 });
  const changed = await withClient(options, async (client) => {
    const current = await doing(`cannot read ${nameOf(id)}`, client.getSa(id));
    if (!current) throw noSuchSa(id);
    const sa = isLarval(current) ? completed(current, options) : overlaid(current, options);
    await doing(`cannot update ${nameOf(id)}`, client.updateSa(sa));
    return sa;
  });
  await done(options, 'updated', changed);
}

/** Options that the kernel takes no notice of in an UPDSA of an SA that has keys (xfrm_state.c:xfrm_state_update). */
const fixedWords = [
  ['src', '--src'],
  ['mode', '--mode'],
  ['reqid', '--reqid'],
  ['aead', '--aead'],
  ['key', '--key'],
  ['keyFile', '--key-file'],
  ['icv', '--icv'],
  ['enc', '--enc'],
  ['auth', '--auth'],
  ['trunc', '--trunc'],
  ['comp', '--comp'],
  ['replayWindow', '--replay-window'],
  ['esn', '--esn'],
  ['sel', '--sel'],
  ['flags', '--flags'],
  ['extraFlags', '--extra-flags'],
  ['dir', '--dir'],
  ['tfcPad', '--tfc-pad'],
] as const;

const counterWords = [
  ['oseq', '--oseq'],
  ['seq', '--seq'],
  ['bitmap', '--bitmap'],
  ['thresholdPackets', '--threshold-packets'],
  ['thresholdTimerJiffies', '--threshold-timer-jiffies'],
] as const;

function overlaid(current: Sa, options: WriteOptions): Sa {
  const fixed = fixedWords.find(([name]) => options[name] !== undefined);
  if (fixed)
    throw usageError(
      `${fixed[1]} cannot be changed: the kernel keeps it as long as the SA lives; delete the SA and add it anew`,
    );
  const counter = counterWords.find(([name]) => options[name] !== undefined);
  if (counter) throw usageError(`${counter[1]} is not changed by an update: use xfrmsync ae set`);
  const lft = limitsFrom(options as unknown as Record<string, unknown>, current.body.lft);
  return { body: { ...current.body, lft }, attributes: { ...current.attributes, ...othersOf(options) } };
}

function completed(current: Sa, options: WriteOptions): Sa {
  const { family, saddr, mode, reqid, seq } = current.body;
  const src = options.src ?? { address: saddr, family, text: formatAddress(saddr, family) };
  const sa = buildSa({ ...options, src, mode: options.mode ?? mode, reqid: options.reqid ?? reqid });
  return { ...sa, body: { ...sa.body, seq } };
}

async function fromFile(
  options: WriteOptions,
  verb: string,
  write: (client: XfrmClient, sa: Sa) => Promise<void>,
): Promise<void> {
  let count = 0;
  let left = 0;
  await withClient(options, async (client) => {
    for await (const { where, message } of readJsonLines(options.from as string, 'NEWSA')) {
      if (isKernelMade(message.body) || isLarval(message)) {
        left++;
        continue;
      }
      await doing(
        `${where}: ${nameOf(saIdOf(message))} not ${verb} (${count} were ${verb}, the rest was not tried)`,
        write(client, message),
      );
      count++;
    }
  });
  if (options.json) await printJson({ [verb]: count, leftOut: left });
  else {
    const rest = left === 0 ? '' : `, ${left} left out (without keys, or made by the kernel itself)`;
    await print(`${count} ${count === 1 ? 'SA' : 'SAs'} ${verb}${rest}`);
  }
}

async function done(options: KernelOptions, verb: string, sa: Sa): Promise<void> {
  const { body } = sa;
  if (options.json) {
    const dst = formatAddress(body.id.daddr, body.family);
    await printJson({ [verb]: 1, dst, proto: protoText(body.id.proto), spi: formatSpi(body.id.spi) });
  } else await print(`${verb} ${nameOf(saIdOf(sa))}`);
}

async function remove(options: SaIdOptions): Promise<void> {
  const id = idOf(options);
  await withClient(options, (client) => doing(`cannot delete ${nameOf(id)}`, client.deleteSa(id)));
  if (options.json)
    await printJson({ deleted: 1, dst: options.dst.text, proto: protoText(id.proto), spi: formatSpi(id.spi) });
  else await print(`deleted ${nameOf(id)}`);
}

async function flush(options: KernelOptions & { proto?: number; yes?: boolean }): Promise<void> {
  const { proto } = options;
  await withClient(options, async (client) => {
    const before = await doing('cannot count SAs', client.sadInfo());
    const which =
      proto === undefined ? `all ${before.count} SAs` : `all ${protoText(proto)} SAs of ${before.count} SAs`;
    await confirm(`This removes ${which}${options.netns ? ` in ${options.netns}` : ''}.`, options.yes);
    await doing('cannot flush SAs', client.flushSas(proto ?? 0));
    const after = await client.sadInfo();
    const flushed = before.count - after.count;
    if (options.json) await printJson({ flushed, left: after.count });
    else await print(`${flushed} SAs removed, ${after.count} left`);
  });
}
