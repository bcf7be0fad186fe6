import { EspDataPlane, type InboundVerdict, type OutboundVerdict } from '../esp/index.ts';
import type { EmulatedNamespace } from '../kernel/emulated/index.ts';
import { type Address, AddressFamily, formatAddress, IpProto, PolicyDir, parseAddress } from '../xfrm/index.ts';
import { Hold } from './hold.ts';
import { type Inside, type InsidePort, openInside } from './inside.ts';
import { type Endpoint, openUdp, type UdpPort } from './udp.ts';

export interface GatewayOptions {
  /** The UDP port for ESP. */
  readonly listen: Endpoint;
  /** The gateway's own outer addresses, as SAs name them: at most one of each family. */
  readonly addresses: readonly string[];
  /** Remote outer addresses, as SAs name them, and the UDP port behind which each is. */
  readonly remotes: readonly { readonly address: string; readonly at: Endpoint }[];
  readonly inside: Inside;
  /** The other gateway of a pair: gets what still arrives here after `release`. */
  readonly partner?: { readonly outside: Endpoint; readonly inside?: Endpoint | undefined } | undefined;
}

export interface GatewayEvents {
  /** The gateway has ended. */
  onError(error: Error): void;
  /** Something that an operator should know; said once. */
  onTrouble(text: string): void;
}

export type GatewayCounts = Readonly<Partial<Record<OutboundVerdict | InboundVerdict | 'UNKNOWN', number>>>;

export interface Gateway {
  /** What became of packets, by verdict; `UNKNOWN`: from or to an address that is not configured. */
  readonly counts: GatewayCounts;
  /** From now on packets are taken; first those that came in the last moments. Tells remotes and inside that the gateway is here. */
  start(): void;
  /** No more packets are taken; what still arrives goes to the partner. */
  release(): void;
  close(): void;
}

/** RFC 3948 section 2.3; and how often it tells the path that somebody is here. */
const KEEPALIVE = Uint8Array.of(0xff);
const ANNOUNCE_MS = 20_000;
/** The port that SAs name; the ports of the configuration stand for it. */
const NAT_T_PORT = 4500;
const UDP_BYTES = 8;
const IPV6_BYTES = 40;

/**
 * ESP in UDP (RFC 3948) between configured endpoints, for an emulated kernel: packets from inside go through policies and SAs and out, and
 * the other way round. Not switched on at first: what arrives before `start` is held for some seconds.
 *
 * @throws Error if a port cannot be opened, KernelError for a TUN device
 */
export async function openGateway(
  kernel: EmulatedNamespace,
  options: GatewayOptions,
  events: GatewayEvents,
): Promise<Gateway> {
  const gateway = new UdpGateway(kernel, options, events);
  try {
    await gateway.open();
  } catch (error) {
    gateway.close();
    throw error;
  }
  return gateway;
}

interface Remote {
  readonly family: number;
  readonly address: Address;
  readonly at: Endpoint;
}

type Handle = (packet: Uint8Array) => void;

class UdpGateway implements Gateway {
  readonly counts: Partial<Record<OutboundVerdict | InboundVerdict | 'UNKNOWN', number>> = {};
  readonly #options: GatewayOptions;
  readonly #events: GatewayEvents;
  readonly #plane: EspDataPlane;
  readonly #own = new Map<number, Address>();
  readonly #byEndpoint = new Map<string, Remote>();
  readonly #byAddress = new Map<string, Remote>();
  readonly #hold = new Hold();
  #state: 'off' | 'on' | 'released' = 'off';
  #outside: UdpPort | undefined;
  #inside: InsidePort | undefined;
  #announcing: NodeJS.Timeout | undefined;
  #catchingUp: NodeJS.Timeout | undefined;
  #warned = new Set<string>();
  #closed = false;

