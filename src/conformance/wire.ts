import { IpProto } from '../xfrm/index.ts';

/** Frames on the link between the namespaces of a scenario. */

export const ETHER_BYTES = 14;
const ETHERTYPE_AT = 12;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
/** IEEE's first number for experiments. */
const ETH_P_MARKER = 0x88b5;
const MARKER_BYTES = 60;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;

/** An IP packet as a frame between two ends that have the same hardware address. */
export function frameOf(mac: Uint8Array, packet: Uint8Array): Buffer {
  const frame = Buffer.alloc(ETHER_BYTES + packet.length);
  frame.set(mac, 0);
  frame.set(mac, 6);
  frame.writeUInt16BE((packet[0] as number) >>> 4 === 6 ? ETH_P_IPV6 : ETH_P_IP, ETHERTYPE_AT);
  frame.set(packet, ETHER_BYTES);
  return frame;
}

/** A frame that means nothing but its number. */
export function marker(mac: Uint8Array, number: number): Buffer {
  const frame = Buffer.alloc(MARKER_BYTES);
  frame.set(mac, 0);
  frame.set(mac, 6);
  frame.writeUInt16BE(ETH_P_MARKER, ETHERTYPE_AT);
  frame.writeUInt32BE(number, ETHER_BYTES);
  return frame;
}

export function isMarker(frame: Buffer, number: number): boolean {
  return frame.readUInt16BE(ETHERTYPE_AT) === ETH_P_MARKER && frame.readUInt32BE(ETHER_BYTES) === number;
}

export interface IpsecPacket {
  readonly seq: number;
  /** Of the IP packet. */
  readonly ipBytes: number;
}

/** The sequence number of a frame with ESP, AH, or ESP in UDP with this SPI; undefined for everything else. */
export function ipsecPacket(bytes: Uint8Array, spi: number): IpsecPacket | undefined {
  const frame = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const type = frame.readUInt16BE(ETHERTYPE_AT);
  const ip = frame.subarray(ETHER_BYTES);
  const isIpv6 = type === ETH_P_IPV6;
  if ((!isIpv6 && type !== ETH_P_IP) || ip.length < (isIpv6 ? IPV6_HEADER : 20)) return undefined;
  // A fragment that is not the first one has no header of IPsec.
  if (!isIpv6 && (ip.readUInt16BE(6) & 0x1fff) !== 0) return undefined;
  const proto = ip[isIpv6 ? 6 : 9] as number;
  const at = isIpv6 ? IPV6_HEADER : 4 * ((ip[0] as number) & 15);
  const ipBytes = isIpv6 ? IPV6_HEADER + ip.readUInt16BE(4) : ip.readUInt16BE(2);
  const spiAt = { [IpProto.ESP]: at, [IpProto.AH]: at + 4, [IpProto.UDP]: at + UDP_HEADER }[proto];
  if (spiAt === undefined || ip.length < spiAt + 8) return undefined;
  if (proto === IpProto.UDP && ip.readUInt32BE(spiAt) !== spi) return undefined;
  return { seq: ip.readUInt32BE(spiAt + 4), ipBytes };
}
