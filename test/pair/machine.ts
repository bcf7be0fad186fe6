import type { Kernel } from '../../src/kernel/index.ts';

/**
 * Two gateways and the host at the far end of their SAs, with the wire between them in the test's hand: a packet that leaves a host is
 * recorded and goes nowhere, until the test lets it arrive, at whichever host and as often as it likes. On emulated kernels
 * (emulated-machine.ts) and on Linux (linux-machine.ts).
 */

export const HOSTS = ['a', 'b', 'peer'] as const;
export type Host = (typeof HOSTS)[number];
export const GATEWAYS = ['a', 'b'] as const;
export type Gateway = (typeof GATEWAYS)[number];

/** The address that both gateways have, as only one of them is on the air at a time, and the far end's. */
export const ADDRESSES: Readonly<Record<Host, string>> = { a: '192.0.2.10', b: '192.0.2.10', peer: '192.0.2.2' };
/** Applications of connection n send from this port plus n to the same one at the other end. */
export const PORT = 7000;

/** An ESP packet that has left a host. */
export interface Packet {
  readonly from: Host;
  readonly spi: number;
  /** As on the wire: 32 bits. */
  readonly seq: number;
}

export interface Machine extends AsyncDisposable {
  /** Which kernel it is. */
  readonly name: string;
  readonly kernels: Readonly<Record<Host, Kernel>>;
  /** The application of a connection sends so many datagrams, in one turn of the event loop; what left the host as ESP. */
  transmit(host: Host, connection: number, count: number): Promise<Packet[]>;
  /** Packets arrive at a host, in this order and in one turn of the event loop; those that reached its application. */
  arrive(host: Host, packets: readonly Packet[]): Promise<Packet[]>;
  /** The kernel's memory is gone, and it is started again. */
  reboot(gateway: Gateway): Promise<void>;
}

/** A machine, with sockets opened for so many connections. */
export type MakeMachine = (connections: number) => Promise<Machine>;