  constructor(kernel: EmulatedNamespace, options: GatewayOptions, events: GatewayEvents) {
    this.#options = options;
    this.#events = events;
    this.#plane = new EspDataPlane(kernel, { policyDir: PolicyDir.FWD });
    for (const text of options.addresses) {
      const { family, address } = addressOf(text);
      if (this.#own.has(family)) throw new Error('gateway.addresses: at most one address of each family');
      this.#own.set(family, address);
    }
    for (const { address: text, at } of options.remotes) {
      const remote = { ...addressOf(text), at };
      if (!this.#own.has(remote.family))
        throw new Error(`gateway.addresses: none is of the family of the remote ${text}`);
      this.#byAddress.set(keyOf(remote.family, remote.address), remote);
      this.#byEndpoint.set(`${at.host} ${at.port}`, remote);
    }
  }

  async open(): Promise<void> {
    const { listen, inside, partner } = this.#options;
    const onError = (error: Error): void => this.#fail(error);
    const passOnOutside: Handle | undefined = partner && ((bytes) => this.#outside?.send(bytes, partner.outside));
    this.#outside = await openUdp('gateway.listen', listen, onError, (bytes, { address, port }) => {
      const remote = this.#byEndpoint.get(`${address} ${port}`) ?? this.#handedOn(bytes, address, port);
      if (remote === undefined) this.#count('UNKNOWN');
      else this.#take(bytes, (packet) => this.#inbound(packet, remote), passOnOutside);
    });
    const port = await openInside(inside, partner?.inside, {
      onPacket: (bytes) => this.#take(bytes, (packet) => this.#outbound(packet), port.passOn),
      onError,
    });
    this.#inside = port;
  }

  start(): void {
    if (this.#closed || this.#state === 'on') return;
    this.#state = 'on';
    this.#announce();
    this.#catchUp();
    this.#announcing = setInterval(() => this.#announce(), ANNOUNCE_MS);
  }

  release(): void {
    if (this.#state !== 'on') return;
    this.#state = 'released';
    clearInterval(this.#announcing);
    clearTimeout(this.#catchingUp);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#announcing);
    clearTimeout(this.#catchingUp);
    this.#outside?.close();
    this.#inside?.close();
    this.#plane[Symbol.dispose]();
  }

  /** What was held goes on in portions: those who get it have socket buffers of a few hundred packets. What comes meanwhile waits behind it. */
  #catchUp(): void {
    this.#hold.release(CATCH_UP.packets);
    if (!this.#hold.isEmpty) this.#catchingUp = setTimeout(() => this.#catchUp(), CATCH_UP.everyMs);
  }

  /** Does with the packet what the state of the gateway says. */
  #take(bytes: Uint8Array, handle: Handle, passOn: Handle | undefined): void {
    if (this.#state === 'on' && this.#hold.isEmpty) handle(bytes);
    else if (this.#state === 'released' && passOn !== undefined) passOn(bytes);
    else this.#hold.put(bytes, handle);
  }

  #inbound(payload: Uint8Array, { family, address }: Remote): void {
    const daddr = this.#own.get(family) as Address;
    const ends = { family, saddr: address, daddr, sport: NAT_T_PORT, dport: NAT_T_PORT };
    const { verdict, packet, error } = this.#plane.inboundUdp(payload, ends);
    this.#count(verdict);
    if (verdict === 'OPENED') this.#inside?.send(packet);
    else if (error !== undefined) this.#warn(error.message);
  }

  #outbound(inner: Uint8Array): void {
    const { verdict, packet, error } = this.#plane.outbound(inner);
    this.#count(verdict);
    if (error !== undefined) this.#warn(error.message);
    if (verdict !== 'SEALED') return;
    const isIpv4 = (packet[0] as number) >> 4 === 4;
    const headerBytes = isIpv4 ? 4 * ((packet[0] as number) & 15) : IPV6_BYTES;
    const family = isIpv4 ? AddressFamily.INET : AddressFamily.INET6;
    const daddr = readAddress(packet, isIpv4);
    const remote = this.#byAddress.get(keyOf(family, daddr));
    if (remote === undefined) {
      this.#count('UNKNOWN');
      this.#warn(
        `gateway.remotes has no ${formatAddress(daddr, family)}, to which an SA goes: its packets are dropped`,
      );
    } else if (packet[isIpv4 ? 9 : 6] !== IpProto.UDP) {
      this.#count('UNKNOWN');
      this.#warn('an SA has no UDP encapsulation: its packets are dropped, as this gateway has UDP ports alone');
    } else {
      this.#outside?.send(packet.subarray(headerBytes + UDP_BYTES), remote.at);
    }
  }

  /** What the partner passes on came from one of the remotes; the SA is found without knowing from which. */
  #handedOn(bytes: Uint8Array, address: string, port: number): Remote | undefined {
    const { partner, remotes } = this.#options;
    if (partner === undefined || address !== partner.outside.host || port !== partner.outside.port) return undefined;
    const first = remotes[0];
    return bytes.length === 0 || first === undefined
      ? undefined
      : this.#byEndpoint.get(`${first.at.host} ${first.at.port}`);
  }

  #announce(): void {
    for (const { at } of this.#byAddress.values()) this.#outside?.send(KEEPALIVE, at);
    this.#inside?.announce();
  }

  #count(verdict: keyof GatewayCounts): void {
    this.counts[verdict] = (this.counts[verdict] ?? 0) + 1;
  }

  #warn(text: string): void {
    if (this.#warned.size >= WARNINGS_MAX || this.#warned.has(text)) return;
    this.#warned.add(text);
    this.#events.onTrouble(text);
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.close();
    this.#events.onError(error);
  }
}

const WARNINGS_MAX = 100;
const CATCH_UP = { packets: 32, everyMs: 2 } as const;

function addressOf(text: string): { family: number; address: Address } {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`gateway: "${text}" is no address`);
  return parsed;
}

const keyOf = (family: number, { w0, w1, w2, w3 }: Address): string =>
  family === AddressFamily.INET ? `${w0}` : `${w0} ${w1} ${w2} ${w3}`;

/** The destination of an IP packet. */
function readAddress(packet: Uint8Array, isIpv4: boolean): Address {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  if (isIpv4) return { w0: view.getUint32(16), w1: 0, w2: 0, w3: 0 };
  return { w0: view.getUint32(24), w1: view.getUint32(28), w2: view.getUint32(32), w3: view.getUint32(36) };
}
