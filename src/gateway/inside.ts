import { openTun } from '../kernel/linux/index.ts';
import { type Endpoint, openUdp } from './udp.ts';

/** Where packets to protect come from, and where those that were unprotected go. */
export type Inside = { readonly tun: string } | { readonly listen: Endpoint; readonly to: Endpoint };

export interface InsidePort {
  /** One IP packet. */
  send(packet: Uint8Array): void;
  /** To the partner, which treats it as its own; undefined without one, or where its port cannot be reached so. */
  readonly passOn: ((packet: Uint8Array) => void) | undefined;
  /** Tells who is at the other end that this gateway is the one now. */
  announce(): void;
  close(): void;
}

export interface InsideEvents {
  /** One IP packet; the bytes are valid during the call. */
  onPacket(packet: Uint8Array): void;
  onError(error: Error): void;
}

const NOTHING = new Uint8Array(0);

/** @throws KernelError for a TUN device, Error for a port that cannot be opened */
export async function openInside(
  inside: Inside,
  partner: Endpoint | undefined,
  events: InsideEvents,
): Promise<InsidePort> {
  if ('tun' in inside) {
    const tun = await openTun(inside.tun, events);
    return {
      send: (packet) => void tun.write(packet),
      passOn: undefined,
      // Whoever routes to the device is on this machine.
      announce: () => {},
      close: () => tun.close(),
    };
  }
  const { to } = inside;
  const socket = await openUdp('gateway.inside.listen', inside.listen, events.onError, (bytes, from) => {
    // Packets are taken from whom they are given to, and from the partner.
    const { address: host, port } = from;
    if (bytes.length > 0 && [to, partner].some((end) => end?.host === host && end.port === port))
      events.onPacket(bytes);
  });
  return {
    send: (packet) => socket.send(packet, to),
    passOn: partner && ((packet) => socket.send(packet, partner)),
    announce: () => socket.send(NOTHING, to),
    close: () => socket.close(),
  };
}
