import { closeSync, openSync, writeSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { type EventStream, type KernelEvent, openEvents, openPfkeyEvents } from '../client/index.ts';
import { type AnyPfkeyMessage, formatPfkey, pfkeyToJson } from '../pfkey/index.ts';
import {
  type AnyXfrmMessage,
  formatMessage,
  type JsonObject,
  type JsonOptions,
  messageToJson,
  XfrmGroup,
} from '../xfrm/index.ts';
import { type KernelOptions, kernelOf, withKernelOptions } from './connect.ts';
import { usageError } from './failure.ts';
import { paint, print, printJson } from './output.ts';
import { groupOf, registrationFor, type Via, viaOption } from './pfkey.ts';
import { atLeastOne } from './values.ts';

interface MonitorOptions extends KernelOptions {
  readonly groups?: number[];
  readonly all?: boolean;
  readonly via: Via;
  readonly count?: number;
  readonly record?: string;
  readonly showKeys?: boolean;
}

export function register(program: Command): void {
  const names = Object.keys(XfrmGroup).join(',').toLowerCase();
  withKernelOptions(program.command('monitor').description('print what the kernel announces, as it happens'))
    .option('--groups <names>', `only these groups, of ${names}`, groups)
    .option('--all', 'all groups (the default)')
    .addOption(viaOption())
    .option('--count <n>', 'stop after so many messages', atLeastOne)
    .option(
      '--record <file>',
      'also write the messages to a file that `xfrmsync decode` reads; it holds keys, mode 0600',
    )
    .option('--show-keys', 'print key material too')
    .addHelpText('after', monitorHelp)
    .action(monitor);
}

const monitorHelp = `
While the group aevents is watched, the kernel sends an event for every SA that moves, in every network namespace.
If events were lost because this program could not keep up, a line says so; of PF_KEY the kernel does not tell.
--via pfkey registers as a key manager for the groups acquire, expire, mapping and aevents: what needs an SA then waits for one.

Examples:
  xfrmsync monitor --groups sa,aevents
  xfrmsync monitor --json --count 100 > events.jsonl
  xfrmsync monitor --via pfkey --groups sa,policy
  xfrmsync monitor --record events.bin`;

function groups(text: string): number[] {
  return text.split(',').map((part) => {
    const name = part.trim().toUpperCase();
    if (!Object.hasOwn(XfrmGroup, name))
      throw new InvalidArgumentError(
        `'${part.trim()}' is not one of ${Object.keys(XfrmGroup).join(', ').toLowerCase()}.`,
      );
    return XfrmGroup[name as keyof typeof XfrmGroup];
  });
}

async function monitor(options: MonitorOptions): Promise<void> {
  if (options.all && options.groups) throw usageError('--all and --groups exclude each other');
  const record = options.record === undefined ? undefined : openRecord(options.record);
  try {
    // Before the socket is there: whoever sees the listener may already send the signal.
    const stopped = new AbortController();
    const stop = (): void => stopped.abort();
    process.once('SIGINT', stop).once('SIGTERM', stop);
    if (options.via === 'pfkey') await watch(await openByPfkey(options), pfkeyForm(options), options, stopped, record);
    else await watch(await openByNetlink(options), netlinkForm, options, stopped, record);
  } finally {
    record?.(undefined);
  }
}

/** How the messages of a protocol are shown, and which. */
interface Form<M> {
  readonly json: (message: M, options: JsonOptions) => JsonObject;
  readonly text: (message: M, options: JsonOptions) => string;
  readonly isWanted: (message: M) => boolean;
}

const groupsOf = ({ groups }: MonitorOptions): number[] => groups ?? Object.values(XfrmGroup);

const openByNetlink = (options: MonitorOptions): Promise<EventStream> =>
  openEvents(kernelOf(options), { groups: groupsOf(options) });

const netlinkForm: Form<AnyXfrmMessage> = { json: messageToJson, text: formatMessage, isWanted: () => true };

const openByPfkey = (options: MonitorOptions): Promise<EventStream<AnyPfkeyMessage>> =>
  openPfkeyEvents(kernelOf(options), { register: registrationFor(groupsOf(options)) });

function pfkeyForm(options: MonitorOptions): Form<AnyPfkeyMessage> {
  const wanted = new Set<number | undefined>([...groupsOf(options), undefined]);
  return { json: pfkeyToJson, text: formatPfkey, isWanted: ({ kind }) => wanted.has(groupOf(kind)) };
}

async function watch<M>(
  stream: EventStream<M>,
  form: Form<M>,
  options: MonitorOptions,
  stopped: AbortController,
  record: ReturnType<typeof openRecord> | undefined,
): Promise<void> {
  await using events = stream;
  stopped.signal.addEventListener('abort', () => events.close());
  if (stopped.signal.aborted) return;
  let left = options.count ?? Number.POSITIVE_INFINITY;
  for await (const event of events) {
    if (event.type === 'message' && !form.isWanted(event.message)) continue;
    if (event.type !== 'overrun') record?.(event.bytes);
    await show(event, form, options);
    if (event.type !== 'overrun' && --left === 0) return;
  }
}

/** Writes records of length (u32, little-endian) and bytes; `undefined` closes the file. */
function openRecord(path: string): (bytes: Uint8Array | undefined) => void {
  let fd: number;
  try {
    fd = openSync(path, 'w', 0o600);
  } catch (error) {
    throw usageError(`cannot write ${path}: ${(error as Error).message}`, error);
  }
  return (bytes) => {
    if (bytes === undefined) {
      closeSync(fd);
      return;
    }
    const entry = Buffer.alloc(4 + bytes.length);
    entry.writeUInt32LE(bytes.length, 0);
    entry.set(bytes, 4);
    for (let done = 0; done < entry.length; ) done += writeSync(fd, entry, done);
  };
}

async function show<M>(event: KernelEvent<M>, form: Form<M>, options: MonitorOptions): Promise<void> {
  const time = new Date().toISOString();
  if (options.json) await printJson({ time, ...eventJson(event, form, options) });
  else await print(`${paint('faint', time)} ${eventText(event, form, options)}`);
}

function eventJson<M>(event: KernelEvent<M>, form: Form<M>, options: MonitorOptions): JsonObject {
  if (event.type === 'message') return form.json(event.message, options);
  if (event.type === 'overrun') return { event: 'overrun' };
  return { event: 'malformed', reason: event.error.message, ...(options.showKeys && { bytes: hex(event.bytes) }) };
}

function eventText<M>(event: KernelEvent<M>, form: Form<M>, options: MonitorOptions): string {
  if (event.type === 'message') return form.text(event.message, options);
  if (event.type === 'overrun') return paint('alarm', 'overrun: events were lost');
  const bytes = options.showKeys ? ` ${hex(event.bytes)}` : ` (${event.bytes.length} bytes; --show-keys prints them)`;
  return paint('alarm', `malformed: ${event.error.message}`) + bytes;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
