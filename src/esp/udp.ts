import { AddressFamily, IpProto } from '../xfrm/index.ts';
import { fold16, IPV4_BYTES, sum16 } from './ip.ts';
import { readU16, readU32, writeU16 } from './suite.ts';

/** ESP in UDP (RFC 3948). */

export const UDP_BYTES = 8;
/** The port of NAT traversal (RFC 3947). */
export const NAT_T_PORT = 4500;

/** What a host behind a NAT sends so that its mapping stays (RFC 3948 section 2.3); a receiver ignores it. */
export const natKeepalive: Uint8Array = Uint8Array.of(0xff);

export type UdpPayload = 'esp' | 'ike' | 'keepalive' | 'short';

/** What the payload of a datagram to a NAT traversal port is: IKE has four zero bytes in front, the non-ESP marker. */
export function classifyUdp(payload: Uint8Array, at = 0, end: number = payload.length): UdpPayload {
  if (end - at === 1 && payload[at] === 0xff) return 'keepalive';
  if (end - at < 8) return 'short';
  return readU32(payload, at) === 0 ? 'ike' : 'esp';
}

/** The sum of UDP's pseudo header for the IP packet at `ip` (RFC 768; RFC 8200 section 8.1). */
function pseudoSum(bytes: Uint8Array, ip: number, family: number, udpBytes: number): number {
  const addresses = family === AddressFamily.INET ? 12 : 8;
  const end = family === AddressFamily.INET ? IPV4_BYTES : 40;
  return sum16(bytes, ip + addresses, ip + end, IpProto.UDP + udpBytes);
}

/**
 * Writes the UDP header at `at` of the IP packet that starts at `ip`; the payload is there already. IPv4: no checksum, as RFC 3948 section
 * 2.1 wants it; IPv6 has one (esp6.c:esp6_output_encap).
 */
export function writeUdp(
  bytes: Uint8Array,
  at: number,
  ip: number,
  family: number,
  sport: number,
  dport: number,
  payloadBytes: number,
): void {
  const length = UDP_BYTES + payloadBytes;
  writeU16(bytes, at, sport);
  writeU16(bytes, at + 2, dport);
  writeU16(bytes, at + 4, length);
  writeU16(bytes, at + 6, 0);
  if (family === AddressFamily.INET) return;
  const sum = fold16(sum16(bytes, at, at + length, pseudoSum(bytes, ip, family, length)));
  writeU16(bytes, at + 6, sum === 0 ? 0xffff : sum);
}

/** Whether the checksum of the datagram at `at` is right; over IPv4 there may be none. */
export function udpSumGood(bytes: Uint8Array, at: number, ip: number, family: number): boolean {
  if (readU16(bytes, at + 6) === 0) return family === AddressFamily.INET;
  const length = readU16(bytes, at + 4);
  return fold16(sum16(bytes, at, at + length, pseudoSum(bytes, ip, family, length))) === 0;
}
