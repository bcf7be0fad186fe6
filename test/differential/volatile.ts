import { align4, hostLittleEndian, NLMSG_HDRLEN } from '../../src/netlink/index.ts';
import { AeFlag, XfrmMsg } from '../../src/xfrm/index.ts';

/**
 * Which bytes of an answer do not count, from what they mean: times near the clock, and what a kernel has picked at random or has not set
 * at all. The table says where such fields are; what is known of the sequence so far says whether a value is one of them.
 */

const little = hostLittleEndian;
const NLA_HEADER = 4;
const NLA_TYPE_MASK = 0x3fff;

/** What a sequence has shown so far. */
export interface Known {
  /** Seconds since the epoch. */
  readonly now: number;
  /** SPIs that ALLOCSPI has picked out of a range. */
  readonly pickedSpis: Set<number>;
  /** Policy indices that requests have named: all others come from the machine's counter. */
  readonly namedIndices: Set<number>;
  /** Numbers of ACQUIREs, of the machine's counter too. */
  readonly acquireSeqs: Set<number>;
}

export const newKnown = (now: number): Known => ({
  now,
  pickedSpis: new Set(),
  namedIndices: new Set(),
  acquireSeqs: new Set(),
});

/** A field of a structure: what it is, and where. */
type Field = readonly [what: keyof typeof judges, offset: number];

/** xfrm_usersa_info, xfrm_usersa_id, xfrm_lifetime_cur, xfrm_userpolicy_info, xfrm_userpolicy_id. */
const saInfo: readonly Field[] = [
  ['spi', 72],
  ['time', 176],
  ['time', 184],
  ['acquireSeq', 204],
];
const saId: readonly Field[] = [['spi', 16]];
const used: readonly Field[] = [
  ['time', 16],
  ['time', 24],
];
const policyInfo: readonly Field[] = [
  ['time', 136],
  ['time', 144],
  ['index', 156],
];
const policyId: readonly Field[] = [['index', 56]];
const behind = (offset: number, fields: readonly Field[]): Field[] => fields.map(([what, at]) => [what, offset + at]);

interface Places {
  /** Bytes of the fixed part. */
  readonly size: number;
  readonly fields: readonly Field[];
}

const messages = new Map<number, Places>([
  [XfrmMsg.NEWSA, { size: 224, fields: saInfo }],
  [XfrmMsg.UPDSA, { size: 224, fields: saInfo }],
  [XfrmMsg.EXPIRE, { size: 232, fields: saInfo }],
  [XfrmMsg.DELSA, { size: 24, fields: saId }],
  [XfrmMsg.NEWAE, { size: 48, fields: [...saId, ['unsetHeader', 40]] }],
  [XfrmMsg.NEWPOLICY, { size: 168, fields: policyInfo }],
  [XfrmMsg.UPDPOLICY, { size: 168, fields: policyInfo }],
  [XfrmMsg.POLEXPIRE, { size: 176, fields: policyInfo }],
  [XfrmMsg.DELPOLICY, { size: 64, fields: policyId }],
  [XfrmMsg.ACQUIRE, { size: 280, fields: [...behind(96, policyInfo), ['always32', 276]] }],
  [XfrmMsg.MAPPING, { size: 64, fields: [...saId, ['unsetAddressEnd', 44]] }],
]);

const attributes = new Map<number, readonly Field[]>([
  [6, saInfo],
  [7, policyInfo],
  [9, used],
  [15, [['time', 0]]],
]);

type Range = [start: number, end: number];
type Judge = (view: DataView, at: number, known: Known) => Range | undefined;

const DAY = 86_400;
const judges = {
  time: (view, at, { now }) => (Math.abs(Number(view.getBigUint64(at, little)) - now) < DAY ? [at, at + 8] : undefined),
  spi: (view, at, { pickedSpis }) => (pickedSpis.has(view.getUint32(at)) ? [at, at + 4] : undefined),
  index: (view, at, { namedIndices }) => {
    const index = view.getUint32(at, little);
    return index === 0 || namedIndices.has(index) ? undefined : [at, at + 4];
  },
  acquireSeq: (view, at, { acquireSeqs }) => (acquireSeqs.has(view.getUint32(at, little)) ? [at, at + 4] : undefined),
  always32: (_, at) => [at, at + 4],
  /** Events of traffic and of the timer leave nlmsg_seq and nlmsg_pid unset; `at` is where the flags are. */
  unsetHeader: (view, at) => {
    const flags = view.getUint32(at, little);
    return flags === AeFlag.CR || flags === AeFlag.CE ? [8, 16] : undefined;
  },
  /** Of an IPv4 address the kernel sets four bytes; the family stands in the identifier before it. */
  unsetAddressEnd: (view, at) => (view.getUint16(NLMSG_HDRLEN + 20, little) === 2 ? [at + 4, at + 16] : undefined),
} satisfies Record<string, Judge>;

