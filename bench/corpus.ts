import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { cacheDirectory } from './places.ts';

/**
 * NEWAE messages as the kernel sends them (xfrm_user.c:build_aevent), back to back, the same on each run. A quarter have the legacy
 * replay state (116 bytes), the others ESN with bitmaps of 4 to 32 words; a quarter are IPv6; one in eight carries both thresholds.
 */
export interface Corpus {
  bytes: Uint8Array<ArrayBuffer>;
  /** Where each message starts. */
  offsets: Uint32Array;
  /** The file with the same bytes, for the peers. */
  path: string;
}

const MESSAGES = 4096;
const SEED = 0x584652;
const LITTLE = endianness() === 'LE';

const NLMSG_HDRLEN = 16;
const AEVENT_ID = 48;
const NLA_HDRLEN = 4;
const XFRM_MSG_NEWAE = 0x1e;
const Xfrma = { LTIME_VAL: 9, REPLAY_VAL: 10, REPLAY_THRESH: 11, ETIMER_THRESH: 12, REPLAY_ESN_VAL: 23 } as const;
const AeFlag = { RTHR: 1, ETHR: 8, CR: 16, CE: 32 } as const;
const BITMAP_WORDS: readonly number[] = [4, 8, 16, 32];
/** 2026-01-01; lifetimes hold seconds since the epoch. */
const EPOCH_SECONDS = 1_767_225_600;

/** xorshift32 (Marsaglia): the bench needs repeatable numbers, not good ones. */
export function numbers(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

function writeMessage(view: DataView, at: number, random: () => number): number {
  const u32 = (o: number, value: number): void => view.setUint32(o, value, LITTLE);
  const u64 = (o: number, value: number): void => view.setBigUint64(o, BigInt(value), LITTLE);
  const ipv6 = random() % 4 === 0;
  const esn = random() % 4 !== 0;
  const thresholds = random() % 8 === 0;
  const cause = random() % 4 === 0 ? AeFlag.CE : AeFlag.CR;
  const id = at + NLMSG_HDRLEN;
  for (const address of [id, id + 24]) {
    view.setUint32(address, ipv6 ? 0x20010db8 : 0xc6120000 + (random() & 0xffff));
    if (ipv6) view.setUint32(address + 12, random());
  }
  view.setUint32(id + 16, 0x100 + (random() & 0x7fffffff));
  view.setUint16(id + 20, ipv6 ? 10 : 2, LITTLE);
  view.setUint8(id + 22, 50);
  u32(id + 40, thresholds ? AeFlag.RTHR | AeFlag.ETHR : cause);
  u32(id + 44, random() % 1000);
  let o = id + AEVENT_ID;
  const attribute = (type: number, bytes: number): number => {
    const payload = o + NLA_HDRLEN;
    view.setUint16(o, NLA_HDRLEN + bytes, LITTLE);
    view.setUint16(o + 2, type, LITTLE);
    o = payload + bytes;
    return payload;
  };
  if (esn) {
    const words = BITMAP_WORDS[random() % BITMAP_WORDS.length] ?? 4;
    const replay = attribute(Xfrma.REPLAY_ESN_VAL, 24 + 4 * words);
    const state = [words, random(), random(), random() % 16, random() % 16, words * 32];
    for (const [i, value] of state.entries()) u32(replay + 4 * i, value);
    for (let i = 0; i < words; i++) u32(replay + 24 + 4 * i, random());
  } else {
    const replay = attribute(Xfrma.REPLAY_VAL, 12);
    for (let i = 0; i < 3; i++) u32(replay + 4 * i, random());
  }
  const lifetime = attribute(Xfrma.LTIME_VAL, 32);
  u64(lifetime, (random() % 4096) * 0x1_0000_0000 + random());
  u64(lifetime + 8, (random() % 8) * 0x1_0000_0000 + random());
  u64(lifetime + 16, EPOCH_SECONDS + (random() % 86_400));
  u64(lifetime + 24, EPOCH_SECONDS + (random() % 86_400));
  if (thresholds) {
    u32(attribute(Xfrma.REPLAY_THRESH, 4), 2 + (random() % 1000));
    u32(attribute(Xfrma.ETIMER_THRESH, 4), 1 + (random() % 100));
  }
  u32(at, o - at);
  view.setUint16(at + 4, XFRM_MSG_NEWAE, LITTLE);
  return o - at;
}

export function openCorpus(): Corpus {
  const buffer = new ArrayBuffer(MESSAGES * 320);
  const view = new DataView(buffer);
  const offsets = new Uint32Array(MESSAGES);
  const random = numbers(SEED);
  let end = 0;
  for (let i = 0; i < MESSAGES; i++) {
    offsets[i] = end;
    end += writeMessage(view, end, random);
  }
  const bytes = new Uint8Array(buffer.slice(0, end));
  const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 16);
  const path = join(cacheDirectory(), `corpus-${digest}.bin`);
  mkdirSync(cacheDirectory(), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.${process.pid}`, bytes);
  renameSync(`${path}.${process.pid}`, path);
  return { bytes, offsets, path };
}

/**
 * One word into the checksum over key and counters that every peer computes: daddr (four words), spi, family, proto, flags, oseq,
 * oseqHi, seq, seqHi, then bytes and packets, low word first.
 */
export const mix = (sum: number, word: number): number => (Math.imul(sum, 31) + word) >>> 0;
