import { XfrmMode } from '../../xfrm/index.ts';
import type { EmulatedNamespace } from './emulated.ts';
import { type InboundFacts, inboundPolicyAllows, newInboundFacts, toRowWord, Verdict } from './input.ts';
import type { OutboundFacts } from './output.ts';
import { encodedAttribute } from './requests/sa-update.ts';
import { Row, RowBit } from './row.ts';

/** A link between two namespaces: what leaves one arrives at the other, sequence number and all. Nothing is lost or changed on it. */

const DIR_IN = 0;
const ENCAP = 4;

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
  const mode = from.engine.sad.mode(slot);
  const delivered = verdict === Verdict.ACCEPT && inboundPolicyAllows(to.engine, DIR_IN, packet.flow, facts.mark, mode);
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
  if (sad.has(slot, RowBit.ENCAP)) {
    const { body } = sad.attributes(slot);
    const at = encodedAttribute(body, ENCAP);
    const encap = new DataView(body.buffer, body.byteOffset + at);
    // xfrm_encap_tmpl: its type in the host's order, ports in the network's.
    facts.encapType = new Uint16Array(body.slice(at, at + 2).buffer)[0] as number;
    facts.sport = encap.getUint16(2);
  }
  return facts;
}
