import { hostLittleEndian, NLMSG_HDRLEN } from '../netlink/index.ts';
import { PF_KEY_V2 } from '../pfkey/index.ts';
import { NETLINK_XFRM } from '../xfrm/index.ts';

/** Forms in which netlink messages are kept, and where the datagrams are in them. */

export type CaptureForm = 'hex' | 'record' | 'raw' | 'pcap';
export const captureForms: readonly CaptureForm[] = ['hex', 'record', 'raw', 'pcap'];

/** Bytes that are no capture of the form. `offset` counts from the first byte of the input (of a hex text: its first character). */
export class CaptureError extends Error {
  override readonly name = 'CaptureError';
  readonly offset: number;

  constructor(offset: number, reason: string, unit = 'byte') {
    super(`${unit} ${offset}: ${reason}`);
    this.offset = offset;
  }
}

/** A datagram in the bytes of the capture. */
export interface Datagram {
  readonly at: number;
  readonly length: number;
}

const PCAP_MAGIC = { micro: 0xa1b2_c3d4, nano: 0xa1b2_3c4d } as const;
const PCAP_FILE_HEADER = 24;
const PCAP_RECORD_HEADER = 16;
const LINKTYPE_NETLINK = 253;
/** The cooked header of LINKTYPE_NETLINK; its last two bytes are the netlink protocol, in network order. */
const NETLINK_COOKED_HEADER = 16;
const XFRM_TYPE_MAX = 0x28;
const PFKEY_HEADER = 16;

/** @param isPfkey whether the messages are of PF_KEY instead of netlink */
export function detectForm(bytes: Uint8Array, isPfkey = false): CaptureForm {
  const view = viewOf(bytes);
  if (isText(bytes)) return 'hex';
  if (bytes.length >= 4 && pcapOrder(view) !== undefined) return 'pcap';
  return (isPfkey ? looksRecordedPfkey : looksRecorded)(bytes, view) ? 'record' : 'raw';
}

/** Printable ASCII and white space: the first bytes of netlink are a length and a type, which have zeros. */
function isText(bytes: Uint8Array): boolean {
  return bytes.every((b) => b === 9 || b === 10 || b === 13 || (b >= 32 && b < 127));
}

/** The first record holds whole messages of known types. */
function looksRecorded(bytes: Uint8Array, view: DataView): boolean {
  if (bytes.length < 4 + NLMSG_HDRLEN) return false;
  const end = 4 + view.getUint32(0, true);
  if (end > bytes.length) return false;
  let o = 4;
  while (end - o >= NLMSG_HDRLEN) {
    const length = view.getUint32(o, true);
    const type = view.getUint16(o + 4, true);
    if (length < NLMSG_HDRLEN || length > end - o || type === 0 || type > XFRM_TYPE_MAX) return false;
    o += (length + 3) & ~3;
  }
  return o > 4 && o >= end;
}

/** The first record holds one message. */
function looksRecordedPfkey(bytes: Uint8Array, view: DataView): boolean {
  if (bytes.length < 4 + PFKEY_HEADER) return false;
  const length = view.getUint32(0, true);
  return view.getUint8(4) === PF_KEY_V2 && 8 * view.getUint16(8, hostLittleEndian) === length;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The bytes of a hex text. White space, a leading 0x, colons and commas are skipped. */
export function bytesOfHex(text: string): Uint8Array {
  const digits: string[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (/[\s:,]/.test(c)) continue;
    if (c === '0' && /x/i.test(text[i + 1] ?? '')) {
      i++;
      continue;
    }
    if (!/[0-9a-f]/i.test(c)) throw new CaptureError(i, `'${c}' is not a hexadecimal digit`, 'character');
    digits.push(c);
  }
  if (digits.length % 2 !== 0)
    throw new CaptureError(
      text.length,
      `${digits.length} hexadecimal digits are no whole number of bytes`,
      'character',
    );
  return new Uint8Array(Buffer.from(digits.join(''), 'hex'));
}

/** The datagrams of a capture, in order. @throws {CaptureError} where it stops to be one */
export function* datagramsOf(bytes: Uint8Array, form: CaptureForm): Generator<Datagram> {
  if (form === 'record') yield* recorded(bytes);
  else if (form === 'pcap') yield* captured(bytes);
  else yield { at: 0, length: bytes.length };
}

function* recorded(bytes: Uint8Array): Generator<Datagram> {
  const view = viewOf(bytes);
  for (let o = 0; o < bytes.length; ) {
    if (bytes.length - o < 4)
      throw new CaptureError(o, `the record's length is cut off after ${bytes.length - o} bytes`);
    const length = view.getUint32(o, true);
    const there = bytes.length - o - 4;
    if (length > there) throw new CaptureError(o, `the record has ${length} bytes, ${there} are there`);
    if (length === 0) throw new CaptureError(o, 'the record is empty');
    yield { at: o + 4, length };
    o += 4 + length;
  }
}

/** True: little-endian. */
function pcapOrder(view: DataView): boolean | undefined {
  for (const little of [true, false]) {
    const magic = view.getUint32(0, little);
    if (magic === PCAP_MAGIC.micro || magic === PCAP_MAGIC.nano) return little;
  }
  return undefined;
}

function* captured(bytes: Uint8Array): Generator<Datagram> {
  const view = viewOf(bytes);
  const little = bytes.length >= 4 ? pcapOrder(view) : undefined;
  if (little === undefined || bytes.length < PCAP_FILE_HEADER) throw new CaptureError(0, 'no pcap header');
  const linkType = view.getUint32(20, little) & 0xffff;
  if (linkType !== LINKTYPE_NETLINK)
    throw new CaptureError(
      20,
      `link type ${linkType}: only netlink (${LINKTYPE_NETLINK}) can be read, as captured on an nlmon device`,
    );
  for (let o = PCAP_FILE_HEADER; o < bytes.length; ) {
    const there = bytes.length - o - PCAP_RECORD_HEADER;
    if (there < 0) throw new CaptureError(o, 'the header of the packet is cut off');
    const length = view.getUint32(o + 8, little);
    if (length > there) throw new CaptureError(o, `the packet has ${length} bytes, ${there} are there`);
    const at = o + PCAP_RECORD_HEADER;
    const isXfrm = length >= NETLINK_COOKED_HEADER && view.getUint16(at + 14, false) === NETLINK_XFRM;
    if (isXfrm) yield { at: at + NETLINK_COOKED_HEADER, length: length - NETLINK_COOKED_HEADER };
    o = at + length;
  }
}
