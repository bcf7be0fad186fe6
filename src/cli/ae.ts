import type { Command } from 'commander';
import type { Aevent, AeventValues, XfrmClient } from '../client/index.ts';
import { AeFlag, formatAddress, formatSpi, messageToJson, type XfrmMessage } from '../xfrm/index.ts';
import { withClient, withKernelOptions } from './connect.ts';
import { doing, usageError } from './failure.ts';
import { moment } from './lifetime-options.ts';
import { paint, print, printJson } from './output.ts';
import { idOf, nameOf, noSuchSa, type SaIdOptions } from './sa.ts';
import { bitmapFault } from './sa-build.ts';
import { bitmap, withSaId } from './sa-options.ts';
import { replayText } from './sa-text.ts';
import { block, markText, protoText } from './text.ts';
import { u32, u64 } from './values.ts';

interface GetOptions extends SaIdOptions {
  readonly thresholds?: boolean;
}

/** What `ae set` may change. */
export interface AeWords {
  readonly oseq?: bigint;
  readonly seq?: bigint;
  readonly oseqHi?: number;
  readonly seqHi?: number;
  readonly bitmap?: number[];
  readonly bytes?: bigint;
  readonly packets?: bigint;
  readonly addTime?: bigint;
  readonly useTime?: bigint;
  readonly thresholdPackets?: number;
  readonly thresholdTimerJiffies?: number;
}

export function register(program: Command): void {
  const ae = program.command('ae').description('replay counters, lifetimes and event thresholds of SAs (NEWAE, GETAE)');

  withKernelOptions(withSaId(ae.command('get').description('print counters and lifetime of one SA')))
    .option('--thresholds', 'and when events are sent: packets, and the timer in units of 100 ms')
    .addHelpText('after', '\nExample:\n  xfrmsync ae get --dst 192.0.2.2 --spi 0x100 --thresholds')
    .action(get);

  withKernelOptions(withSaId(ae.command('set').description('set counters, lifetime or thresholds of one SA')))
    .option('--oseq <n>', 'last outbound sequence number that was used', u64)
    .option('--seq <n>', 'highest inbound sequence number that was accepted', u64)
    .option('--oseq-hi <n>', 'upper half of --oseq (ESN)', u32)
    .option('--seq-hi <n>', 'upper half of --seq (ESN)', u32)
    .option('--bitmap <hex>', 'replay bitmap, 8 digits a word, first word first', bitmap)
    .option('--bytes <n>', 'bytes used', u64)
    .option('--packets <n>', 'packets used', u64)
    .option('--add-time <seconds>', 'when the SA was added, seconds since 1970', u64)
    .option('--use-time <seconds>', 'when it was first used, seconds since 1970; 0: never', u64)
    .option('--threshold-packets <n>', 'packets between two events; 0: off', u32)
    .option('--threshold-timer-jiffies <n>', 'time between two events, in jiffies; 0: off', u32)
    .addHelpText('after', setHelp)
    .action(set);
}

const setHelp = `
The current values are read first, and only what is given is changed: --oseq alone leaves --seq and the bitmap as they are. Packets that
pass between reading and writing are not counted then: stop the traffic, or set only what does not move. Counters may go backwards:
an outbound one that does reuses sequence numbers, an inbound one accepts old packets again.
ESN: --oseq and --seq up to 4294967295 set the lower half and leave the upper half; larger ones set both.
Units: XFRMA_ETIMER_THRESH is in jiffies when it is set and in units of 100 ms when it is read. One second is 100 jiffies in a kernel
with HZ=100, 250 with HZ=250, 1000 with HZ=1000; \`ae get --thresholds\` shows 10 in each case. Do not write back what was read.

Examples:
  xfrmsync ae set --dst 192.0.2.2 --spi 0x100 --oseq 50000
  xfrmsync ae set --dst 192.0.2.2 --spi 0x100 --threshold-packets 1000 --threshold-timer-jiffies 250`;

/** In units of 100 ms, as GETAE answers. */
const TIMER_UNIT_MS = 100;

async function get(options: GetOptions): Promise<void> {
  const id = idOf(options);
  const ae = await withClient(options, (client) =>
    doing(
      `cannot read the counters of ${nameOf(id)}`,
      client.getAevent(id, { thresholds: options.thresholds === true }),
    ),
  );
  if (!ae) throw noSuchSa(id);
  const asked = options.thresholds ? AeFlag.RTHR | AeFlag.ETHR : 0;
  const message: XfrmMessage<'NEWAE'> = {
    ...ae,
    body: { ...ae.body, flags: asked },
    kind: 'NEWAE',
    flags: 0,
    seq: 0,
    pid: 0,
  };
  if (options.json) await printJson(messageToJson(message));
  else await print(aeventText(ae, asked));
}

