import { AddressFamily, EncapType, IpProto } from '../xfrm/index.ts';
import { headerSumGood, type IpFacts, type IpRefusal, newIpFacts, parseIp } from './ip.ts';
import { ESP_HEADER_BYTES, readU16, readU32 } from './suite.ts';
import { classifyUdp, NAT_T_PORT, UDP_BYTES, udpSumGood } from './udp.ts';

/** Finding ESP in an IP packet. */

/** An IP packet with ESP in it; places are relative to the packet. One object can serve for all packets. */
export interface EspFacts extends IpFacts {
  /** EncapType.ESPINUDP, or 0: right behind IP. */
  encapType: number;
  /** Ports of the UDP around it. */
  sport: number;
  dport: number;
  espAt: number;
  espEnd: number;
  spi: number;
  /** The 32 bits that travel. */
  seq: number;
}

export const newEspFacts = (): EspFacts => ({
  ...newIpFacts(),
  encapType: 0,
  sport: 0,
  dport: 0,
  espAt: 0,
  espEnd: 0,
  spi: 0,
  seq: 0,
});

/** Why there is no ESP packet to go on with. */
export type EspRefusal =
  | IpRefusal
  /** A sound packet without ESP. */
  | 'NOT_ESP'
  /** IKE on a NAT traversal port. */
  | 'IKE'
  /** A NAT keepalive. */
  | 'KEEPALIVE'
  /** A piece of a packet: it has to be put together first. */
  | 'FRAGMENT'
  /** A wrong checksum of IPv4 or UDP. */
  | 'CHECKSUM';

/**
 * Finds the ESP packet in the IP packet at [at, end), right behind IP or in UDP to one of `ports`. Says why there is none, or undefined. The
 * facts of IP are good also after NOT_ESP, IKE, KEEPALIVE, FRAGMENT and CHECKSUM.
 */
export function parseEsp(
  bytes: Uint8Array,
  at: number,
  end: number,
  facts: EspFacts,
  ports: readonly number[] = [NAT_T_PORT],
): EspRefusal | undefined {
  const refusal = parseIp(bytes, at, end, facts);
  if (refusal !== undefined) return refusal;
  const { headerBytes, totalBytes, nextHeader, family } = facts;
  if (nextHeader !== IpProto.ESP && nextHeader !== IpProto.UDP && !facts.isFragment) return 'NOT_ESP';
  if (facts.isFragment) {
    const inside = family === AddressFamily.INET ? nextHeader : bytes[at + headerBytes];
    return inside === IpProto.ESP || inside === IpProto.UDP ? 'FRAGMENT' : 'NOT_ESP';
  }
  if (!headerSumGood(bytes, at, facts)) return 'CHECKSUM';
  facts.encapType = 0;
  facts.sport = 0;
  facts.dport = 0;
  facts.espAt = headerBytes;
  facts.espEnd = totalBytes;
  if (nextHeader === IpProto.UDP) {
    const refused = enterUdp(bytes, at, facts, ports);
    if (refused !== undefined) return refused;
  }
  if (facts.espEnd - facts.espAt < ESP_HEADER_BYTES) return 'TRUNCATED';
  facts.spi = readU32(bytes, at + facts.espAt);
  facts.seq = readU32(bytes, at + facts.espAt + 4);
  return undefined;
}

function enterUdp(bytes: Uint8Array, at: number, facts: EspFacts, ports: readonly number[]): EspRefusal | undefined {
  const { headerBytes, totalBytes } = facts;
  if (totalBytes - headerBytes < UDP_BYTES) return 'TRUNCATED';
  const udp = at + headerBytes;
  const dport = readU16(bytes, udp + 2);
  if (!ports.includes(dport)) return 'NOT_ESP';
  const length = readU16(bytes, udp + 4);
  if (length < UDP_BYTES || length > totalBytes - headerBytes) return 'LENGTH';
  if (!udpSumGood(bytes, udp, at, facts.family)) return 'CHECKSUM';
  facts.encapType = EncapType.ESPINUDP;
  facts.sport = readU16(bytes, udp);
  facts.dport = dport;
  facts.espAt = headerBytes + UDP_BYTES;
  facts.espEnd = headerBytes + length;
  switch (classifyUdp(bytes, at + facts.espAt, at + facts.espEnd)) {
    case 'keepalive':
      return 'KEEPALIVE';
    case 'ike':
      return 'IKE';
    case 'short':
      return 'TRUNCATED';
    case 'esp':
      return undefined;
  }
}
