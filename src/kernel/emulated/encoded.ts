import { align4, hostLittleEndian } from '../../netlink/index.ts';

/** Attributes as they are encoded, and as they are kept. */

const little = hostLittleEndian;

/** Where the payload of an attribute starts in encoded ones; -1 if it is not there. */
export function encodedAttribute(attributes: Uint8Array, type: number): number {
  const view = new DataView(attributes.buffer, attributes.byteOffset, attributes.byteLength);
  for (let o = 0; o + 4 <= attributes.length; o += align4(view.getUint16(o, little))) {
    if (view.getUint16(o + 2, little) === type) return o + 4;
  }
  return -1;
}

/**
 * Kept form: runs of words, each a word that says how many are given (lower half) and how many zeros follow (upper half), then those given.
 * The name of an algorithm fills 64 bytes with some twenty; most of the rest of an SA's attributes are its keys.
 */
const RUN_MAX = 0xffff;
/** Fewer zeros than this do not end a run: the next one's first word would cost as much. */
const ZEROS_MIN = 2;

/** Packs `count` words; returns how many words of `to` they take: at most `packedMax(count)`. */
export function pack(from: Uint32Array, count: number, to: Uint32Array): number {
  let at = 0;
  let out = 0;
  while (at < count) {
    const head = out++;
    let zeros = 0;
    let given = 0;
    while (at < count && given < RUN_MAX) {
      zeros = zerosAt(from, at, count);
      if (zeros >= ZEROS_MIN) break;
      zeros = 0;
      to[out++] = from[at++] as number;
      given++;
    }
    to[head] = given | (zeros << 16);
    at += zeros;
  }
  return out;
}

export const packedMax = (count: number): number => count + 1 + Math.ceil(count / ZEROS_MIN);

function zerosAt(from: Uint32Array, at: number, count: number): number {
  const end = Math.min(count, at + RUN_MAX);
  let i = at;
  while (i < end && from[i] === 0) i++;
  return i - at;
}

/** Unpacks `count` words to `to`, which holds zeros. */
export function unpack(from: Uint32Array, at: number, to: Uint32Array, count: number): void {
  let next = at;
  let out = 0;
  while (out < count) {
    const run = from[next++] as number;
    for (let given = run & RUN_MAX; given > 0; given--) to[out++] = from[next++] as number;
    out += run >>> 16;
  }
}
