import { readFile, stat } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { align4, hostLittleEndian, NLMSG_HDRLEN } from '../netlink/index.ts';
import { decodePfkey, forEachPfkey, formatPfkey, pfkeyToJson } from '../pfkey/index.ts';
import {
  DecodeError,
  decodeMessage,
  formatMessage,
  type JsonObject,
  type JsonOptions,
  messageToJson,
} from '../xfrm/index.ts';
import {
  bytesOfHex,
  CaptureError,
  type CaptureForm,
  captureForms,
  type Datagram,
  datagramsOf,
  detectForm,
} from './capture.ts';
import { usageError } from './failure.ts';
import { print, printJson } from './output.ts';

interface DecodeOptions {
  readonly hex?: string;
  readonly format?: CaptureForm;
  readonly pfkey?: boolean;
  readonly json?: boolean;
  readonly showKeys?: boolean;
}

/** The input is held in memory: about an hour of a busy recording. */
const INPUT_BYTES_MAX = 512 << 20;

export function register(program: Command): void {
  program
    .command('decode')
    .description('print recorded or pasted XFRM netlink or PF_KEY messages')
    .argument('[file]', 'what to read; - or nothing is standard input')
    .option('--hex <hex>', 'the messages themselves, in hexadecimal')
    .addOption(
      new Option('--format <form>', 'what the input is, where it is not recognized').choices([...captureForms]),
    )
    .option('--pfkey', 'the messages are of PF_KEY')
    .option('--show-keys', 'print key material too')
    .option('--json', 'print JSON, one object a line')
    .addHelpText('after', decodeHelp)
    .action(decode);
}

const decodeHelp = `
Forms: hex     hexadecimal text; white space and colons do no harm
       record  length (32 bits, little-endian) and datagram, again and again: what \`xfrmsync monitor --record\` writes
       raw     messages back to back
       pcap    a capture of an nlmon device (link type 253); messages of other netlink families are skipped
If something cannot be read, what stands before it is printed, then one line says where and why, and the exit code is 2.

Examples:
  xfrmsync decode events.bin
  xfrmsync decode --pfkey --hex '020a0200 02000000 01000000 e1100000'
  xfrmsync decode --json events.bin
  xfrmsync decode --hex '14000000 03000000 00000000 00000000 00000000'`;

async function decode(file: string | undefined, options: DecodeOptions): Promise<void> {
  if (options.hex !== undefined && file !== undefined) throw usageError('--hex and a file exclude each other');
  const name = options.hex === undefined ? (file === undefined || file === '-' ? 'standard input' : file) : '--hex';
  const input = options.hex === undefined ? await readInput(file) : Buffer.from(options.hex);
  try {
    if (input.length === 0) throw new CaptureError(0, 'there is nothing');
    const form = options.hex === undefined ? (options.format ?? detectForm(input, options.pfkey)) : 'hex';
    const bytes = form === 'hex' ? bytesOfHex(Buffer.from(input).toString('latin1')) : input;
    if (bytes.length === 0) throw new CaptureError(0, 'there is nothing');
    if (options.pfkey && form === 'pcap') throw new CaptureError(0, 'PF_KEY is not captured with pcap');
    for (const datagram of datagramsOf(bytes, form)) {
      for (const message of (options.pfkey ? pfkeyOf : netlinkOf)(bytes, datagram)) await show(message, options);
    }
  } catch (error) {
    if (error instanceof CaptureError || error instanceof DecodeError)
      throw usageError(`cannot decode ${name}: ${error.message}`, error);
    throw error;
  }
}

async function readInput(file: string | undefined): Promise<Uint8Array> {
  try {
    if (file !== undefined && file !== '-') {
      const { size } = await stat(file);
      if (size > INPUT_BYTES_MAX) throw tooLarge(file);
      return await readFile(file);
    }
    if (process.stdin.isTTY) throw usageError('give a file, --hex, or something on standard input');
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of process.stdin as AsyncIterable<Buffer>) {
      parts.push(part);
      size += part.length;
      if (size > INPUT_BYTES_MAX) throw tooLarge('standard input');
    }
    return Buffer.concat(parts);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw usageError(`cannot read ${file}: ${(error as Error).message}`, error);
  }
}

const tooLarge = (name: string): Error => usageError(`${name} is larger than ${INPUT_BYTES_MAX >> 20} MiB: split it`);

/** A message of either protocol. */
interface Decoded {
  readonly json: (options: JsonOptions) => JsonObject;
  readonly text: (options: JsonOptions) => string;
}

/** The messages of one datagram. Offsets in errors count from the first byte of the whole input. */
function* netlinkOf(bytes: Uint8Array, { at, length }: Datagram): Generator<Decoded> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, at + length);
  const end = at + length;
  for (let o = at; o < end; ) {
    const there = end - o;
    if (there < NLMSG_HDRLEN)
      throw new CaptureError(o, `${there} bytes are left, a netlink header has ${NLMSG_HDRLEN}`);
    const size = view.getUint32(o, hostLittleEndian);
    if (size < NLMSG_HDRLEN || size > there)
      throw new CaptureError(o, `not a netlink message: its length says ${size}, ${there} bytes are there`);
    const message = decodeMessage(bytes, o);
    yield { json: (options) => messageToJson(message, options), text: (options) => formatMessage(message, options) };
    o += align4(size);
  }
}

function* pfkeyOf(bytes: Uint8Array, { at, length }: Datagram): Generator<Decoded> {
  const starts: number[] = [];
  const datagram = bytes.subarray(0, at + length);
  const end = at + forEachPfkey(datagram.subarray(at), (o) => starts.push(at + o));
  // What follows is no message: decoding it says why.
  if (end < datagram.length) starts.push(end);
  for (const start of starts) {
    const message = decodePfkey(datagram, start);
    yield { json: (options) => pfkeyToJson(message, options), text: (options) => formatPfkey(message, options) };
  }
}

async function show(message: Decoded, options: DecodeOptions): Promise<void> {
  if (options.json) await printJson(message.json(options));
  else await print(message.text(options));
}
