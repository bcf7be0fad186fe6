import type { Flow } from '../kernel/emulated/index.ts';
import { AddressFamily, IpProto } from '../xfrm/index.ts';
import type { IpFacts } from './ip.ts';
import { readU16 } from './suite.ts';

/** What policies see of a packet (xfrm_policy.c:xfrm_decode_session). */

export type PacketFlow = { -readonly [K in keyof Flow]: Flow[K] };

export const newFlow = (): PacketFlow => ({
  family: 0,
  saddr: new Uint8Array(16),
  daddr: new Uint8Array(16),
  proto: 0,
  sport: 0,
  dport: 0,
});

const FRAGMENT = 44;
const AH = 51;
const DCCP = 33;
const UDPLITE = 136;
/** RFC 8200 section 4.1; the ones in front were counted with the header. */
const EXTENSION_HEADERS_MAX = 8;
const withPorts: ReadonlySet<number> = new Set([IpProto.TCP, IpProto.UDP, IpProto.SCTP, DCCP, UDPLITE]);

/** Fills `flow` from a packet that `parseIp` has described. What is not there, as the ports of later fragments, is 0. */
export function readFlow(packet: Uint8Array, facts: IpFacts, flow: PacketFlow): PacketFlow {
  const isIpv4 = facts.family === AddressFamily.INET;
  const [sourceAt, length] = isIpv4 ? [12, 4] : [8, 16];
  flow.family = facts.family;
  for (let i = 0; i < length; i++) {
    flow.saddr[i] = packet[sourceAt + i] as number;
    flow.daddr[i] = packet[sourceAt + length + i] as number;
  }
  flow.sport = 0;
  flow.dport = 0;
  flow.proto = facts.nextHeader;
  const at = isIpv4 ? upperOfIpv4(packet, facts) : upperOfIpv6(packet, facts, flow);
  if (at < 0) return flow;
  if (withPorts.has(flow.proto) && at + 4 <= facts.totalBytes) {
    flow.sport = readU16(packet, at);
    flow.dport = readU16(packet, at + 2);
  } else if ((flow.proto === IpProto.ICMP || flow.proto === IpProto.ICMPV6) && at + 2 <= facts.totalBytes) {
    // Selectors say type and code in the place of ports (xfrm.h:xfrm_flowi_sport).
    flow.sport = packet[at] as number;
    flow.dport = packet[at + 1] as number;
  }
  return flow;
}

function upperOfIpv4(packet: Uint8Array, facts: IpFacts): number {
  const offset = readU16(packet, 6) & 0x1fff;
  return offset === 0 ? facts.headerBytes : -1;
}

/** Where the upper protocol starts behind all extension headers, its number in `flow`; -1 if it is not in this packet. */
function upperOfIpv6(packet: Uint8Array, facts: IpFacts, flow: PacketFlow): number {
  let at = facts.headerBytes;
  for (let n = 0; n < EXTENSION_HEADERS_MAX; n++) {
    const { proto } = flow;
    const isExtension = proto === FRAGMENT || proto === IpProto.DSTOPTS || proto === IpProto.ROUTING || proto === AH;
    if (!isExtension) return at;
    if (at + 8 > facts.totalBytes) return -1;
    flow.proto = packet[at] as number;
    if (proto === FRAGMENT) {
      if ((readU16(packet, at + 2) & 0xfff8) !== 0) return -1;
      at += 8;
    } else at += proto === AH ? 4 * ((packet[at + 1] as number) + 2) : 8 * ((packet[at + 1] as number) + 1);
  }
  return -1;
}
