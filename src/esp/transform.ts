import { randomFillSync } from 'node:crypto';
import { AddressFamily, EncapType, IpProto, SaExtraFlag, SaFlag, XfrmMode } from '../xfrm/index.ts';
import { type EspSa, suiteOf } from './algorithms.ts';
import { EspError } from './errors.ts';
import type { EspFacts } from './esp-packet.ts';
import { IPV6_BYTES, newIpFacts, parseIp, rewriteHeader, TOTAL_BYTES_MAX } from './ip.ts';
import { decapsulateTos, OuterHeader } from './outer.ts';
import { ESP_HEADER_BYTES, ESP_TRAILER_BYTES, type Suite, writeU32 } from './suite.ts';
import { UDP_BYTES, writeUdp } from './udp.ts';

/** Next header of a packet that carries nothing (RFC 4303 section 2.6). */
const NO_NEXT_HEADER = 59;

/** Random IVs are taken from a supply, as one call for many costs little more than for one. */
const random = new Uint8Array(4096);
let randomAt = random.length;

function writeRandom(into: Uint8Array, at: number, bytes: number): void {
  if (randomAt + bytes > random.length) {
    randomFillSync(random);
    randomAt = 0;
  }
  into.set(random.subarray(randomAt, randomAt + bytes), at);
  randomAt += bytes;
}

/** Where plaintext stands until it is known how much of it is the packet; of all transforms, as none works while another does. */
let clear = new Uint8Array(2048);

/** What became of an ESP packet. */
export type EspVerdict =
  | 'OK'
  /** Shorter than its fields, or not of whole blocks. */
  | 'TRUNCATED'
  /** The signature is wrong. */
  | 'INTEGRITY'
  /** Signed, but with more padding than there are bytes. */
  | 'PADDING'
  /** A dummy packet (RFC 4303 section 2.6): to be dropped without a word. */
  | 'DUMMY'
  /** Signed, but what is inside is no IP packet, or one longer than what came. */
  | 'INNER'
  /** What was inside is longer than the buffer for it. */
  | 'TOO_LONG';

/** The result of opening a packet. One object can serve for all packets. */
export interface Opened {
  verdict: EspVerdict;
  /** Of the IP packet that came out. */
  length: number;
  /** Bytes as the SA's lifetime counts them: behind the IP header in transport mode, the inner packet in tunnel mode. */
  bytes: number;
}

export const newOpened = (): Opened => ({ verdict: 'OK', length: 0, bytes: 0 });

/**
 * One SA's ESP, both ways. Numbers, windows and lifetimes are the kernel's affair: whoever seals brings a number that was never used, whoever
 * opens has asked the window.
 *
 * The IV of AES-GCM and ChaCha20-Poly1305 is the 64-bit sequence number, upper half 0 without ESN: IVs are unique exactly as long as numbers
 * are, over all machines that share the SA. Linux in software XORs the number with a random salt of the machine (crypto/seqiv.c), so packets
 * of Linux have other IVs; receivers take any.
 */
export class EspTransform {
  readonly spi: number;
  readonly family: number;
  readonly mode: number;
  /** Whether numbers have an upper half. */
  readonly esn: boolean;
  readonly #suite: Suite;
  readonly #flags: number;
  readonly #outer: OuterHeader | undefined;
  readonly #encap: { readonly sport: number; readonly dport: number } | undefined;
  readonly #tfcBytes: number;
  readonly #mayWrap: boolean;
  readonly #ip = newIpFacts();

  /** @throws EspError for an SA that is not done here */
  constructor(sa: EspSa) {
    const { body, attributes } = sa;
    if (body.id.proto !== IpProto.ESP) {
      throw new EspError('ERR_ESP_MODE', `An SA of protocol ${body.id.proto}: ESP is ${IpProto.ESP}`);
    }
    if (body.mode !== XfrmMode.TRANSPORT && body.mode !== XfrmMode.TUNNEL) {
      throw new EspError('ERR_ESP_MODE', `Mode ${body.mode}: only transport (0) and tunnel (1) are done here`);
    }
    const { encap } = attributes;
    if (encap !== undefined && encap.type !== EncapType.ESPINUDP) {
      throw new EspError('ERR_ESP_ENCAP', `Encapsulation ${encap.type}: only ESP in UDP (2) is done here`);
    }
    this.#suite = suiteOf(sa);
    this.spi = body.id.spi;
    this.family = body.family;
    this.mode = body.mode;
    this.esn = (body.flags & SaFlag.ESN) !== 0;
    this.#flags = body.flags;
    this.#outer = body.mode === XfrmMode.TUNNEL ? new OuterHeader(sa) : undefined;
    this.#encap = encap;
    this.#tfcBytes = attributes.tfcpad ?? 0;
    this.#mayWrap = ((attributes.saExtraFlags ?? 0) & SaExtraFlag.OSEQ_MAY_WRAP) !== 0;
  }

