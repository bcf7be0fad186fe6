/** The network outside, and whoever sits on it: relays ESP in UDP between the peer and the gateways, records it, and sends recordings again. */
import { nowMs } from './clock.ts';
import { newestFirst, type Port, type Reuse, reusedNumbers, type Seen, skips } from './recording.ts';
import { openUdp, type UdpSocket } from './sockets.ts';
import { type Gateway, Switch } from './switch.ts';
import { unreadAt } from './unread.ts';

interface Recorded extends Seen {
  readonly bytes: Buffer;
}

/** The UDP ports at the ends of the relay. */
export interface Ends {
  readonly gwa: number;
  readonly gwb: number;
  readonly peer: number;
}

export interface ReplayOptions {
  /** The gateway that holds the shared address, or the peer: each gets what was once sent to it. */
  readonly target: 'active' | 'peer';
  /** Only what was recorded before. */
  readonly beforeMs?: number;
  /** Only so many of each SPI, the newest first. Without it: everything, in the order in which it was recorded. */
  readonly newest?: number;
  /** No more than so many in all. */
  readonly limit?: number;
}

export interface RelayCounts {
  readonly recorded: number;
  readonly holder: Gateway | undefined;
  readonly holderSinceMs: number;
  readonly replayed: number;
}

/** A demo records some ten thousand frames; beyond this something sends without end. */
const FRAMES_MAX = 500_000;
/** SPI and number (RFC 4303, section 2). Shorter is a NAT keepalive, an SPI of 0 is IKE (RFC 3948). */
const ESP_HEADER_BYTES = 8;
/**
 * A default receive buffer holds some 250 of these packets. No more are sent while more than `unreadMax` bytes of it wait for the receiver,
 * which on a busy machine may be held up for long; where that is not known, it may be for 60 ms. What a late timer has missed is not made
 * up for: a busy machine makes replays slower, not more violent.
 */
const REPLAY = { packets: 20, everyMs: 5, unreadMax: 64 << 10 } as const;
/** One that never reads is not waited for longer than this, in one replay. */
const HELD_UP_MAX_MS = 60_000;

export class Relay {
  readonly #outside: UdpSocket;
  readonly #peerSide: UdpSocket;
  readonly #switch = new Switch();
  readonly #recording: Recorded[] = [];
  #ends: Ends | undefined;
  #replayed = 0;
  #closed = false;

  private constructor(outside: UdpSocket, peerSide: UdpSocket) {
    this.#outside = outside;
    this.#peerSide = peerSide;
  }

