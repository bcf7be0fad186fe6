import { hostLittleEndian } from 'xfrmsync/netlink';
import type { Random } from './random.ts';

/** Ways to spoil a message. Some leave it sound, so that what stands behind the first checks is reached too. */

const HEADER = 16;
const MESSAGE_BYTES_MAX = 8192;

const align4 = (n: number): number => (n + 3) & ~3;
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Sizes of the fixed parts by message type, from 0x10 on (linux/xfrm.h). */
const bodies = [224, 24, 24, 168, 64, 64, 232, 280, 232, 168, 224, 176, 4, 0, 48, 48, 60, 64, 4, 4, 4, 4, 64, 4, 4];

interface Span {
  readonly at: number;
  /** With the padding. */
  readonly length: number;
}

/** DONE has a status; ERROR quotes the request, or its header alone (NLM_F_CAPPED). */
function controlLength(view: DataView): number {
  if (view.getUint16(4, hostLittleEndian) !== 2 || view.byteLength < 36) return 4;
  const isCapped = (view.getUint16(6, hostLittleEndian) & 0x100) !== 0;
  return 20 + (isCapped ? 0 : align4(view.getUint32(20, hostLittleEndian) & 0xffff) - HEADER);
}

function attributesOf(bytes: Uint8Array): Span[] {
  if (bytes.length < HEADER) return [];
  const view = viewOf(bytes);
  const spans: Span[] = [];
  let at = HEADER + (bodies[view.getUint16(4, hostLittleEndian) - 0x10] ?? controlLength(view));
  while (at >= HEADER && bytes.length - at >= 4) {
    const length = align4(view.getUint16(at, hostLittleEndian));
    if (length < 4 || length > bytes.length - at) break;
    spans.push({ at, length });
    at += length;
  }
  return spans;
}

function withLength(bytes: Uint8Array): Uint8Array {
  if (bytes.length >= HEADER) viewOf(bytes).setUint32(0, bytes.length, hostLittleEndian);
  return bytes;
}

function splice(bytes: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array {
  return Uint8Array.from([...bytes.subarray(0, at), ...insert, ...bytes.subarray(at + remove)]);
}

function randomBytes(length: number, random: Random): Uint8Array {
  return Uint8Array.from({ length }, () => random.u32() & 0xff);
}

const interesting = [
  0, 1, 3, 4, 5, 8, 15, 16, 17, 28, 36, 64, 0x7f, 0xff, 0x100, 0x3fff, 0x4000, 0x7fff, 0x8000, 0xfffc, 0xffff,
];

type Mutation = (bytes: Uint8Array, random: Random, corpus: readonly Uint8Array[]) => Uint8Array;

const mutations: readonly Mutation[] = [
  function flipBits(bytes, random) {
    for (let n = 1 + random.below(8); n > 0 && bytes.length > 0; n--) {
      const at = random.below(bytes.length);
      bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
    }
    return bytes;
  },
  function truncate(bytes, random) {
    return bytes.slice(0, random.below(bytes.length + 1));
  },
  function truncateSoundly(bytes, random) {
    return withLength(bytes.slice(0, Math.min(bytes.length, HEADER + random.below(bytes.length))));
  },
  function extend(bytes, random) {
    return splice(bytes, bytes.length, 0, randomBytes(1 + random.below(40), random));
  },
  function extendSoundly(bytes, random) {
    return withLength(splice(bytes, bytes.length, 0, randomBytes(1 + random.below(40), random)));
  },
  function setMessageLength(bytes, random) {
    if (bytes.length >= 4)
      viewOf(bytes).setUint32(0, random.pick([...interesting, random.u32(), bytes.length - 1]), hostLittleEndian);
    return bytes;
  },
  function setAttributeLength(bytes, random) {
    const spans = attributesOf(bytes);
    if (spans.length > 0) viewOf(bytes).setUint16(random.pick(spans).at, random.pick(interesting), hostLittleEndian);
    return bytes;
  },
  /** The payload grows or shrinks, and all lengths say so. */
  function resizeAttribute(bytes, random) {
    const spans = attributesOf(bytes);
    if (spans.length === 0) return bytes;
    const { at, length } = random.pick(spans);
    const size = random.pick([0, 1, 4, 11, 12, 13, 24, 28, 32, 40, 68, 72, 80, length - 4 + random.below(9)]);
    const attribute = new Uint8Array(align4(4 + size));
    attribute.set(bytes.subarray(at, at + Math.min(length, 4 + size)));
    viewOf(attribute).setUint16(0, 4 + size, hostLittleEndian);
    return withLength(splice(bytes, at, length, attribute));
  },
  function setAttributeType(bytes, random) {
    const spans = attributesOf(bytes);
    const type = random.below(48) | random.pick([0, 0, 0, 0x4000, 0x8000, 0xc000]);
    if (spans.length > 0) viewOf(bytes).setUint16(random.pick(spans).at + 2, type, hostLittleEndian);
    return bytes;
  },
  function spliceAttributes(bytes, random, corpus) {
    const donor = random.pick(corpus);
    const donated = attributesOf(donor);
    if (donated.length === 0) return bytes;
    const { at, length } = random.pick(donated);
    const spans = attributesOf(bytes);
    const where = spans.length > 0 ? random.pick(spans).at : align4(bytes.length);
    if (where > bytes.length) return bytes;
    return withLength(splice(bytes, where, 0, donor.subarray(at, at + length)));
  },
  function duplicateAttribute(bytes, random) {
    const spans = attributesOf(bytes);
    if (spans.length === 0) return bytes;
    const { at, length } = random.pick(spans);
    return withLength(splice(bytes, random.pick(spans).at, 0, bytes.slice(at, at + length)));
  },
  function swapAttributes(bytes, random) {
    const spans = attributesOf(bytes);
    if (spans.length < 2) return bytes;
    const { at, length } = random.pick(spans.slice(0, -1));
    const attribute = bytes.slice(at, at + length);
    return splice(splice(bytes, at, length, new Uint8Array(0)), bytes.length - length, 0, attribute);
  },
  function removeAttribute(bytes, random) {
    const spans = attributesOf(bytes);
    if (spans.length === 0) return bytes;
    const { at, length } = random.pick(spans);
    return withLength(splice(bytes, at, length, new Uint8Array(0)));
  },
  /** An attribute without the padding behind it, at the very end. */
  function cutPadding(bytes) {
    const last = attributesOf(bytes).at(-1);
    if (last === undefined) return bytes;
    const size = viewOf(bytes).getUint16(last.at, hostLittleEndian);
    return withLength(bytes.slice(0, last.at + size));
  },
  function setMessageType(bytes, random) {
    if (bytes.length >= 6)
      viewOf(bytes).setUint16(4, random.pick([1, 2, 2, 3, 4, 0x10 + random.below(26)]), hostLittleEndian);
    return bytes;
  },
  function setFlags(bytes, random) {
    if (bytes.length >= 8) viewOf(bytes).setUint16(6, random.u32() & 0xffff, hostLittleEndian);
    return bytes;
  },
  function randomContent(bytes, random) {
    return withLength(splice(bytes, HEADER, bytes.length, randomBytes(random.below(400), random)));
  },
  function noise(_, random) {
    return randomBytes(random.below(120), random);
  },
];

/** A recorded message after one to four changes. */
export function mutated(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes = random.pick(corpus).slice();
  for (let n = 1 + random.below(4); n > 0; n--) bytes = random.pick(mutations)(bytes, random, corpus) as typeof bytes;
  return bytes.slice(0, MESSAGE_BYTES_MAX);
}
