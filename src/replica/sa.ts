import type { Aevent, AeventValues, Sa, SaId } from '../client/index.ts';
import { AddressFamily, type AeventCursor, SaDir, sameAddress } from '../xfrm/index.ts';
import type { Tuning } from './adapt.ts';
import type { Peer } from './peer.ts';
import type { Knowledge } from './plan.ts';
import type { Rate } from './rate.ts';
import type { ToldEach } from './told.ts';

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

/** Counters that moved, SA by SA: `AeventCursor`, or whatever reads what a kernel says in other words. Fields are of the SA that `next` found. */
export type Aevents = Pick<
  AeventCursor,
  | 'next'
  | 'flags'
  | 'spi'
  | 'proto'
  | 'family'
  | 'daddr0'
  | 'daddr1'
  | 'daddr2'
  | 'daddr3'
  | 'markValue'
  | 'markMask'
  | 'bitmap'
  | Exclude<keyof Counters, 'bitmap'>
>;

/** When the kernel speaks of an SA without being asked: every `packets` packets, and after `timerMs` with a change. 0: not at all. */
export interface Thresholds {
  readonly packets: number;
  readonly timerMs: number;
}

/** One SA of the replica. */
export interface SaRecord {
  /** Names the SA between two nodes, as long as one of them is active. The active chooses it. */
  handle: number;
  readonly id: SaId;
  /** As the kernel described it last. The counters that stand in it are stale; `counters` has the current ones. */
  sa: Sa;
  readonly counters: Counters;
  thresholds: Thresholds;
  readonly rate: Rate;
  /** Counters have moved since they were last sent (active) or written to the kernel (standby). */
  dirty: boolean;
  /** Standby: the SA is in this node's kernel. */
  installed: boolean;
  /** The highest outbound number that may be used, or that this node has used, as all standbys know; 0: nothing was agreed on. */
  granted: number;
  /** Active: beyond this number more is to be asked for. */
  raiseAt: number;
  /** Active: having carried so many packets, half of what its ceiling leaves, it is looked at whether its number has moved with them. */
  recountAt: number;
  /** Active: the hard packet limit that stands in the kernel in place of the key manager's. */
  ceiling: bigint | undefined;
  /** Active: its number when that was written. */
  ceilingAt: number;
  /** Active: the kernel has told the key manager that a soft limit was reached; it must not tell it again. */
  softTold: boolean;
  /** Standby: the times come from this node's account; they are shifted if its clock turns out to be another (`clock.ts`). */
  timesBy: Peer | undefined;
  /** It was deleted, and the operator has brought it back: what was known of it at the deletion. */
  restored: Knowledge | undefined;
  /** Active: where this SA began on this node, if it was taken over in this life of the daemon. */
  began: Readonly<Counters> | undefined;
  /** It was silent for so long that its kernel has announced everything: counters and bitmap are exact (quiet.ts). */
  quiet: boolean;
  /** Active: when it was last seen to move. */
  movedMs: number;
  /** Active: with which T the kernel's timer for this SA can be running at most; undefined: not known yet, Infinity: it need not be running. */
  timerMaxMs: number | undefined;
  /** Active: its counters are being read to see whether it is quiet. */
  probed: boolean;
  /** Active: what of its progress has arrived at each standby. */
  readonly told: ToldEach;
  /** Active: its thresholds are set by this node. `theirs`: somebody has set them since, and is left alone. */
  tuning: Tuning | 'theirs' | undefined;
  /** Next record with the same SPI. */
  next: SaRecord | undefined;
}

