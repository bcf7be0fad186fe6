import { type Address, IpProto, parseAddress, XfrmMode } from '../../xfrm/index.ts';
import { KernelError } from '../errors.ts';
import type { EmulatedNamespace } from './emulated.ts';
import { encapType, findInbound, type InboundFacts, newInboundFacts, toRowWord, Verdict } from './input.ts';
import type { OutboundFacts } from './output.ts';
import { inboundPolicyAllows } from './policy-check.ts';
import { Row } from './row.ts';

/** A link between two namespaces: what leaves one arrives at the other, sequence number and all. Nothing is lost or changed on it. */

const DIR_IN = 0;
const UDP_HEADER = 8;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;

/** A UDP datagram. Addresses in plain notation, both of one family. */
export interface UdpPacket {
  readonly from: string;
  readonly to: string;
  readonly sport?: number;
  readonly dport?: number;
  readonly payloadBytes?: number;
  readonly mark?: number;
  /** Of the xfrm interface that it goes out by. */
  readonly ifId?: number;
}

/** What `output` and `carry` want to know of a UDP datagram. @throws KernelError ERR_ARGUMENT for what is no address */
export function udpPacket({
  from,
  to,
  sport = 0,
  dport = 0,
  payloadBytes = 0,
  mark = 0,
  ifId = 0,
}: UdpPacket): OutboundFacts {
  const source = parseAddress(from);
  const destination = parseAddress(to);
  if (source === undefined || destination === undefined || source.family !== destination.family) {
    throw new KernelError('ERR_ARGUMENT', `${from} to ${to}: give two addresses of one family, in plain notation`);
  }
  const { family } = source;
  const proto = IpProto.UDP;
  const flow = { family, saddr: bytesOf(source.address), daddr: bytesOf(destination.address), proto, sport, dport };
  const bytes = UDP_HEADER + payloadBytes;
  return { flow, mark, ifId, payloadBytes: bytes, packetBytes: bytes + (family === 2 ? IPV4_HEADER : IPV6_HEADER) };
}

function bytesOf({ w0, w1, w2, w3 }: Address): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  [w0, w1, w2, w3].forEach((word, i) => {
    view.setUint32(4 * i, word);
  });
  return bytes;
}

/** What became of a packet. */
export interface Passage {
  /** The errno that its sender got. */
  readonly errno: number;
  /** It left its host. */
  readonly sent: boolean;
  /** As the receiver's SA saw it; undefined: not sent, or sent unprotected. */
  readonly facts: InboundFacts | undefined;
  readonly verdict: Verdict | undefined;
  /** It reached a program: sent, accepted, and let through by the receiver's policies. */
  readonly delivered: boolean;
}

/**
 * Takes one packet out of a namespace and, if it leaves, into another. Through an SA of its own at most: of several, one in the other, the
 * receiver sees the outermost alone.
 */
export function carry(from: EmulatedNamespace, to: EmulatedNamespace, packet: OutboundFacts): Passage {
  const { errno, sent, slot, seq, seqHi } = from.output(packet);
  if (!sent || slot < 0) return { errno, sent, facts: undefined, verdict: undefined, delivered: sent };
  const facts = { ...wireFacts(from, slot, packet), seq, seqHi };
  const verdict = to.input(facts);
  const delivered =
    verdict === Verdict.ACCEPT &&
    inboundPolicyAllows(to.engine, DIR_IN, packet.flow, facts.mark, [findInbound(to.engine, facts)]);
  return { errno, sent, facts, verdict, delivered };
}

/** The outside of a packet: addresses, SPI and encapsulation of the SA that it went through. */
function wireFacts({ engine }: EmulatedNamespace, slot: number, packet: OutboundFacts): InboundFacts {
  const { sad } = engine;
  const row = sad.row(slot);
  const word = (at: number): number => toRowWord(sad.words[row + at] as number);
  const address = (at: number): InboundFacts['daddr'] => ({
    w0: word(at),
    w1: word(at + 1),
    w2: word(at + 2),
    w3: word(at + 3),
  });
  const facts = newInboundFacts();
  facts.family = sad.family(slot);
  facts.daddr = address(Row.DADDR);
  facts.saddr = address(Row.SADDR);
  facts.spi = word(Row.SPI);
  facts.proto = sad.proto(slot);
  facts.bytes = sad.mode(slot) === XfrmMode.TRANSPORT ? packet.payloadBytes : packet.packetBytes;
  facts.encapType = encapType(engine, slot);
  facts.sport = (sad.words[row + Row.ENCAP] as number) & 0xffff;
  return facts;
}
