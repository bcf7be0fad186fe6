import {
  type EmulatedNamespace,
  findInbound,
  flowIsOfSa,
  type InboundFacts,
  inboundPolicyAllows,
  inferSeqHi,
  isWorthVerifying,
  NO_SLOT,
  newInboundFacts,
  type OutboundFacts,
  readSa,
  Verdict,
  watchSas,
} from '../kernel/emulated/index.ts';
import { type Address, AddressFamily, IpProto, PolicyDir } from '../xfrm/index.ts';
import { EspError } from './errors.ts';
import { type EspFacts, type EspRefusal, newEspFacts, parseEsp } from './esp-packet.ts';
import { newFlow, readFlow } from './flow.ts';
import { type IpRefusal, newIpFacts, parseIp, rewriteHeader, TOTAL_BYTES_MAX } from './ip.ts';
import { headerTemplate } from './outer.ts';
import { readU32 } from './suite.ts';
import { type EspTransform, type EspVerdict, espTransform, newOpened } from './transform.ts';
import { classifyUdp, NAT_T_PORT, UDP_BYTES, writeUdp } from './udp.ts';

/** Packets through an emulated kernel: its policies, SAs, numbers, windows, lifetimes and events, with real ciphers. */

export type OutboundVerdict =
  /** `packet` is the outer packet. */
  | 'SEALED'
  /** No policy, or one without SAs: it goes out as it is. */
  | 'CLEAR'
  /** A policy blocks it (EPERM). */
  | 'BLOCKED'
  /** There is no SA for it; key managers that listen were asked for one. */
  | 'NO_SA'
  /** The SA has no number left (EOVERFLOW). */
  | 'EXHAUSTED'
  /** The SA is not for use: expired, or of the other direction (EINVAL). */
  | 'STATE'
  /** No sound IP packet; see `refusal`. */
  | 'MALFORMED'
  /** ESP that is not done here, or a packet that does not fit into it; see `error`. The number is spent. */
  | 'UNSUPPORTED'
  /** Several SAs one around the other, which is not done here. Their numbers are spent. */
  | 'BUNDLE';

/** What became of an outbound packet: one object that every call returns. */
export interface Outbound {
  verdict: OutboundVerdict;
  /** The outer packet, valid until the next outbound packet; empty unless SEALED. */
  packet: Uint8Array;
  refusal: IpRefusal | undefined;
  error: EspError | undefined;
}

export type InboundVerdict =
  /** `packet` is the inner packet. */
  | 'OPENED'
  | EspRefusal
  /** Signed, but not fit: see EspVerdict. */
  | Exclude<EspVerdict, 'OK'>
  | 'NO_SA'
  /** The SA is not for this packet: larval, expired, of the other direction or encapsulation, or its number is 0. */
  | 'STATE'
  /** Behind the window. */
  | 'LATE'
  | 'REPLAY'
  /** Let in by the SA, but not by its selector or by policies. It is accounted. */
  | 'POLICY'
  /** ESP that is not done here; see `error`. */
  | 'UNSUPPORTED';

/** What became of an inbound packet: one object that every call returns. */
export interface Inbound {
  verdict: InboundVerdict;
  /** The inner packet, valid until the next inbound packet; empty unless OPENED. */
  packet: Uint8Array;
  /** Of the SA that the packet names; 0 if it names none. */
  spi: number;
  seq: number;
  error: EspError | undefined;
}

export interface EspDataPlaneOptions {
  /** Which policies inbound packets must pass: PolicyDir.IN for those to this host (default), FWD for those to hosts behind it. */
  readonly policyDir?: number;
  /** UDP ports on which ESP is expected; 4500. */
  readonly encapPorts?: readonly number[];
}

/** Where a datagram with ESP came from and went to. */
export interface UdpEnds {
  readonly family: number;
  readonly saddr: Address;
  readonly daddr: Address;
  readonly sport: number;
  readonly dport: number;
}

const nothing = new Uint8Array(0);
const PACKET_BYTES_MAX = TOTAL_BYTES_MAX + 40;

/** EPERM, EINVAL, EOVERFLOW; without an errno the sender is told nothing. */
const outboundByErrno = new Map<number, OutboundVerdict>([
  [0, 'NO_SA'],
  [1, 'BLOCKED'],
  [22, 'STATE'],
  [75, 'EXHAUSTED'],
]);

/**
 * ESP for one namespace of an emulated machine. What is made of an SA's keys is kept under the SA's slot, and dropped when the SA changes or
 * goes.
 *
 * It neither fragments nor reassembles, routes nothing and decrements nothing, opens one layer of ESP, and takes no notice of inbound packets
 * without ESP: whether they may pass is the caller's to decide.
 *
 * @example
 * const { verdict, packet } = plane.outbound(ipPacket);
 * if (verdict === 'SEALED') wire.send(packet);
 */