/** The kernel's defaults (xfrm_aevent_rseqth 2 packets, xfrm_aevent_etime 1 s). */
export const KERNEL_THRESHOLDS: Thresholds = { packets: 2, timerMs: 1000 };

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
export function aeventValues({ sa, counters }: Pick<SaRecord, 'sa' | 'counters'>): AeventValues {
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
export function withCounters({ sa, counters }: Pick<SaRecord, 'sa' | 'counters'>): Sa {
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
export const progressOf = ({ counters: { oseq, oseqHi, seq, seqHi } }: Pick<SaRecord, 'counters'>): number =>
  (oseqHi + seqHi) * 2 ** 32 + oseq + seq;

/** What a new record knows of its SA: nothing yet. */
export const newRecordState = (): Pick<
  SaRecord,
  | 'dirty'
  | 'granted'
  | 'raiseAt'
  | 'recountAt'
  | 'ceiling'
  | 'ceilingAt'
  | 'softTold'
  | 'timesBy'
  | 'restored'
  | 'began'
  | 'quiet'
  | 'movedMs'
  | 'timerMaxMs'
  | 'probed'
  | 'told'
  | 'tuning'
  | 'next'
> => ({
  dirty: false,
  granted: 0,
  raiseAt: Number.POSITIVE_INFINITY,
  recountAt: Number.POSITIVE_INFINITY,
  ceiling: undefined,
  ceilingAt: 0,
  softTold: false,
  timesBy: undefined,
  restored: undefined,
  began: undefined,
  quiet: false,
  movedMs: 0,
  timerMaxMs: undefined,
  probed: false,
  told: [],
  tuning: undefined,
  next: undefined,
});

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
export function takeHigher({ sa, counters }: SaRecord, other: Counters, isAccount = false): boolean {
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
export function directionOf({ sa, counters }: Pick<SaRecord, 'sa' | 'counters'>): 'in' | 'out' | 'unknown' {
  const { saDir } = sa.attributes;
  if (saDir === SaDir.IN) return 'in';
  if (saDir === SaDir.OUT) return 'out';
  const sent = counters.oseq !== 0 || counters.oseqHi !== 0;
  const received = counters.seq !== 0 || counters.seqHi !== 0;
  return sent === received ? 'unknown' : sent ? 'out' : 'in';
}

/** An SA's identity as text, for sets. */
export function saKey({ daddr, spi, proto, family, mark }: SaId): string {
  return JSON.stringify([spi, proto, family, daddr, mark?.value ?? 0, mark?.mask ?? 0]);
}

/** SAs by what the kernel looks them up by. Lookups make no strings: an event costs a map access and a few comparisons. */
export class SaTable {
  readonly #records = new Set<SaRecord>();
  readonly #bySpi = new Map<number, SaRecord>();
  readonly #byHandle = new Map<number, SaRecord>();

  get size(): number {
    return this.#records.size;
  }

  [Symbol.iterator](): SetIterator<SaRecord> {
    return this.#records.values();
  }

  has(record: SaRecord): boolean {
    return this.#records.has(record);
  }

  byHandle(handle: number): SaRecord | undefined {
    return this.#byHandle.get(handle);
  }

  /** From now on `handle` means this record, whatever it meant before. */
  rename(record: SaRecord, handle: number): void {
    if (this.#byHandle.get(record.handle) === record) this.#byHandle.delete(record.handle);
    record.handle = handle;
    this.#byHandle.set(handle, record);
  }

  /** Handles given so far mean nothing any more: another node, or another life of it, gives them out anew. */
  forgetHandles(): void {
    this.#byHandle.clear();
  }

  find(id: SaId): SaRecord | undefined {
    const mark = id.mark?.value ?? 0;
    const mask = id.mark?.mask ?? 0;
    for (let r = this.#bySpi.get(id.spi); r !== undefined; r = r.next) {
      if (sameId(r.id, id.proto, id.family, mark, mask) && sameAddress(r.id.daddr, id.daddr, id.family)) return r;
    }
    return undefined;
  }

  findAevent(cursor: Aevents): SaRecord | undefined {
    for (let r = this.#bySpi.get(cursor.spi); r !== undefined; r = r.next) {
      const { daddr } = r.id;
      if (
        sameId(r.id, cursor.proto, cursor.family, cursor.markValue, cursor.markMask) &&
        daddr.w0 === cursor.daddr0 &&
        (cursor.family === AddressFamily.INET ||
          (daddr.w1 === cursor.daddr1 && daddr.w2 === cursor.daddr2 && daddr.w3 === cursor.daddr3))
      ) {
        return r;
      }
    }
    return undefined;
  }

  add(record: SaRecord): void {
    this.#records.add(record);
    record.next = this.#bySpi.get(record.id.spi);
    this.#bySpi.set(record.id.spi, record);
    this.#byHandle.set(record.handle, record);
  }

  remove(record: SaRecord): void {
    if (!this.#records.delete(record)) return;
    if (this.#byHandle.get(record.handle) === record) this.#byHandle.delete(record.handle);
    const { spi } = record.id;
    const first = this.#bySpi.get(spi);
    if (first === record) {
      if (record.next === undefined) this.#bySpi.delete(spi);
      else this.#bySpi.set(spi, record.next);
      return;
    }
    for (let r = first; r !== undefined; r = r.next) if (r.next === record) r.next = record.next;
  }
}

function sameId(id: SaId, proto: number, family: number, mark: number, mask: number): boolean {
  return id.proto === proto && id.family === family && (id.mark?.value ?? 0) === mark && (id.mark?.mask ?? 0) === mask;
}