  static async open(): Promise<Relay> {
    const outside = await openUdp((packet, port) => relay.#fromGateway(packet, port));
    const peerSide = await openUdp((packet, port) => relay.#fromPeer(packet, port));
    const relay = new Relay(outside, peerSide);
    return relay;
  }

  /** Where gateways send what is for the peer, and the peer what is for the gateways. */
  ports(): { forGateways: number; forPeer: number } {
    return { forGateways: this.#outside.port, forPeer: this.#peerSide.port };
  }

  /** Who is behind which port; nothing is relayed before. */
  wire(ends: Ends): void {
    this.#ends = ends;
  }

  counts(): RelayCounts {
    const { holder, sinceMs } = this.#switch;
    return { recorded: this.#recording.length, holder, holderSinceMs: sinceMs, replayed: this.#replayed };
  }

  /** Sends recorded frames once more, each as it was. Returns how many, when their receiver has read them. */
  async replay(options: ReplayOptions): Promise<number> {
    const frames = this.#chosen(options);
    let patienceMs = HELD_UP_MAX_MS;
    const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, REPLAY.everyMs));
    const until = async (unreadMax: number): Promise<void> => {
      const sinceMs = nowMs();
      const isHeldUp = () => nowMs() - sinceMs < patienceMs && this.#unread(options) > unreadMax;
      while (!this.#closed && isHeldUp()) await pause();
      patienceMs -= nowMs() - sinceMs;
    };
    for (let at = 0; at < frames.length && !this.#closed; at += REPLAY.packets) {
      await until(REPLAY.unreadMax);
      for (const { bytes } of frames.slice(at, at + REPLAY.packets)) {
        if (options.target === 'peer') this.#peerSide.send(bytes, this.#portOf('peer'));
        else this.#toGateway(bytes);
        this.#replayed += 1;
      }
      await pause();
    }
    await until(0);
    return frames.length;
  }

  /** Numbers that the gateways used twice: both of them the same one, or one of them for two different packets. */
  reused(): Reuse[] {
    return reusedNumbers(
      this.#recording,
      ({ port }) => port !== 'peer',
      (one, other) => one.port === other.port && one.bytes.equals(other.bytes),
    );
  }

  /** The SPIs that one of them has sent on in a time. */
  spis(ports: readonly Port[], fromMs: number, toMs: number): number[] {
    const found = this.#recording.filter(({ port, atMs }) => ports.includes(port) && atMs >= fromMs && atMs < toMs);
    return [...new Set(found.map(({ spi }) => spi))];
  }

  /** The last number of each SPI that one of them has sent before a time. */
  lastNumbers(from: Port, beforeMs: number): Map<number, number> {
    const last = new Map<number, number>();
    for (const { port, atMs, spi, seq } of this.#recording) {
      if (port === from && atMs < beforeMs) last.set(spi, Math.max(last.get(spi) ?? 0, seq));
    }
    return last;
  }

  /** For each SPI how many numbers were left out between two gateways, one of which followed the other in that time. */
  skips(from: Gateway, to: Gateway, sinceMs: number, untilMs: number): Map<number, number> {
    const seen = this.#recording.filter(({ atMs }) => atMs < untilMs);
    return skips(seen, from, to, sinceMs);
  }

  close(): void {
    this.#closed = true;
    this.#outside.close();
    this.#peerSide.close();
  }

  #chosen({ target, beforeMs = Number.POSITIVE_INFINITY, newest, limit = FRAMES_MAX }: ReplayOptions): Recorded[] {
    const frames = this.#recording.filter(
      ({ port, atMs }) => (target === 'peer') !== (port === 'peer') && atMs < beforeMs,
    );
    return (newest === undefined ? frames : newestFirst(frames, newest)).slice(0, limit);
  }

  /** Bytes that wait to be read by whoever gets a replay; 0 where that is not known. */
  #unread({ target }: ReplayOptions): number {
    const end = target === 'peer' ? 'peer' : this.#switch.holder;
    return end === undefined ? 0 : (unreadAt(this.#portOf(end)) ?? 0);
  }

  #portOf(end: Port): number {
    return this.#ends?.[end] ?? 0;
  }

  #fromGateway(packet: Buffer, port: number): void {
    const from = port === this.#ends?.gwa ? 'gwa' : port === this.#ends?.gwb ? 'gwb' : undefined;
    if (from === undefined) return;
    this.#switch.heard(from);
    this.#record(packet, from);
    this.#peerSide.send(packet, this.#portOf('peer'));
  }

  #fromPeer(packet: Buffer, port: number): void {
    if (port !== this.#ends?.peer) return;
    this.#record(packet, 'peer');
    this.#toGateway(packet);
  }

  #toGateway(packet: Buffer): void {
    const { holder } = this.#switch;
    if (holder !== undefined) this.#outside.send(packet, this.#portOf(holder));
  }

  #record(bytes: Buffer, port: Port): void {
    if (bytes.length < ESP_HEADER_BYTES || bytes.readUInt32BE(0) === 0) return;
    if (this.#recording.length >= FRAMES_MAX) throw new Error(`more than ${FRAMES_MAX} ESP packets were recorded`);
    this.#recording.push({ atMs: nowMs(), port, spi: bytes.readUInt32BE(0), seq: bytes.readUInt32BE(4), bytes });
  }
}
