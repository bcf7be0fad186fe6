import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { hostLittleEndian } from 'xfrmsync/netlink';
import {
  type AnyPfkeyMessage,
  DecodeError,
  decodePfkey,
  encodePfkey,
  forEachPfkey,
  formatPfkey,
  PfkeyExt,
  PfkeyMsg,
  pfkeyFromJson,
  pfkeyToJson,
  SADB_EXT_MAX,
} from 'xfrmsync/pfkey';
import type { Random } from './random.ts';

/** PF_KEY messages after some damage, and what must hold for any bytes whatever. */

const HEADER = 16;
const LEN_AT = 4;
const WORD = 8;
const BYTES_MAX = 8192;

/** Every different PF_KEY message in the vectors, and some with extensions that are not in these. */
export function pfkeyCorpus(directory: string): Uint8Array[] {
  const seen = new Set<string>();
  for (const file of readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()) {
    if (!file.includes('pfkey') || !file.endsWith('.jsonl.gz')) continue;
    for (const line of gunzipSync(readFileSync(join(directory, file)))
      .toString()
      .trim()
      .split('\n')) {
      const { steps } = JSON.parse(line) as {
        steps: { op: string; sock?: string; proto?: string; hex?: string | string[]; reply?: string[] }[];
      };
      const sockets = new Set(steps.filter(({ proto }) => proto === 'pfkey').map(({ sock }) => sock));
      for (const { sock, hex = [], reply = [] } of steps) {
        if (sockets.has(sock)) for (const message of [hex, reply].flat()) seen.add(message);
      }
    }
  }
  const recorded = [...seen].map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')));
  return [...recorded.filter(({ length }) => length >= HEADER), ...unrecorded.map((message) => encodePfkey(message))];
}

const header = { errno: 0, satype: 3, seq: 1, pid: 2 };
const inet = { family: 2, port: 500, address: { w0: 0x0a090001, w1: 0, w2: 0, w3: 0 } };
const inet6 = { family: 10, port: 0, address: { w0: 0xfd090000, w1: 0, w2: 0, w3: 1 } };
const request = { proto: 50, mode: 2, level: 2, reqid: 7 };
const policy = { type: 2, dir: 2, id: 9, priority: 2000 };
const unrecorded: AnyPfkeyMessage[] = [
  {
    kind: 'X_SPDADD',
    ...header,
    extensions: {
      policy: {
        ...policy,
        requests: [{ ...request, addresses: { src: inet, dst: inet } }, request],
      },
    },
  },
  {
    kind: 'X_MIGRATE',
    ...header,
    extensions: {
      kmaddress: { addresses: { src: inet6, dst: inet6 } },
      policy: { ...policy, requests: [{ ...request, addresses: { src: inet6, dst: inet6 } }] },
    },
  },
  {
    kind: 'ACQUIRE',
    ...header,
    extensions: {
      identitySrc: { type: 2, id: 5n, name: 'a.example' },
      secCtx: { alg: 1, doi: 1, ctxLen: 7, ctx: new Uint8Array(7).fill(0x61) },
      sensitivity: {
        dpd: 2,
        sensLevel: 1,
        sensLen: 1,
        integLevel: 3,
        integLen: 1,
        sensBitmap: [1n],
        integBitmap: [3n],
      },
      kmprivate: { data: new Uint8Array(8) },
      natTOa: { proto: 0, prefixlen: 32, sockaddr: inet },
      filter: { saddr: inet.address, daddr: inet6.address, family: 2, splen: 8, dplen: 9 },
    },
  },
  {
    kind: 'X_REPLAY_NOTIFY',
    ...header,
    extensions: {
      replayState: {
        mode: 2,
        oseq: 1n << 32n,
        seq: 8n,
        window: 64,
        bmpLen: 2,
        packetsHigh: 3,
        bitmap: [0xffff_ffff, 1],
      },
      replayReason: { reason: 1 },
      replayThreshold: { packets: 2, milliseconds: 1000 },
    },
  },
];

