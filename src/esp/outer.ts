import { type Address, AddressFamily, SaExtraFlag, SaFlag } from '../xfrm/index.ts';
import type { EspSa } from './algorithms.ts';
import { changeTos, IPV4_BYTES, IPV6_BYTES, type IpFacts, writeIpv4Sum } from './ip.ts';
import { writeU16, writeU32 } from './suite.ts';

/** The outer header of tunnel mode, and what of it reaches the inner one (RFC 4301 section 5.1.2, xfrm_output.c, xfrm_input.c). */

/** What a route without a metric of its own says (net.ipv4.ip_default_ttl, net.ipv6.conf.*.hop_limit). */
const HOP_LIMIT = 64;
const ECN_MASK = 3;
const ECT_0 = 2;
const ECN_CE = 3;

/** Writes an address in network order. */
export function writeAddress(bytes: Uint8Array, at: number, { w0, w1, w2, w3 }: Address, family: number): void {
  writeU32(bytes, at, w0);
  if (family === AddressFamily.INET) return;
  writeU32(bytes, at + 4, w1);
  writeU32(bytes, at + 8, w2);
  writeU32(bytes, at + 12, w3);
}

export const ipHeaderBytes = (family: number): number => (family === AddressFamily.INET ? IPV4_BYTES : IPV6_BYTES);

/** A header from `saddr` to `daddr` in which length, protocol, service class and identification are still 0. */
export function headerTemplate(family: number, saddr: Address, daddr: Address): Uint8Array {
  const header = new Uint8Array(ipHeaderBytes(family));
  if (family === AddressFamily.INET) {
    header[0] = 0x45;
    header[8] = HOP_LIMIT;
    writeAddress(header, 12, saddr, family);
    writeAddress(header, 16, daddr, family);
  } else {
    header[0] = 0x60;
    header[7] = HOP_LIMIT;
    writeAddress(header, 8, saddr, family);
    writeAddress(header, 24, daddr, family);
  }
  return header;
}

/** Makes the outer headers of one tunnel. */
export class OuterHeader {
  readonly bytes: number;
  readonly #family: number;
  readonly #template: Uint8Array;
  readonly #keepsDscp: boolean;
  readonly #keepsEcn: boolean;
  readonly #keepsDf: boolean;
  /** Of packets that may be fragmented, all else are 0 (RFC 6864). */
  #identification = 0;

  constructor({ body, attributes }: EspSa) {
    this.#family = body.family;
    this.#template = headerTemplate(body.family, body.saddr, body.id.daddr);
    this.bytes = this.#template.length;
    this.#keepsDscp = ((attributes.saExtraFlags ?? 0) & SaExtraFlag.DONT_ENCAP_DSCP) === 0;
    this.#keepsEcn = (body.flags & SaFlag.NOECN) === 0;
    this.#keepsDf = (body.flags & SaFlag.NOPMTUDISC) === 0;
  }

  /** Writes the header of a packet of `total` bytes around the one of `inner`. */
  write(into: Uint8Array, inner: IpFacts, nextHeader: number, total: number): void {
    into.set(this.#template);
    const dscp = this.#keepsDscp ? inner.tos & ~ECN_MASK : 0;
    // Congestion that was met before the tunnel is not told again outside (INET_ECN_encapsulate).
    const innerEcn = inner.tos & ECN_MASK;
    const ecn = this.#keepsEcn ? (innerEcn === ECN_CE ? ECT_0 : innerEcn) : 0;
    const tos = dscp | ecn;
    if (this.#family === AddressFamily.INET6) {
      writeU32(into, 0, (0x6000_0000 | (tos << 20) | inner.flowLabel) >>> 0);
      writeU16(into, 4, total - IPV6_BYTES);
      into[6] = nextHeader;
      return;
    }
    into[1] = tos;
    writeU16(into, 2, total);
    if (this.#keepsDf && inner.dontFragment) into[6] = 0x40;
    else {
      this.#identification = (this.#identification + 1) & 0xffff;
      writeU16(into, 4, this.#identification);
    }
    into[9] = nextHeader;
    writeIpv4Sum(into, 0, IPV4_BYTES);
  }
}

/** Marks the inner packet with what its outer header has met, as the SA's flags say (xfrm_input.c: ipip_ecn_decapsulate). */
export function decapsulateTos(into: Uint8Array, inner: IpFacts, outerTos: number, flags: number): void {
  let { tos } = inner;
  if ((flags & SaFlag.DECAP_DSCP) !== 0) tos = (outerTos & ~ECN_MASK) | (tos & ECN_MASK);
  const met = (outerTos & ECN_MASK) === ECN_CE && (flags & SaFlag.NOECN) === 0;
  // A transport that knows no ECN (0) would not understand the mark.
  if (met && (tos & ECN_MASK) !== 0) tos |= ECN_CE;
  if (tos !== inner.tos) changeTos(into, 0, inner.family, tos);
}
