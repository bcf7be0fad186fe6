import type { Aevent, AeventValues, Sa } from '../../client/index.ts';
import { SaDir } from '../../xfrm/index.ts';

/** What moves while an SA is used. Numbers as the kernel keeps them; 64-bit sequence numbers in two halves. */
export interface Counters {
  oseq: number;
  oseqHi: number;
  seq: number;
  seqHi: number;
  /** The replay bitmap: one word in legacy mode, `bmpLen` words otherwise. Undefined: not known here (see `Frame` counters). */
  bitmap: number[] | undefined;
  /** Lifetime so far; exact up to 2^53. */
  bytes: number;
  packets: number;
  /** Seconds since the epoch. */
  addTime: number;
  useTime: number;
}

/** An SA and where it stands. */
export interface Stated {
  readonly sa: Sa;
  readonly counters: Counters;
}

export const countersOf = ({ body, attributes }: Sa): Counters => countersIn(attributes, body.curlft);

function countersIn(attributes: Sa['attributes'], lifetime: Sa['body']['curlft']): Counters {
  const { replayEsnVal: esn, replayVal: plain } = attributes;
  const { bytes, packets, addTime, useTime } = lifetime;
  return {
    oseq: esn?.oseq ?? plain?.oseq ?? 0,
    oseqHi: esn?.oseqHi ?? 0,
    seq: esn?.seq ?? plain?.seq ?? 0,
    seqHi: esn?.seqHi ?? 0,
    bitmap: esn ? [...esn.bmp] : [plain?.bitmap ?? 0],
    bytes: Number(bytes),
    packets: Number(packets),
    addTime: Number(addTime),
    useTime: Number(useTime),
  };
}

/** Counters in an answer to GETAE. */
export function countersOfAevent({ attributes }: Pick<Aevent, 'attributes'>): Counters {
  const none = { bytes: 0n, packets: 0n, addTime: 0n, useTime: 0n };
  return countersIn(attributes, attributes.ltimeVal ?? none);
}

/** Counters in the form that NEWAE and NEWSA take: REPLAY_ESN_VAL for SAs that have a bitmap attribute, never both. */
export function aeventValues({ sa, counters }: Stated): AeventValues {
  const { oseq, oseqHi, seq, seqHi, bitmap } = counters;
  const esn = sa.attributes.replayEsnVal;
  const ltimeVal = {
    bytes: BigInt(counters.bytes),
    packets: BigInt(counters.packets),
    addTime: BigInt(counters.addTime),
    useTime: BigInt(counters.useTime),
  };
  if (esn === undefined) return { replayVal: { oseq, seq, bitmap: bitmap?.[0] ?? 0 }, ltimeVal };
  const { bmpLen, replayWindow } = esn;
  const bmp = Array.from({ length: bmpLen }, (_, i) => bitmap?.[i] ?? 0);
  return { replayEsnVal: { bmpLen, oseq, seq, oseqHi, seqHi, replayWindow, bmp }, ltimeVal };
}

/** The SA with its counters as they are now. */
export function withCounters({ sa, counters }: Stated): Sa {
  const { ltimeVal, replayVal, replayEsnVal } = aeventValues({ sa, counters });
  return {
    body: { ...sa.body, ...(ltimeVal === undefined ? {} : { curlft: ltimeVal }) },
    attributes: {
      ...sa.attributes,
      ...(replayVal === undefined ? {} : { replayVal }),
      ...(replayEsnVal === undefined ? {} : { replayEsnVal }),
    },
  };
}

/** The last outbound number that was used, both halves. */
export const numberOf = ({ oseq, oseqHi }: Counters): number => oseqHi * 2 ** 32 + oseq;

/** How far an SA has come: it goes one way, so that one of its numbers moves. */
export const progressOf = ({ counters: { oseq, oseqHi, seq, seqHi } }: Pick<Stated, 'counters'>): number =>
  (oseqHi + seqHi) * 2 ** 32 + oseq + seq;