/** What became of an input: decoded, or refused with this code. Throws an Error that says which property it breaks. */
export function checkPfkey(bytes: Uint8Array): 'decoded' | DecodeError['code'] {
  let seen = 0;
  const end = forEachPfkey(bytes, (at, length) => {
    seen++;
    if (length < HEADER || at + length > bytes.length)
      throw new Error(`a message of ${length} bytes at ${at} is not inside`);
  });
  if (end > bytes.length || seen > bytes.length / HEADER)
    throw new Error(`the walk stops at ${end} after ${seen} messages`);
  let message: AnyPfkeyMessage;
  try {
    message = decodePfkey(bytes);
  } catch (error) {
    if (error instanceof DecodeError) return error.code;
    throw new Error(`decode throws ${String(error)}`, { cause: error });
  }
  const again = encodePfkey(message);
  const length = WORD * new DataView(bytes.buffer, bytes.byteOffset).getUint16(LEN_AT, hostLittleEndian);
  if (!Buffer.from(again).equals(bytes.subarray(0, length)))
    throw new Error(`${message.kind} encodes to other bytes: ${Buffer.from(again).toString('hex')}`);
  if (!isDeepStrictEqual(decodePfkey(again), message)) throw new Error(`${message.kind} decodes to another value`);
  formatPfkey(message);
  const { rest: _, ...said } = message;
  const { rest: __, ...told } = pfkeyFromJson(pfkeyToJson(message, { showKeys: true }));
  if (!isDeepStrictEqual(told, said)) throw new Error(`${message.kind} is another value after JSON`);
  return 'decoded';
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Whole words, and a length that says so. */
function sound(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(WORD * Math.max(2, Math.ceil(Math.min(bytes.length, BYTES_MAX) / WORD)));
  whole.set(bytes.subarray(0, whole.length));
  viewOf(whole).setUint16(LEN_AT, whole.length / WORD, hostLittleEndian);
  return whole;
}

function extensionsOf(bytes: Uint8Array): { at: number; length: number }[] {
  const spans: { at: number; length: number }[] = [];
  for (let at = HEADER; bytes.length - at >= 4; ) {
    const length = WORD * viewOf(bytes).getUint16(at, hostLittleEndian);
    if (length === 0 || length > bytes.length - at) break;
    spans.push({ at, length });
    at += length;
  }
  return spans;
}

const splice = (bytes: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array =>
  Uint8Array.from([...bytes.subarray(0, at), ...insert, ...bytes.subarray(at + remove)]);

const randomBytes = (length: number, random: Random): Uint8Array =>
  Uint8Array.from({ length }, () => random.u32() & 0xff);

const extensionTypes = Object.values(PfkeyExt);
const messageTypes = Object.values(PfkeyMsg);

type Mutation = (bytes: Uint8Array, random: Random, corpus: readonly Uint8Array[]) => Uint8Array;

const mutations: readonly Mutation[] = [
  function flipBits(bytes, random) {
    for (let n = 1 + random.below(8); n > 0 && bytes.length > 0; n--) {
      const at = random.below(bytes.length);
      bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
    }
    return bytes;
  },
  function flipBitsOfContent(bytes, random) {
    const spans = extensionsOf(bytes);
    if (spans.length === 0) return bytes;
    const { at, length } = random.pick(spans);
    for (let n = 1 + random.below(8); n > 0; n--) {
      const where = at + 4 + random.below(length - 4);
      bytes[where] = random.pick([0, 1, 0xff, random.below(256)]);
    }
    return bytes;
  },
  (bytes, random) => bytes.slice(0, random.below(bytes.length + 1)),
  (bytes, random) => sound(bytes.slice(0, HEADER + random.below(bytes.length))),
  (bytes, random) => splice(bytes, bytes.length, 0, randomBytes(1 + random.below(40), random)),
  function setExtensionLength(bytes, random) {
    const spans = extensionsOf(bytes);
    if (spans.length > 0) viewOf(bytes).setUint16(random.pick(spans).at, random.below(16), hostLittleEndian);
    return bytes;
  },
  /** The extension grows or shrinks, and all lengths say so. */
  function resizeExtension(bytes, random) {
    const spans = extensionsOf(bytes);
    if (spans.length === 0) return bytes;
    const { at, length } = random.pick(spans);
    const resized = new Uint8Array(WORD * (1 + random.below(14)));
    resized.set(bytes.subarray(at, at + Math.min(length, resized.length)));
    viewOf(resized).setUint16(0, resized.length / WORD, hostLittleEndian);
    return sound(splice(bytes, at, length, resized));
  },
  function setExtensionType(bytes, random) {
    const spans = extensionsOf(bytes);
    const type = random.pick([...extensionTypes, random.below(SADB_EXT_MAX + 4), 0x8003, 0xffff]);
    if (spans.length > 0) viewOf(bytes).setUint16(random.pick(spans).at + 2, type, hostLittleEndian);
    return bytes;
  },
  function spliceExtensions(bytes, random, corpus) {
    const donor = random.pick(corpus);
    const donated = extensionsOf(donor);
    if (donated.length === 0) return bytes;
    const { at, length } = random.pick(donated);
    const spans = extensionsOf(bytes);
    const where = spans.length > 0 ? random.pick(spans).at : bytes.length;
    return sound(splice(bytes, where, 0, donor.subarray(at, at + length)));
  },
  function removeExtension(bytes, random) {
    const spans = extensionsOf(bytes);
    if (spans.length === 0) return bytes;
    const { at, length } = random.pick(spans);
    return sound(splice(bytes, at, length, new Uint8Array(0)));
  },
  function setMessageType(bytes, random) {
    if (bytes.length > 1) bytes[1] = random.pick([...messageTypes, random.below(256)]);
    return bytes;
  },
  function randomContent(bytes, random) {
    return sound(splice(bytes, Math.min(HEADER, bytes.length), bytes.length, randomBytes(random.below(400), random)));
  },
  (_, random) => randomBytes(random.below(120), random),
];

/** A message of the corpus after one to four changes. */
export function mutatedPfkey(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes = random.pick(corpus).slice();
  for (let n = 1 + random.below(4); n > 0; n--) bytes = random.pick(mutations)(bytes, random, corpus) as typeof bytes;
  return bytes.slice(0, BYTES_MAX);
}
