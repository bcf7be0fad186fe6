import {
  type EmulatedNamespace,
  type Flow,
  inboundPolicyAllows,
  newInboundFacts,
  saUsage,
  Verdict,
} from '../kernel/emulated/index.ts';
import { IpProto, XfrmMode } from '../xfrm/index.ts';

/** Reads what a model without ciphers needs from the packets of a scenario: null encryption, so that the trailer is legible. */

const UDP_HEADER = 8;
const ESP_HEADER = 8;
const AH_FIXED = 12;
const ESP_TRAILER = 2;
const ESPINUDP = 2;
const DIR_IN = 0;
/** By which the kernel's own packets come in to the machine. */
const LOOPBACK = 1;

interface WirePacket {
  readonly hex: string;
  readonly seq: number;
  readonly seq_hi?: number | undefined;
  readonly bad_icv?: boolean | undefined;
}

interface IpHeader {
  readonly family: number;
  readonly proto: number;
  readonly saddr: Uint8Array;
  readonly daddr: Uint8Array;
  /** Where it ends. */
  readonly end: number;
}

function ipHeader(bytes: Buffer): IpHeader {
  const padded = (from: number, length: number): Uint8Array => {
    const address = new Uint8Array(16);
    address.set(bytes.subarray(from, from + length));
    return address;
  };
  if ((bytes[0] as number) >> 4 === 4) {
    const end = 4 * ((bytes[0] as number) & 15);
    return { family: 2, proto: bytes[9] as number, saddr: padded(12, 4), daddr: padded(16, 4), end };
  }
  return { family: 10, proto: bytes[6] as number, saddr: padded(8, 16), daddr: padded(24, 16), end: 40 };
}

const words = (address: Uint8Array): { w0: number; w1: number; w2: number; w3: number } => {
  const view = new DataView(address.buffer, address.byteOffset);
  return { w0: view.getUint32(0), w1: view.getUint32(4), w2: view.getUint32(8), w3: view.getUint32(12) };
};

/** Puts one packet on the wire towards a namespace; `takesEncap` says whether a UDP port there takes ESP. */
export function inboundPacket(
  ns: EmulatedNamespace,
  packet: WirePacket,
  takesEncap: (port: number) => boolean,
): Verdict {
  const bytes = Buffer.from(packet.hex, 'hex');
  const ip = ipHeader(bytes);
  const facts = { ...newInboundFacts(), family: ip.family, saddr: words(ip.saddr), daddr: words(ip.daddr) };
  facts.seq = packet.seq;
  facts.seqHi = packet.seq_hi ?? 0;
  facts.icvGood = packet.bad_icv !== true;
  let { proto } = ip;
  let at = ip.end;
  if (proto === IpProto.UDP) {
    if (!takesEncap(bytes.readUInt16BE(at + 2))) return Verdict.DROP;
    // The datagram is looked at before the socket hands on what is in it.
    const ports = { sport: bytes.readUInt16BE(at), dport: bytes.readUInt16BE(at + 2) };
    const outer = { family: ip.family, saddr: ip.saddr, daddr: ip.daddr, proto, ...ports, ifindex: LOOPBACK };
    if (!inboundPolicyAllows(ns.engine, DIR_IN, outer, facts.mark, [])) return Verdict.DROP;
    facts.encapType = ESPINUDP;
    facts.sport = bytes.readUInt16BE(at);
    proto = IpProto.ESP;
    at += UDP_HEADER;
  }
  facts.proto = proto;
  const isAh = proto === IpProto.AH;
  if (bytes.length < at + (isAh ? AH_FIXED : ESP_HEADER)) return Verdict.DROP;
  facts.spi = bytes.readUInt32BE(at + (isAh ? 4 : 0));
  const sa = saUsage(ns.engine, facts);
  const icvBytes = sa?.icvBytes ?? 0;
  const inner = isAh ? ahInner(bytes, at) : espInner(bytes, at, icvBytes);
  facts.truncated = bytes.length < at + (isAh ? AH_FIXED : ESP_HEADER) + icvBytes;
  // Nobody looks for a signature where there is none.
  if (icvBytes === 0 && !isAh) facts.icvGood = true;
  // What was cut anywhere else is signed wrongly.
  if (inner === undefined) facts.icvGood = false;
  // Padding that does not fit is noticed after the signature.
  else if (facts.icvGood && inner.end < inner.start) facts.truncated = true;
  facts.bytes = inner === undefined ? 0 : inner.end - inner.start;
  const verdict = ns.input(facts);
  if (verdict === Verdict.ACCEPT && inner !== undefined && sa !== undefined) {
    inboundPolicyAllows(ns.engine, DIR_IN, innerFlow(bytes, ip, inner, sa.mode), facts.mark, [sa.slot]);
  }
  return verdict;
}

interface Inner {
  readonly start: number;
  readonly end: number;
  readonly proto: number;
}

function espInner(bytes: Buffer, at: number, icvBytes: number): Inner | undefined {
  const start = at + ESP_HEADER;
  const trailer = bytes.length - icvBytes - ESP_TRAILER;
  if (trailer < start) return undefined;
  return { start, end: trailer - (bytes[trailer] as number), proto: bytes[trailer + 1] as number };
}

function ahInner(bytes: Buffer, at: number): Inner | undefined {
  const start = at + 4 * ((bytes[at + 1] as number) + 2);
  return start > bytes.length ? undefined : { start, end: bytes.length, proto: bytes[at] as number };
}

function innerFlow(bytes: Buffer, outer: IpHeader, inner: Inner, mode: number): Flow {
  const data = bytes.subarray(inner.start, Math.max(inner.start, inner.end));
  const isTunnel = mode === XfrmMode.TUNNEL && data.length >= 20;
  const ip = isTunnel ? ipHeader(data) : outer;
  const at = isTunnel ? ip.end : 0;
  const proto = isTunnel ? ip.proto : inner.proto;
  const port = (offset: number): number => (data.length >= at + 4 ? data.readUInt16BE(at + offset) : 0);
  return {
    family: ip.family,
    saddr: ip.saddr,
    daddr: ip.daddr,
    proto,
    sport: port(0),
    dport: port(2),
    ifindex: LOOPBACK,
  };
}
