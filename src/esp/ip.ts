import { AddressFamily, IpProto } from '../xfrm/index.ts';
import { readU16, writeU16 } from './suite.ts';

/** Headers of IP packets (RFC 791, RFC 8200), as far as IPsec looks at them. */

export const IPV4_BYTES = 20;
export const IPV6_BYTES = 40;
export const TOTAL_BYTES_MAX = 0xffff;
/** RFC 8200 section 4.1 names six orders of them; more is an attack on whoever looks through them. */
const EXTENSION_HEADERS_MAX = 8;
const HOP_BY_HOP = 0;
const FRAGMENT = 44;

/** Why bytes are no IP packet that IPsec can go on with. */
export type IpRefusal =
  /** Fewer bytes than the header says, or than a header has. */
  | 'TRUNCATED'
  /** Neither version 4 nor 6. */
  | 'VERSION'
  /** Lengths in the header that contradict each other. */
  | 'LENGTH'
  /** More IPv6 extension headers than are looked through. */
  | 'EXTENSIONS';

/** One object can serve for all packets. */
export interface IpFacts {
  family: number;
  /** Bytes of the whole packet, as its header says; what lies behind is padding of the link. */
  totalBytes: number;
  /**
   * Bytes in front of what transport mode protects: the IPv4 header with its options; the IPv6 header with the extension headers that
   * stay outside (hop-by-hop options, routing, destination options in front of them).
   */
  headerBytes: number;
  /** What follows them, and the place of the byte that says so. */
  nextHeader: number;
  nextHeaderAt: number;
  /** Type of service, or traffic class. */
  tos: number;
  /** IPv4: Don't Fragment. IPv6 packets are never fragmented on their way. */
  dontFragment: boolean;
  /** A piece of a packet. */
  isFragment: boolean;
  flowLabel: number;
}

export const newIpFacts = (): IpFacts => ({
  family: 0,
  totalBytes: 0,
  headerBytes: 0,
  nextHeader: 0,
  nextHeaderAt: 0,
  tos: 0,
  dontFragment: false,
  isFragment: false,
  flowLabel: 0,
});

/** Reads the header of the packet at [at, end) into `facts`; places are relative to `at`. Says why not, or undefined. */
export function parseIp(bytes: Uint8Array, at: number, end: number, facts: IpFacts): IpRefusal | undefined {
  if (end - at < IPV4_BYTES) return 'TRUNCATED';
  switch ((bytes[at] as number) >>> 4) {
    case 4:
      return parseIpv4(bytes, at, end, facts);
    case 6:
      return parseIpv6(bytes, at, end, facts);
    default:
      return 'VERSION';
  }
}

function parseIpv4(bytes: Uint8Array, at: number, end: number, facts: IpFacts): IpRefusal | undefined {
  const headerBytes = ((bytes[at] as number) & 15) * 4;
  const totalBytes = readU16(bytes, at + 2);
  if (headerBytes < IPV4_BYTES || totalBytes < headerBytes) return 'LENGTH';
  if (totalBytes > end - at) return 'TRUNCATED';
  const fragment = readU16(bytes, at + 6);
  facts.family = AddressFamily.INET;
  facts.totalBytes = totalBytes;
  facts.headerBytes = headerBytes;
  facts.nextHeader = bytes[at + 9] as number;
  facts.nextHeaderAt = 9;
  facts.tos = bytes[at + 1] as number;
  facts.dontFragment = (fragment & 0x4000) !== 0;
  // More Fragments, or an offset.
  facts.isFragment = (fragment & 0x3fff) !== 0;
  facts.flowLabel = 0;
  return undefined;
}

