/** SAs and IP packets for tests of ESP. */
import type { EspSa } from 'xfrmsync/esp';
import { IpProto, parseAddress, SaFlag, usersaInfo, XFRM_INF, type XfrmAttributes } from 'xfrmsync/xfrm';

export const address = (text: string): EspSa['body']['saddr'] => {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`${text} is no address`);
  return parsed.address;
};

export const key = (length: number, first: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (first + 3 * i) & 255);

export const aead = (name: string, bytes: Uint8Array, icvLen = 128): NonNullable<XfrmAttributes['algAead']> => ({
  name,
  keyLen: 8 * bytes.length,
  icvLen,
  key: bytes,
});

const auth = (name: string, bytes: number, truncLen: number): XfrmAttributes => ({
  algAuthTrunc: { name, keyLen: 8 * bytes, truncLen, key: key(bytes, bytes) },
});
const cbc = (bytes: number): XfrmAttributes => ({
  algCrypt: { name: 'cbc(aes)', keyLen: 8 * bytes, key: key(bytes, 40) },
});
const none: XfrmAttributes = { algCrypt: { name: 'ecb(cipher_null)', keyLen: 0, key: new Uint8Array(0) } };
const GCM = 'rfc4106(gcm(aes))';

/** Every algorithm there is, as attributes of an SA. */
export const algorithms: Readonly<Record<string, XfrmAttributes>> = {
  'gcm-128-16': { algAead: aead(GCM, key(20, 1)) },
  'gcm-128-12': { algAead: aead(GCM, key(20, 2), 96) },
  'gcm-128-8': { algAead: aead(GCM, key(20, 3), 64) },
  'gcm-192-16': { algAead: aead(GCM, key(28, 4)) },
  'gcm-256-16': { algAead: aead(GCM, key(36, 5)) },
  'gcm-256-8': { algAead: aead(GCM, key(36, 6), 64) },
  chacha20poly1305: { algAead: aead('rfc7539esp(chacha20,poly1305)', key(36, 7)) },
  'cbc-128-sha1': { ...cbc(16), ...auth('hmac(sha1)', 20, 96) },
  'cbc-128-sha256': { ...cbc(16), ...auth('hmac(sha256)', 32, 128) },
  'cbc-192-sha384': { ...cbc(24), ...auth('hmac(sha384)', 48, 192) },
  'cbc-256-sha512': { ...cbc(32), ...auth('hmac(sha512)', 64, 256) },
  'null-sha1': { ...none, ...auth('hmac(sha1)', 20, 96) },
  'null-sha256': { ...none, ...auth('hmac(sha256)', 32, 128) },
};

export interface Shape {
  readonly mode?: number;
  readonly spi?: number;
  readonly family?: 4 | 6;
  readonly esn?: boolean;
  readonly flags?: number;
  readonly saddr?: string;
  readonly daddr?: string;
  readonly reqid?: number;
}

export const ends = {
  4: { saddr: '192.0.2.1', daddr: '192.0.2.2' },
  6: { saddr: '2001:db8::1', daddr: '2001:db8::2' },
} as const;

export function espSa(shape: Shape = {}, attributes: XfrmAttributes = algorithms['gcm-128-16'] ?? {}): EspSa {
  const { mode = 0, spi = 0x100, family = 4, esn = false, flags = 0, reqid = 0 } = shape;
  const { saddr, daddr } = { ...ends[family], ...shape };
  const body = usersaInfo.zero();
  body.family = family === 4 ? 2 : 10;
  body.mode = mode;
  body.reqid = reqid;
  body.flags = flags | (esn ? SaFlag.ESN : 0);
  body.id = { daddr: address(daddr), spi, proto: IpProto.ESP };
  body.saddr = address(saddr);
  for (const limit of ['softByteLimit', 'hardByteLimit', 'softPacketLimit', 'hardPacketLimit'] as const) {
    body.lft[limit] = XFRM_INF;
  }
  return { body, attributes };
}

export interface PacketShape {
  readonly family?: 4 | 6;
  readonly saddr?: string;
  readonly daddr?: string;
  readonly proto?: number;
  /** Bytes behind the ports of UDP. */
  readonly bytes?: number;
  readonly tos?: number;
  readonly dontFragment?: boolean;
  /** IPv4 options (multiple of 4), or IPv6 extension headers with the number of the first. */
  readonly options?: Uint8Array;
  readonly extension?: { readonly first: number; readonly bytes: Uint8Array };
  readonly sport?: number;
  readonly dport?: number;
  readonly fragment?: number;
}

const words = (text: string, family: 4 | 6): Buffer => {
  const { w0, w1, w2, w3 } = address(text);
  const all = Buffer.alloc(family === 4 ? 4 : 16);
  [w0, w1, w2, w3].slice(0, all.length / 4).forEach((w, i) => {
    all.writeUInt32BE(w, 4 * i);
  });
  return all;
};

/** RFC 1071, written apart from the product's. */
export function sum(data: Uint8Array, start = 0): number {
  let s = start;
  for (let i = 0; i < data.length; i++) s += (data[i] as number) << (i % 2 === 0 ? 8 : 0);
  while (s > 0xffff) s = (s % 0x10000) + Math.floor(s / 0x10000);
  return 0xffff - s;
}

/** An IP packet with UDP (or whatever `proto` says) in it. */
export function ipPacket(shape: PacketShape = {}): Uint8Array {
  const { family = 4, proto = 17, bytes = 24, tos = 0, dontFragment = false, fragment = 0 } = shape;
  const { sport = 4242, dport = 9, options = new Uint8Array(0), extension } = shape;
  const { saddr, daddr } = { ...ends[family], ...shape };
  const upper = Buffer.alloc(8 + bytes);
  upper.writeUInt16BE(sport, 0);
  upper.writeUInt16BE(dport, 2);
  upper.writeUInt16BE(upper.length, 4);
  for (let i = 8; i < upper.length; i++) upper[i] = i & 255;
  if (family === 4) {
    const head = Buffer.alloc(20);
    head[0] = 0x45 + options.length / 4;
    head[1] = tos;
    head.writeUInt16BE(20 + options.length + upper.length, 2);
    head.writeUInt16BE(0x1234, 4);
    head.writeUInt16BE((dontFragment ? 0x4000 : 0) | fragment, 6);
    head[8] = 63;
    head[9] = proto;
    words(saddr, 4).copy(head, 12);
    words(daddr, 4).copy(head, 16);
    const whole = Buffer.concat([head, options]);
    whole.writeUInt16BE(sum(whole), 10);
    return Uint8Array.from(Buffer.concat([whole, upper]));
  }
  const head = Buffer.alloc(40);
  head.writeUInt32BE((0x6000_0000 | (tos << 20) | 0x54321) >>> 0, 0);
  head.writeUInt16BE((extension?.bytes.length ?? 0) + upper.length, 4);
  head[6] = extension?.first ?? proto;
  head[7] = 63;
  words(saddr, 6).copy(head, 8);
  words(daddr, 6).copy(head, 24);
  return Uint8Array.from(Buffer.concat([head, extension?.bytes ?? new Uint8Array(0), upper]));
}