function aeventText({ body, attributes }: Aevent, asked: number): string {
  const { saId, saddr, reqid } = body;
  const { ltimeVal, replayThresh, etimerThresh, mark, ifId } = attributes;
  const heading =
    `${paint('strong', `${formatAddress(saddr, saId.family)} -> ${formatAddress(saId.daddr, saId.family)}`)}  ` +
    `${protoText(saId.proto)} ${paint('strong', formatSpi(saId.spi))}  reqid ${reqid}`;
  return block(heading, [
    ['replay', replayText(undefined, 0, attributes)],
    ['used', ltimeVal && `${ltimeVal.bytes} bytes, ${ltimeVal.packets} packets`],
    ['time', ltimeVal && `added ${moment(ltimeVal.addTime)}, first used ${moment(ltimeVal.useTime)}`],
    ['events', asked === 0 ? undefined : thresholdText(replayThresh, etimerThresh)],
    ['mark', mark && markText(mark)],
    ['if_id', ifId?.toString()],
  ]);
}

function thresholdText(packets: number | undefined, timer: number | undefined): string {
  const every = packets ? `every ${packets} packets` : 'no packet threshold';
  return `${every}, ${timer ? `timer ${timer * TIMER_UNIT_MS} ms` : 'no timer (or one below 100 ms)'}`;
}

async function set(options: SaIdOptions & AeWords): Promise<void> {
  const id = idOf(options);
  await withClient(options, async (client) => {
    const values = await changedValues(client, options);
    await doing(`cannot set the counters of ${nameOf(id)}`, client.setAevent(id, values));
  });
  if (options.json)
    await printJson({ set: 1, dst: options.dst.text, proto: protoText(id.proto), spi: formatSpi(id.spi) });
  else await print(`set ${nameOf(id)}`);
}

async function changedValues(client: XfrmClient, options: SaIdOptions & AeWords): Promise<AeventValues> {
  const id = idOf(options);
  const thresholds: AeventValues = {
    ...(options.thresholdPackets !== undefined && { replayThresh: options.thresholdPackets }),
    ...(options.thresholdTimerJiffies !== undefined && { etimerThresh: options.thresholdTimerJiffies }),
  };
  const replay = ['oseq', 'seq', 'oseqHi', 'seqHi', 'bitmap'] as const;
  const lifetime = ['bytes', 'packets', 'addTime', 'useTime'] as const;
  const wantsReplay = replay.some((name) => options[name] !== undefined);
  const wantsLifetime = lifetime.some((name) => options[name] !== undefined);
  if (!wantsReplay && !wantsLifetime) {
    if (Object.keys(thresholds).length === 0) throw usageError('nothing to set: see xfrmsync ae set --help');
    return thresholds;
  }
  const current = await doing(`cannot read the counters of ${nameOf(id)}`, client.getAevent(id));
  if (!current) throw noSuchSa(id);
  return {
    ...(wantsLifetime &&
      current.attributes.ltimeVal && { ltimeVal: changedLifetime(current.attributes.ltimeVal, options) }),
    ...(wantsReplay && changedReplay(current, options)),
    ...thresholds,
  };
}

function changedLifetime(
  now: NonNullable<AeventValues['ltimeVal']>,
  words: AeWords,
): NonNullable<AeventValues['ltimeVal']> {
  return {
    bytes: words.bytes ?? now.bytes,
    packets: words.packets ?? now.packets,
    addTime: words.addTime ?? now.addTime,
    useTime: words.useTime ?? now.useTime,
  };
}

const U32_MAX = 0xffff_ffffn;
const lower = (value: bigint): number => Number(value & U32_MAX);
const upper = (value: bigint): number => Number(value >> 32n);

/** The replay state of the SA, in the attribute that this SA goes by, with what was asked for. */
export function changedReplay({ attributes }: Pick<Aevent, 'attributes'>, words: AeWords): AeventValues {
  const { oseq, seq, oseqHi, seqHi, bitmap } = words;
  const esn = attributes.replayEsnVal;
  if (esn) {
    if (bitmap && bitmap.length !== esn.bmpLen) throw usageError(bitmapFault(bitmap.length, esn.bmpLen));
    return {
      replayEsnVal: {
        ...esn,
        ...(oseq !== undefined && { oseq: lower(oseq), oseqHi: oseq > U32_MAX ? upper(oseq) : esn.oseqHi }),
        ...(seq !== undefined && { seq: lower(seq), seqHi: seq > U32_MAX ? upper(seq) : esn.seqHi }),
        ...(oseqHi !== undefined && { oseqHi }),
        ...(seqHi !== undefined && { seqHi }),
        ...(bitmap && { bmp: bitmap }),
      },
    };
  }
  const legacy = attributes.replayVal ?? { oseq: 0, seq: 0, bitmap: 0 };
  if (oseqHi !== undefined || seqHi !== undefined || (oseq ?? 0n) > U32_MAX || (seq ?? 0n) > U32_MAX)
    throw usageError('this SA has no extended sequence numbers: they end at 4294967295');
  if (bitmap && bitmap.length !== 1) throw usageError(bitmapFault(bitmap.length, 1));
  return {
    replayVal: {
      oseq: oseq === undefined ? legacy.oseq : Number(oseq),
      seq: seq === undefined ? legacy.seq : Number(seq),
      bitmap: bitmap?.[0] ?? legacy.bitmap,
    },
  };
}