/** The ranges of one message that do not count, in their order. */
export function volatileRanges(message: Uint8Array, known: Known): Range[] {
  if (message.length < NLMSG_HDRLEN) return [];
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const places = messages.get(view.getUint16(4, little));
  if (places === undefined || message.length < NLMSG_HDRLEN + places.size) return [];
  const ranges: Range[] = [];
  const judge = (start: number, fields: readonly Field[]): void => {
    for (const [what, offset] of fields) {
      const range = judges[what](view, start + offset, known);
      if (range !== undefined) ranges.push(range as Range);
    }
  };
  judge(NLMSG_HDRLEN, places.fields);
  for (let at = NLMSG_HDRLEN + align4(places.size); message.length - at >= NLA_HEADER; ) {
    const length = view.getUint16(at, little);
    if (length < NLA_HEADER || length > message.length - at) break;
    judge(at + NLA_HEADER, attributes.get(view.getUint16(at + 2, little) & NLA_TYPE_MASK) ?? []);
    at += align4(length);
  }
  return ranges.sort(([a], [b]) => a - b);
}

/** Body offsets in requests of the policy index: what is named there is not of the counter. */
const NAMED_INDEX = new Map<number, number>([
  [XfrmMsg.NEWPOLICY, 156],
  [XfrmMsg.UPDPOLICY, 156],
  [XfrmMsg.ACQUIRE, 96 + 156],
]);
/** In ALLOCSPI: the range, and where the answer has what was picked. */
const SPI_MIN = 224;
const SPI_MAX = 228;
const SPI = 72;
const ACQUIRE_SEQ = 276;

/** Learns from a request. `replies`: what came back for it at once, in which ALLOCSPI's pick is shown. */
export function learnRequest(request: Uint8Array, replies: readonly Uint8Array[], known: Known): void {
  if (request.length < NLMSG_HDRLEN) return;
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
  const type = view.getUint16(4, little);
  const index = NAMED_INDEX.get(type);
  if (index !== undefined && request.length >= NLMSG_HDRLEN + index + 4) {
    known.namedIndices.add(view.getUint32(NLMSG_HDRLEN + index, little));
  }
  if (type !== XfrmMsg.ALLOCSPI || request.length < NLMSG_HDRLEN + SPI_MAX + 4) return;
  if (view.getUint32(NLMSG_HDRLEN + SPI_MIN, little) === view.getUint32(NLMSG_HDRLEN + SPI_MAX, little)) return;
  for (const reply of replies) {
    const answer = new DataView(reply.buffer, reply.byteOffset, reply.byteLength);
    const isAnswer = reply.length >= NLMSG_HDRLEN + 224 && answer.getUint16(4, little) === XfrmMsg.NEWSA;
    if (!isAnswer || answer.getUint32(8, little) !== view.getUint32(8, little)) continue;
    const spi = answer.getUint32(NLMSG_HDRLEN + SPI);
    const low = view.getUint32(NLMSG_HDRLEN + SPI_MIN, little);
    const high = view.getUint32(NLMSG_HDRLEN + SPI_MAX, little);
    if (spi >= low && spi <= high) known.pickedSpis.add(spi);
  }
}

/** Learns from what a kernel has sent: the numbers of ACQUIREs. */
export function learnAnswer(message: Uint8Array, known: Known): void {
  if (message.length < NLMSG_HDRLEN + ACQUIRE_SEQ + 4) return;
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  if (view.getUint16(4, little) !== XfrmMsg.ACQUIRE) return;
  known.acquireSeqs.add(view.getUint32(NLMSG_HDRLEN + ACQUIRE_SEQ, little));
}