  /** By how much a sealed packet is longer than what went in, at most, without TFC padding. */
  get overheadBytesMax(): number {
    const { ivBytes, icvBytes, blockBytes } = this.#suite;
    const padded = blockBytes - 1 + ESP_TRAILER_BYTES;
    const udp = this.#encap === undefined ? 0 : UDP_BYTES;
    return (this.#outer?.bytes ?? 0) + udp + ESP_HEADER_BYTES + ivBytes + padded + icvBytes;
  }

  /**
   * Protects the IP packet with the given number and writes the outer packet to the start of `into`, which must not overlap it. Returns its
   * length. The inner packet is taken as it is: nothing is decremented or fragmented.
   *
   * @throws EspError if it is no sound packet, if it does not fit into `into` or into IP, or if its number would repeat an IV
   */
  seal(packet: Uint8Array, seq: number, seqHi: number, into: Uint8Array): number {
    const ip = this.#ip;
    const refusal = parseIp(packet, 0, packet.length, ip);
    if (refusal !== undefined) throw new EspError('ERR_ESP_PACKET', `No IP packet to protect: ${refusal}`);
    const suite = this.#suite;
    if (suite.iv === 'sequence' && this.#mayWrap && !this.esn) {
      throw new EspError('ERR_ESP_SEQUENCE', 'An SA whose numbers may wrap would repeat IVs: use ESN, or AES-CBC');
    }
    const outer = this.#outer;
    if (outer === undefined) this.#checkTransport();
    const headerBytes = outer?.bytes ?? ip.headerBytes;
    const from = outer === undefined ? ip.headerBytes : 0;
    const payload = ip.totalBytes - from;
    // TFC padding (RFC 4303 section 2.7) stands in front of the other, and only where the inner header tells the length.
    const padded = outer === undefined ? payload : Math.max(payload, this.#tfcBytes);
    const { ivBytes, icvBytes, blockBytes } = suite;
    const plain = Math.ceil((padded + ESP_TRAILER_BYTES) / blockBytes) * blockBytes;
    const esp = headerBytes + (this.#encap === undefined ? 0 : UDP_BYTES);
    const plainAt = esp + ESP_HEADER_BYTES + ivBytes;
    const total = plainAt + plain + icvBytes;
    this.#checkLength(total, into);

    writeU32(into, esp, this.spi);
    writeU32(into, esp + 4, seq);
    this.#writeIv(into, esp + ESP_HEADER_BYTES, seq, seqHi);
    into.set(packet.subarray(from, ip.totalBytes), plainAt);
    into.fill(0, plainAt + payload, plainAt + padded);
    const padLength = plain - padded - ESP_TRAILER_BYTES;
    for (let i = 0; i < padLength; i++) into[plainAt + padded + i] = i + 1;
    into[plainAt + plain - 2] = padLength;
    const tunnelled = ip.family === AddressFamily.INET ? IpProto.IPIP : IpProto.IPV6;
    into[plainAt + plain - 1] = outer === undefined ? ip.nextHeader : tunnelled;
    suite.seal(into, esp, plainAt + plain, seqHi);

    const next = this.#encap === undefined ? IpProto.ESP : IpProto.UDP;
    if (outer !== undefined) outer.write(into, ip, next, total);
    else {
      into.set(packet.subarray(0, headerBytes));
      rewriteHeader(into, 0, ip, next, total);
    }
    if (this.#encap !== undefined) {
      const { sport, dport } = this.#encap;
      writeUdp(into, headerBytes, 0, this.family, sport, dport, total - esp);
    }
    return total;
  }

  /**
   * Opens the ESP packet in the IP packet at `at`, which `parseEsp` has described; `seqHi` is the upper half of its number as the window infers
   * it. The IP packet that was inside is written to the start of `into`, which must not overlap it. Nothing of a packet with a wrong
   * signature is looked at. Padding is dropped unseen, as Linux does it: whoever signed the packet has written it.
   */
  open(packet: Uint8Array, at: number, facts: EspFacts, seqHi: number, into: Uint8Array, opened: Opened): Opened {
    const { ivBytes, icvBytes, blockBytes } = this.#suite;
    const esp = at + facts.espAt;
    const end = at + facts.espEnd;
    const plain = end - esp - ESP_HEADER_BYTES - ivBytes - icvBytes;
    opened.length = 0;
    opened.bytes = 0;
    if (plain < blockBytes || plain % blockBytes !== 0) return judged(opened, 'TRUNCATED');
    if (clear.length < plain) clear = new Uint8Array(plain);
    if (!this.#suite.open(packet, esp, end, seqHi, clear, 0)) return judged(opened, 'INTEGRITY');
    const length = plain - ESP_TRAILER_BYTES - (clear[plain - 2] as number);
    const nextHeader = clear[plain - 1] as number;
    if (length < 0) return judged(opened, 'PADDING');
    if (nextHeader === NO_NEXT_HEADER) return judged(opened, 'DUMMY');
    opened.bytes = length;
    return this.#outer === undefined
      ? this.#openTransport(packet, at, facts, nextHeader, length, into, opened)
      : this.#openTunnel(facts, nextHeader, length, into, opened);
  }

  #openTransport(
    packet: Uint8Array,
    at: number,
    facts: EspFacts,
    nextHeader: number,
    length: number,
    into: Uint8Array,
    opened: Opened,
  ): Opened {
    const { headerBytes } = facts;
    const total = headerBytes + length;
    if (total > into.length) return judged(opened, 'TOO_LONG');
    into.set(packet.subarray(at, at + headerBytes));
    into.set(clear.subarray(0, length), headerBytes);
    rewriteHeader(into, 0, facts, nextHeader, total);
    opened.length = total;
    return judged(opened, 'OK');
  }

  #openTunnel(facts: EspFacts, nextHeader: number, length: number, into: Uint8Array, opened: Opened): Opened {
    const inner = this.#ip;
    const family =
      nextHeader === IpProto.IPIP ? AddressFamily.INET : nextHeader === IpProto.IPV6 ? AddressFamily.INET6 : 0;
    if (parseIp(clear, 0, length, inner) !== undefined || inner.family !== family) return judged(opened, 'INNER');
    // What is longer than the packet says is TFC padding.
    if (inner.totalBytes > into.length) return judged(opened, 'TOO_LONG');
    into.set(clear.subarray(0, inner.totalBytes));
    decapsulateTos(into, inner, facts.tos, this.#flags);
    opened.length = inner.totalBytes;
    return judged(opened, 'OK');
  }

  #checkTransport(): void {
    if (this.#ip.family !== this.family) {
      throw new EspError('ERR_ESP_TRANSPORT', 'Transport mode cannot change the family: use a tunnel');
    }
    // RFC 4303 section 3.3: transport mode is for whole packets.
    if (this.#ip.isFragment) {
      throw new EspError('ERR_ESP_TRANSPORT', 'Transport mode takes no fragments: put the packet together first');
    }
  }

  #checkLength(total: number, into: Uint8Array): void {
    const max = this.family === AddressFamily.INET6 ? TOTAL_BYTES_MAX + IPV6_BYTES : TOTAL_BYTES_MAX;
    if (total > max) throw new EspError('ERR_ESP_TOO_LONG', `${total} bytes: an IP packet has at most ${max}`);
    if (total > into.length) {
      throw new EspError('ERR_ESP_TOO_LONG', `${total} bytes do not fit into a buffer of ${into.length}`);
    }
  }

  #writeIv(into: Uint8Array, at: number, seq: number, seqHi: number): void {
    const { iv, ivBytes } = this.#suite;
    if (iv === 'sequence') {
      writeU32(into, at, this.esn ? seqHi : 0);
      writeU32(into, at + 4, seq);
    } else if (iv === 'random') {
      writeRandom(into, at, ivBytes);
    }
  }
}

function judged(opened: Opened, verdict: EspVerdict): Opened {
  opened.verdict = verdict;
  return opened;
}

/**
 * Makes the ESP of an SA, from what the kernel shows of it or what NEWSA adds.
 *
 * @throws EspError if it is not done here: other protocols, modes, encapsulations or algorithms, encryption without integrity
 * @example
 * const transform = espTransform(await client.getSa(id));
 * const length = transform.seal(packet, seq, 0, buffer);
 */
export function espTransform(sa: EspSa): EspTransform {
  return new EspTransform(sa);
}
