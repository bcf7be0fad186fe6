import { align4, hostLittleEndian, NLMSG_HDRLEN, type Struct } from '../../src/netlink/index.ts';

/** Requests as bytes: soundly made here, so that they can be spoiled afterwards without an encoder's objections. */

const little = hostLittleEndian;
const NLA_HEADER = 4;

export type Attribute = readonly [type: number, payload: Uint8Array];

export interface RequestHeader {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly pid: number;
}

/** A structure with the given fields; the others are zero. */
export function packed<T>(struct: Struct<T>, fields: Partial<T>): Uint8Array {
  const bytes = new Uint8Array(struct.size);
  struct.write(new DataView(bytes.buffer), 0, { ...struct.zero(), ...fields });
  return bytes;
}

/** Numbers of 32 bits in the order of the host. */
export function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    view.setUint32(4 * i, value, little);
  });
  return bytes;
}

export function request(
  { type, flags, seq, pid }: RequestHeader,
  body: Uint8Array,
  attributes: readonly Attribute[] = [],
): Uint8Array {
  const start = NLMSG_HDRLEN + align4(body.length);
  const size = attributes.reduce((sum, [, payload]) => sum + align4(NLA_HEADER + payload.length), start);
  // A body without attributes is as long as it is: a dump's header, or FLUSHSA's one byte.
  const length = attributes.length === 0 ? NLMSG_HDRLEN + body.length : size;
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length, little);
  view.setUint16(4, type, little);
  view.setUint16(6, flags, little);
  view.setUint32(8, seq, little);
  view.setUint32(12, pid, little);
  bytes.set(body, NLMSG_HDRLEN);
  let at = start;
  for (const [attribute, payload] of attributes) {
    view.setUint16(at, NLA_HEADER + payload.length, little);
    view.setUint16(at + 2, attribute, little);
    bytes.set(payload, at + NLA_HEADER);
    at += align4(NLA_HEADER + payload.length);
  }
  return bytes;
}

/** Sizes of the fixed parts by message type, from 0x10 on. */
const bodies = [224, 24, 24, 168, 64, 64, 232, 280, 232, 168, 224, 176, 4, 0, 48, 48, 60, 64, 4, 4, 4, 4, 64, 4, 4];

/** Where in a request of a type its attributes start. */
export const attributesAt = (type: number): number => NLMSG_HDRLEN + (bodies[type - 0x10] ?? 0);

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
