import { createHmac } from 'node:crypto';
import { IpProto } from '../../src/xfrm/index.ts';
import { type AddressWords, AUTH_KEY } from './pool.ts';

/** Inbound packets for SAs with the null cipher and HMAC-SHA1-96: ESP (RFC 4303), ESP in UDP (RFC 3948) and AH (RFC 4302). */

const ICV_BYTES = 12;
const UDP_HEADER = 8;
/** Where somebody receives UDP, and throws it away. */
const DISCARD_PORT = 9;
const SOURCE_PORT = 4242;

export interface PacketFacts {
  readonly family: 2 | 10;
  readonly saddr: AddressWords;
  readonly daddr: AddressWords;
  readonly proto: number;
  readonly spi: number;
  readonly seq: number;
  /** The upper half of the number: with ESN it is signed, too. */
  readonly seqHi: number | undefined;
  readonly badIcv: boolean;
  /** An inner packet of its own, in place of the payload of the outer one. */
  readonly tunnel: boolean;
  /** Source port of ESP in UDP. */
  readonly encapSport: number | undefined;
  readonly payloadBytes: number;
}

function addressBytes({ w0, w1, w2, w3 }: AddressWords, family: number): Buffer {
  const bytes = Buffer.alloc(16);
  [w0, w1, w2, w3].forEach((word, i) => {
    bytes.writeUInt32BE(word, 4 * i);
  });
  return bytes.subarray(0, family === 2 ? 4 : 16);
}

/** The Internet checksum (RFC 1071). */
function checksum(...parts: readonly Buffer[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] as number) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function ipPacket(facts: PacketFacts, proto: number, payload: Buffer): Buffer {
  const [saddr, daddr] = [addressBytes(facts.saddr, facts.family), addressBytes(facts.daddr, facts.family)];
  if (facts.family === 10) {
    const header = Buffer.from('6000000000000040', 'hex');
    header.writeUInt16BE(payload.length, 4);
    header[6] = proto;
    return Buffer.concat([header, saddr, daddr, payload]);
  }
  const header = Buffer.from('450000000001000040000000', 'hex');
  header.writeUInt16BE(20 + payload.length, 2);
  header[9] = proto;
  header.writeUInt16BE(checksum(header, saddr, daddr), 10);
  return Buffer.concat([header, saddr, daddr, payload]);
}

function udp(facts: PacketFacts): Buffer {
  const bytes = Buffer.alloc(UDP_HEADER + facts.payloadBytes, 'payload!');
  bytes.writeUInt16BE(SOURCE_PORT, 0);
  bytes.writeUInt16BE(DISCARD_PORT, 2);
  bytes.writeUInt16BE(bytes.length, 4);
  bytes.writeUInt16BE(0, 6);
  const pseudo = Buffer.alloc(4);
  pseudo.writeUInt16BE(IpProto.UDP, 0);
  pseudo.writeUInt16BE(bytes.length, 2);
  const sum = checksum(addressBytes(facts.saddr, facts.family), addressBytes(facts.daddr, facts.family), pseudo, bytes);
  bytes.writeUInt16BE(sum === 0 ? 0xffff : sum, 6);
  return bytes;
}

function icv({ seqHi, badIcv }: PacketFacts, ...signed: readonly Buffer[]): Buffer {
  const hmac = createHmac('sha1', AUTH_KEY);
  for (const part of signed) hmac.update(part);
  if (seqHi !== undefined) {
    const high = Buffer.alloc(4);
    high.writeUInt32BE(seqHi);
    hmac.update(high);
  }
  const value = hmac.digest().subarray(0, ICV_BYTES);
  if (badIcv) value[0] = (value[0] as number) ^ 1;
  return value;
}

function head(first: Buffer, { spi, seq }: PacketFacts): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(spi, 0);
  bytes.writeUInt32BE(seq, 4);
  return Buffer.concat([first, bytes]);
}

function inner(facts: PacketFacts): { proto: number; data: Buffer } {
  const datagram = udp(facts);
  if (!facts.tunnel) return { proto: IpProto.UDP, data: datagram };
  const proto = facts.family === 2 ? IpProto.IPIP : IpProto.IPV6;
  return { proto, data: ipPacket(facts, IpProto.UDP, datagram) };
}

function esp(facts: PacketFacts): Buffer {
  const { proto, data } = inner(facts);
  const padding = (4 - ((data.length + 2) % 4)) % 4;
  const trailer = Buffer.from([...Array.from({ length: padding }, (_, i) => i + 1), padding, proto]);
  const packet = Buffer.concat([head(Buffer.alloc(0), facts), data, trailer]);
  const whole = Buffer.concat([packet, icv(facts, packet)]);
  if (facts.encapSport === undefined) return ipPacket(facts, IpProto.ESP, whole);
  const header = Buffer.alloc(UDP_HEADER);
  header.writeUInt16BE(facts.encapSport, 0);
  header.writeUInt16BE(4500, 2);
  header.writeUInt16BE(UDP_HEADER + whole.length, 4);
  return ipPacket(facts, IpProto.UDP, Buffer.concat([header, whole]));
}

/** What may change on the way counts as zero: of IPv4 TOS, fragment offset, TTL, checksum; of IPv6 class, flow and hop limit. */
function withoutMutable(packet: Buffer, family: number): Buffer {
  const bytes = Buffer.from(packet);
  if (family === 2) {
    bytes[1] = 0;
    bytes.fill(0, 6, 9);
    bytes.fill(0, 10, 12);
  } else {
    bytes.writeUInt32BE(0x6000_0000, 0);
    bytes[7] = 0;
  }
  return bytes;
}

function ah(facts: PacketFacts): Buffer {
  const { proto, data } = inner(facts);
  const first = Buffer.from([proto, (12 + ICV_BYTES) / 4 - 2, 0, 0]);
  const header = head(first, facts);
  const unsigned = ipPacket(facts, IpProto.AH, Buffer.concat([header, Buffer.alloc(ICV_BYTES), data]));
  const value = icv(facts, withoutMutable(unsigned, facts.family));
  value.copy(unsigned, unsigned.length - data.length - ICV_BYTES);
  return unsigned;
}

/** The whole IP packet. */
export const inboundPacket = (facts: PacketFacts): Buffer => (facts.proto === IpProto.AH ? ah(facts) : esp(facts));