const END = 2 ** 32 - 1;
/**
 * The upper half of an inbound number that is shut. One less than the highest: a receiver takes a number below the window to be of the next
 * upper half (RFC 4303, appendix A2), and behind the highest one comes 0 again, under which every old packet would be accepted.
 */
export const SHUT_HI = END - 1;

/** The number of an SA that cannot send, see `parked`: it says nothing of what was sent. */
export function isParked(sa: Sa, { oseq, oseqHi }: Counters): boolean {
  return oseq === END && oseqHi === (counts64(sa) ? END : 0);
}

/** An inbound number that lets nothing in: it says nothing of what was accepted. */
export function isShut(sa: Sa, { seq, seqHi }: Counters): boolean {
  return seq === END && seqHi === (counts64(sa) ? SHUT_HI : 0);
}

const ESN = 128;

/** Whether an SA has 64-bit numbers. One with a bitmap attribute need not: then its upper halves stay 0. */
export function counts64({ body, attributes }: Sa): boolean {
  return attributes.replayEsnVal !== undefined && (body.flags & ESN) !== 0;
}

type Numbers = Pick<Counters, 'oseq' | 'oseqHi' | 'seq' | 'seqHi' | 'packets'>;

/** Whether either number, or the packet count, is lower than another one. */
export function isBehind(one: Numbers, other: Numbers): boolean {
  return (
    one.packets < other.packets ||
    one.oseqHi < other.oseqHi ||
    (one.oseqHi === other.oseqHi && one.oseq < other.oseq) ||
    one.seqHi < other.seqHi ||
    (one.seqHi === other.seqHi && one.seq < other.seq)
  );
}

/**
 * Takes over counters that are ahead, never ones that are behind (S3). True if anything moved. In a kernel, a number that is parked or shut
 * is not a number; in an account it is one.
 */
export function takeHigher({ sa, counters }: Stated, other: Counters, isAccount = false): boolean {
  let moved = false;
  if (
    (isAccount || !isParked(sa, other)) &&
    (other.oseqHi > counters.oseqHi || (other.oseqHi === counters.oseqHi && other.oseq > counters.oseq))
  ) {
    counters.oseq = other.oseq;
    counters.oseqHi = other.oseqHi;
    moved = true;
  }
  if (!isAccount && isShut(sa, other)) {
    // See `shut`.
  } else if (other.seqHi > counters.seqHi || (other.seqHi === counters.seqHi && other.seq > counters.seq)) {
    counters.seq = other.seq;
    counters.seqHi = other.seqHi;
    counters.bitmap = other.bitmap;
    moved = true;
  } else if (other.seqHi === counters.seqHi && other.seq === counters.seq && other.bitmap !== undefined) {
    // Of the same window: what either has seen was seen (S2).
    const both = other.bitmap.map((word, i) => (word | (counters.bitmap?.[i] ?? 0)) >>> 0);
    moved ||= both.some((word, i) => word !== counters.bitmap?.[i]);
    counters.bitmap = both;
  }
  for (const name of ['bytes', 'packets', 'useTime'] as const) {
    if (other[name] > counters[name]) {
      counters[name] = other[name];
      moved = true;
    }
  }
  return moved;
}

/** How many bits the replay window of an SA has; 0: replays are not checked. */
export function replayWindowOf({ body, attributes }: Sa): number {
  return attributes.replayEsnVal?.replayWindow ?? body.replayWindow;
}

/**
 * Which way an SA carries packets. Linux before 6.10 does not say; then the counter that has moved does. A fresh SA may be either.
 */
export function directionOf({ sa, counters }: Stated): 'in' | 'out' | 'unknown' {
  const { saDir } = sa.attributes;
  if (saDir === SaDir.IN) return 'in';
  if (saDir === SaDir.OUT) return 'out';
  const sent = counters.oseq !== 0 || counters.oseqHi !== 0;
  const received = counters.seq !== 0 || counters.seqHi !== 0;
  return sent === received ? 'unknown' : sent ? 'out' : 'in';
}
