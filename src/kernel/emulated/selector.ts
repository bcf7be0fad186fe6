import { hostLittleEndian } from '../../netlink/index.ts';
import { AddressFamily } from '../../xfrm/index.ts';

/** Matching packets with xfrm_selector (xfrm_policy.c:xfrm_selector_match). */

/** What a packet is, as far as policies and SAs ask. */
export interface Flow {
  readonly family: number;
  /** 16 bytes each; of an IPv4 address the first four count. */
  readonly saddr: Uint8Array;
  readonly daddr: Uint8Array;
  readonly proto: number;
  readonly sport: number;
  readonly dport: number;
  /** The interface it leaves by, of inbound ones the loopback (1); 0: not known, as with IPv6 that goes out. */
  readonly ifindex?: number;
}

/** Byte offsets in xfrm_selector. */
export const Sel = {
  DADDR: 0,
  SADDR: 16,
  DPORT: 32,
  DPORT_MASK: 34,
  SPORT: 36,
  SPORT_MASK: 38,
  FAMILY: 40,
  PREFIX_D: 42,
  PREFIX_S: 43,
  PROTO: 44,
  IFINDEX: 48,
  SIZE: 56,
} as const;

export function prefixMatches(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, bits: number): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  const rest = bits & 7;
  if (rest === 0) return true;
  const mask = 0xff & (0xff << (8 - rest));
  return (((a[aAt + whole] as number) ^ (b[bAt + whole] as number)) & mask) === 0;
}

/** A 32-bit word in the order of the host. */
export const wordAt: (bytes: Uint8Array, at: number) => number = hostLittleEndian
  ? (bytes, at) =>
      (byte(bytes, at) | (byte(bytes, at + 1) << 8) | (byte(bytes, at + 2) << 16) | (byte(bytes, at + 3) << 24)) >>> 0
  : (bytes, at) => (netHalfAt(bytes, at) * 0x1_0000 + netHalfAt(bytes, at + 2)) >>> 0;

/** A 16-bit number in the order of the host. */
export const halfAt: (bytes: Uint8Array, at: number) => number = hostLittleEndian
  ? (bytes, at) => byte(bytes, at) | (byte(bytes, at + 1) << 8)
  : (bytes, at) => netHalfAt(bytes, at);

/** A 16-bit number in network order: ports. */
export const netHalfAt = (bytes: Uint8Array, at: number): number => (byte(bytes, at) << 8) | byte(bytes, at + 1);

const byte = (bytes: Uint8Array, at: number): number => bytes[at] as number;

/** Bits of an address. */
export const addressBits = (family: number): number => (family === AddressFamily.INET ? 32 : 128);

/** Whether the selector at `at` takes in the flow; its family is the caller's affair. */
export function selectorMatches(bytes: Uint8Array, at: number, flow: Flow): boolean {
  const proto = byte(bytes, at + Sel.PROTO);
  if (proto !== 0 && proto !== flow.proto) return false;
  if (((flow.dport ^ netHalfAt(bytes, at + Sel.DPORT)) & netHalfAt(bytes, at + Sel.DPORT_MASK)) !== 0) return false;
  if (((flow.sport ^ netHalfAt(bytes, at + Sel.SPORT)) & netHalfAt(bytes, at + Sel.SPORT_MASK)) !== 0) return false;
  const ifindex = wordAt(bytes, at + Sel.IFINDEX);
  if (ifindex !== 0 && ifindex !== (flow.ifindex ?? 0)) return false;
  const max = addressBits(flow.family);
  const bitsD = Math.min(byte(bytes, at + Sel.PREFIX_D), max);
  const bitsS = Math.min(byte(bytes, at + Sel.PREFIX_S), max);
  return (
    prefixMatches(bytes, at + Sel.DADDR, flow.daddr, 0, bitsD) &&
    prefixMatches(bytes, at + Sel.SADDR, flow.saddr, 0, bitsS)
  );
}