export class EspDataPlane implements Disposable {
  readonly #ns: EmulatedNamespace;
  readonly #policyDir: number;
  readonly #encapPorts: readonly number[];
  readonly #transforms: (EspTransform | EspError | undefined)[] = [];
  readonly #unwatch: () => void;
  #closed = false;
  readonly #flow = newFlow();
  readonly #ip = newIpFacts();
  readonly #esp = newEspFacts();
  readonly #in = newInboundFacts();
  readonly #opened = newOpened();
  readonly #out: { -readonly [K in keyof OutboundFacts]: OutboundFacts[K] };
  readonly #outer = new Uint8Array(PACKET_BYTES_MAX);
  readonly #inner = new Uint8Array(PACKET_BYTES_MAX);
  readonly #datagram = new Uint8Array(PACKET_BYTES_MAX);
  readonly #sealed: Outbound = { verdict: 'CLEAR', packet: nothing, refusal: undefined, error: undefined };
  readonly #result: Inbound = { verdict: 'NOT_ESP', packet: nothing, spi: 0, seq: 0, error: undefined };

  constructor(ns: EmulatedNamespace, options: EspDataPlaneOptions = {}) {
    this.#ns = ns;
    this.#policyDir = options.policyDir ?? PolicyDir.IN;
    this.#encapPorts = options.encapPorts ?? [NAT_T_PORT];
    this.#out = { flow: this.#flow, mark: 0, ifId: 0, payloadBytes: 0, packetBytes: 0 };
    this.#unwatch = watchSas(ns.engine, (slot) => {
      this.#transforms[slot] = undefined;
    });
  }

  /** Lets go of everything made of keys; packets that need them are refused afterwards (ERR_ESP_CLOSED). */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#unwatch();
    this.#transforms.length = 0;
  }

  /** Takes an IP packet that this host sends or forwards through policies and SAs. */
  outbound(packet: Uint8Array, mark = 0, ifId = 0): Outbound {
    const ip = this.#ip;
    const refusal = parseIp(packet, 0, packet.length, ip);
    if (refusal !== undefined) return this.#sent('MALFORMED', undefined, refusal);
    readFlow(packet, ip, this.#flow);
    const out = this.#out;
    out.mark = mark;
    out.ifId = ifId;
    out.payloadBytes = ip.totalBytes - ip.headerBytes;
    out.packetBytes = ip.totalBytes;
    const { sent, errno, slot, seq, seqHi, depth } = this.#ns.output(out);
    if (!sent) return this.#sent(outboundByErrno.get(errno) ?? 'STATE');
    if (slot === NO_SLOT) return this.#sent('CLEAR');
    if (depth > 1) return this.#sent('BUNDLE');
    const transform = this.#transform(slot);
    if (transform instanceof EspError) return this.#sent('UNSUPPORTED', transform);
    try {
      const length = transform.seal(packet, seq, seqHi, this.#outer);
      this.#sent('SEALED');
      this.#sealed.packet = this.#outer.subarray(0, length);
      return this.#sealed;
    } catch (error) {
      if (error instanceof EspError) return this.#sent('UNSUPPORTED', error);
      throw error;
    }
  }

  /** Takes an IP packet from the wire: ESP right behind IP, or in UDP to one of `encapPorts`. */
  inbound(packet: Uint8Array, mark = 0): Inbound {
    return this.#take(packet, mark, this.#encapPorts);
  }

  /** Takes the payload of a UDP datagram, as a socket on a NAT traversal port hands it over. */
  inboundUdp(payload: Uint8Array, ends: UdpEnds, mark = 0): Inbound {
    this.#esp.spi = 0;
    this.#esp.seq = 0;
    switch (classifyUdp(payload)) {
      case 'keepalive':
        return this.#judge('KEEPALIVE');
      case 'ike':
        return this.#judge('IKE');
      case 'short':
        return this.#judge('TRUNCATED');
    }
    const head = headerTemplate(ends.family, ends.saddr, ends.daddr);
    const total = head.length + UDP_BYTES + payload.length;
    if (total > TOTAL_BYTES_MAX) return this.#judge('LENGTH');
    const datagram = this.#datagram;
    datagram.set(head);
    datagram.set(payload, head.length + UDP_BYTES);
    const shape = { ...newIpFacts(), family: ends.family, headerBytes: head.length };
    shape.nextHeaderAt = ends.family === AddressFamily.INET ? 9 : 6;
    rewriteHeader(datagram, 0, shape, IpProto.UDP, total);
    writeUdp(datagram, head.length, 0, ends.family, ends.sport, ends.dport, payload.length);
    return this.#take(datagram.subarray(0, total), mark, [ends.dport]);
  }

  #take(packet: Uint8Array, mark: number, ports: readonly number[]): Inbound {
    const esp = this.#esp;
    esp.spi = 0;
    esp.seq = 0;
    const refusal = parseEsp(packet, 0, packet.length, esp, ports);
    if (refusal !== undefined) return this.#judge(refusal);
    const { engine } = this.#ns;
    const facts = fillFacts(this.#in, packet, esp, mark);
    const slot = findInbound(engine, facts);
    const opened = this.#opened;
    opened.verdict = 'OK';
    if (slot !== NO_SLOT && isWorthVerifying(engine, slot, facts)) {
      const transform = this.#transform(slot);
      if (transform instanceof EspError) return this.#judge('UNSUPPORTED', transform);
      facts.seqHi = inferSeqHi(engine, slot, facts.seq);
      const { verdict } = transform.open(packet, 0, esp, facts.seqHi, this.#inner, opened);
      facts.icvGood = verdict !== 'INTEGRITY';
      facts.truncated = verdict === 'TRUNCATED' || verdict === 'PADDING' || verdict === 'DUMMY';
      facts.bytes = opened.bytes;
    }
    switch (this.#ns.input(facts)) {
      case Verdict.ACCEPT:
        return this.#admit(slot, mark);
      case Verdict.LATE:
        return this.#judge('LATE');
      case Verdict.REPLAY:
        return this.#judge('REPLAY');
      case Verdict.INTEGRITY:
        return this.#judge('INTEGRITY');
      case Verdict.DROP:
        if (slot === NO_SLOT) return this.#judge('NO_SA');
        return this.#judge(opened.verdict === 'OK' ? 'STATE' : opened.verdict);
    }
  }

  /** A packet that the SA has let in and counted: is it what the SA and the policies are for? */
  #admit(slot: number, mark: number): Inbound {
    const { engine } = this.#ns;
    const opened = this.#opened;
    const inner = this.#inner.subarray(0, opened.length);
    if (opened.verdict !== 'OK') {
      engine.stat('XfrmInStateModeError');
      return this.#judge(opened.verdict);
    }
    if (parseIp(inner, 0, inner.length, this.#ip) !== undefined) {
      engine.stat('XfrmInStateModeError');
      return this.#judge('INNER');
    }
    readFlow(inner, this.#ip, this.#flow);
    if (!flowIsOfSa(engine, slot, this.#flow)) {
      engine.stat('XfrmInStateMismatch');
      return this.#judge('POLICY');
    }
    if (!inboundPolicyAllows(engine, this.#policyDir, this.#flow, mark, [slot])) return this.#judge('POLICY');
    this.#judge('OPENED');
    this.#result.packet = inner;
    return this.#result;
  }

  #transform(slot: number): EspTransform | EspError {
    const known = this.#transforms[slot];
    if (known !== undefined) return known;
    if (this.#closed) return new EspError('ERR_ESP_CLOSED', 'The data plane was disposed of: make another');
    const made = makeTransform(this.#ns, slot);
    this.#transforms[slot] = made;
    return made;
  }

  #sent(verdict: OutboundVerdict, error?: EspError, refusal?: IpRefusal): Outbound {
    const sealed = this.#sealed;
    sealed.verdict = verdict;
    sealed.packet = nothing;
    sealed.refusal = refusal;
    sealed.error = error;
    return sealed;
  }

  #judge(verdict: InboundVerdict, error?: EspError): Inbound {
    const result = this.#result;
    result.verdict = verdict;
    result.packet = nothing;
    result.spi = this.#esp.spi;
    result.seq = this.#esp.seq;
    result.error = error;
    return result;
  }
}

function makeTransform(ns: EmulatedNamespace, slot: number): EspTransform | EspError {
  try {
    return espTransform(readSa(ns.engine, slot));
  } catch (error) {
    if (error instanceof EspError) return error;
    throw error;
  }
}

/** What the engine wants to know of a packet before it is opened. */
function fillFacts(facts: InboundFacts, packet: Uint8Array, esp: EspFacts, mark: number): InboundFacts {
  const isIpv4 = esp.family === AddressFamily.INET;
  facts.family = esp.family;
  readAddress(packet, isIpv4 ? 12 : 8, isIpv4, facts.saddr);
  readAddress(packet, isIpv4 ? 16 : 24, isIpv4, facts.daddr);
  facts.spi = esp.spi;
  facts.proto = IpProto.ESP;
  facts.mark = mark;
  facts.seq = esp.seq;
  facts.seqHi = 0;
  facts.icvGood = false;
  facts.truncated = false;
  facts.bytes = 0;
  facts.encapType = esp.encapType;
  facts.sport = esp.sport;
  return facts;
}

function readAddress(packet: Uint8Array, at: number, isIpv4: boolean, into: InboundFacts['saddr']): void {
  into.w0 = readU32(packet, at);
  into.w1 = isIpv4 ? 0 : readU32(packet, at + 4);
  into.w2 = isIpv4 ? 0 : readU32(packet, at + 8);
  into.w3 = isIpv4 ? 0 : readU32(packet, at + 12);
}
