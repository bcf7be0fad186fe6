/** The inner packets of the demo: UDP over IPv4 or IPv6 whose payload names flow and number, so that every loss and every copy is known. */
import type { Address } from '../xfrm/index.ts';

/** What a payload says. */
export interface Tag {
  /** Index of the flow. */
  flow: number;
  /** Counts from 0 on each flow. */
  number: number;
}

const MAGIC = 0x78667273;
const PAYLOAD_BYTES = 32;
const UDP_BYTES = 8;
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;
const UDP = 17;
const TTL = 64;
const PORT = 7000;

/** Makes the packets of one flow, each a buffer of its own. */
export type PacketMaker = (number: number) => Buffer;

export function packetMaker(flow: number, family: 4 | 6, source: Address, destination: Address): PacketMaker {
  const header = family === 4 ? IPV4_BYTES : IPV6_BYTES;
  const packet = Buffer.alloc(header + UDP_BYTES + PAYLOAD_BYTES);
  const udpBytes = UDP_BYTES + PAYLOAD_BYTES;
  if (family === 4) {
    packet.writeUInt8(0x45, 0);
    packet.writeUInt16BE(packet.length, 2);
    packet.writeUInt8(TTL, 8);
    packet.writeUInt8(UDP, 9);
    packet.writeUInt32BE(source.w0, 12);
    packet.writeUInt32BE(destination.w0, 16);
    packet.writeUInt16BE(checksum(packet, 0, IPV4_BYTES, 0), 10);
  } else {
    packet.writeUInt8(0x60, 0);
    packet.writeUInt16BE(udpBytes, 4);
    packet.writeUInt8(UDP, 6);
    packet.writeUInt8(TTL, 7);
    writeAddress(packet, 8, source);
    writeAddress(packet, 24, destination);
  }
  packet.writeUInt16BE(PORT, header);
  packet.writeUInt16BE(PORT, header + 2);
  packet.writeUInt16BE(udpBytes, header + 4);
  const payload = header + UDP_BYTES;
  packet.writeUInt32BE(MAGIC, payload);
  packet.writeUInt32BE(flow, payload + 4);
  const addressesAt = family === 4 ? 12 : 8;
  return (number) => {
    packet.writeUInt32BE(number, payload + 8);
    packet.writeUInt16BE(0, header + 6);
    // The pseudo header: both addresses, protocol and length (RFC 768, RFC 8200 section 8.1). 0 would mean: none.
    const pseudo = sum(packet, addressesAt, header) + UDP + udpBytes;
    packet.writeUInt16BE(checksum(packet, header, packet.length, pseudo) || 0xffff, header + 6);
    return Buffer.from(packet);
  };
}

/** Whose packet it is; undefined for anything that the hosts of the demo did not send. */
export function readTag(packet: Buffer): Tag | undefined {
  const header = packet.length > 0 && (packet[0] as number) >> 4 === 6 ? IPV6_BYTES : IPV4_BYTES;
  const payload = header + UDP_BYTES;
  if (packet.length !== payload + PAYLOAD_BYTES || packet.readUInt32BE(payload) !== MAGIC) return undefined;
  return { flow: packet.readUInt32BE(payload + 4), number: packet.readUInt32BE(payload + 8) };
}

function writeAddress(packet: Buffer, at: number, { w0, w1, w2, w3 }: Address): void {
  for (const [i, word] of [w0, w1, w2, w3].entries()) packet.writeUInt32BE(word, at + 4 * i);
}

function sum(packet: Buffer, from: number, to: number): number {
  let total = 0;
  for (let at = from; at < to; at += 2) total += packet.readUInt16BE(at);
  return total;
}

/** RFC 1071. All parts have an even length here. */
function checksum(packet: Buffer, from: number, to: number, start: number): number {
  let total = start + sum(packet, from, to);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}