function parseIpv6(bytes: Uint8Array, at: number, end: number, facts: IpFacts): IpRefusal | undefined {
  if (end - at < IPV6_BYTES) return 'TRUNCATED';
  const totalBytes = IPV6_BYTES + readU16(bytes, at + 4);
  if (totalBytes > end - at) return 'TRUNCATED';
  let nextHeaderAt = 6;
  let nextHeader = bytes[at + 6] as number;
  let headerBytes = IPV6_BYTES;
  let routed = false;
  for (let n = 0; ; n++) {
    // ESP goes behind headers that routers read (RFC 4303 section 3.1.1, ip6_output.c:ip6_find_1stfragopt).
    const stays =
      nextHeader === HOP_BY_HOP || nextHeader === IpProto.ROUTING || (nextHeader === IpProto.DSTOPTS && !routed);
    if (!stays) break;
    if (n === EXTENSION_HEADERS_MAX) return 'EXTENSIONS';
    routed ||= nextHeader === IpProto.ROUTING;
    if (headerBytes + 8 > totalBytes) return 'LENGTH';
    const bytesOf = 8 * ((bytes[at + headerBytes + 1] as number) + 1);
    nextHeaderAt = headerBytes;
    nextHeader = bytes[at + headerBytes] as number;
    headerBytes += bytesOf;
    if (headerBytes > totalBytes) return 'LENGTH';
  }
  facts.family = AddressFamily.INET6;
  facts.totalBytes = totalBytes;
  facts.headerBytes = headerBytes;
  facts.nextHeader = nextHeader;
  facts.nextHeaderAt = nextHeaderAt;
  facts.tos = (((bytes[at] as number) & 15) << 4) | ((bytes[at + 1] as number) >>> 4);
  facts.dontFragment = true;
  facts.isFragment = nextHeader === FRAGMENT;
  facts.flowLabel = (((bytes[at + 1] as number) & 15) << 16) | readU16(bytes, at + 2);
  return undefined;
}

/** Ones' complement sum of [at, end) on top of `sum`, not folded (RFC 1071). */
export function sum16(bytes: Uint8Array, at: number, end: number, sum: number): number {
  let i = at;
  for (; i + 1 < end; i += 2) sum += readU16(bytes, i);
  if (i < end) sum += (bytes[i] as number) << 8;
  return sum;
}

/** The checksum that goes with a sum. */
export function fold16(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x1_0000);
  return ~folded & 0xffff;
}

/** Whether the header checksum of an IPv4 packet is right; IPv6 has none. */
export function headerSumGood(bytes: Uint8Array, at: number, { family, headerBytes }: IpFacts): boolean {
  return family !== AddressFamily.INET || fold16(sum16(bytes, at, at + headerBytes, 0)) === 0;
}

/** Sets length and next header of a packet at `at` whose header has the shape of `facts`; IPv4: the checksum as well. */
export function rewriteHeader(bytes: Uint8Array, at: number, facts: IpFacts, nextHeader: number, total: number): void {
  bytes[at + facts.nextHeaderAt] = nextHeader;
  if (facts.family === AddressFamily.INET6) {
    writeU16(bytes, at + 4, total - IPV6_BYTES);
    return;
  }
  writeU16(bytes, at + 2, total);
  writeIpv4Sum(bytes, at, facts.headerBytes);
}

export function writeIpv4Sum(bytes: Uint8Array, at: number, headerBytes: number): void {
  writeU16(bytes, at + 10, 0);
  writeU16(bytes, at + 10, fold16(sum16(bytes, at, at + headerBytes, 0)));
}

/** Changes type of service or traffic class; the IPv4 checksum is adjusted (RFC 1624), so that a wrong one stays wrong. */
export function changeTos(bytes: Uint8Array, at: number, family: number, tos: number): void {
  if (family === AddressFamily.INET6) {
    bytes[at] = 0x60 | (tos >>> 4);
    bytes[at + 1] = ((tos & 15) << 4) | ((bytes[at + 1] as number) & 15);
    return;
  }
  const before = readU16(bytes, at);
  bytes[at + 1] = tos;
  const sum = (~readU16(bytes, at + 10) & 0xffff) + (~before & 0xffff) + readU16(bytes, at);
  writeU16(bytes, at + 10, fold16(sum));
}
