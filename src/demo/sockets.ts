import { randomInt } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** UDP and TCP ports of the loopback. */

export const LOOPBACK = '127.0.0.1';

/** What is asked for, so that a busy machine loses nothing; most systems give less, and the demo's rates are made for that. */
const BUFFER_BYTES = 4 << 20;

export interface UdpSocket {
  readonly port: number;
  send(packet: Buffer, port: number): void;
  close(): void;
}

/** A UDP socket at a port that is free. */
export async function openUdp(onPacket: (packet: Buffer, port: number) => void, port = 0): Promise<UdpSocket> {
  // Addresses are never looked up: there is one.
  const socket: Socket = createSocket({ type: 'udp4', lookup: (_host, _options, done) => done(null, LOOPBACK, 4) });
  socket.on('message', (packet: Buffer, { port }: RemoteInfo) => onPacket(packet, port));
  // The lookup answers at once, and so may `listening`.
  const listening = once(socket, 'listening');
  socket.bind(port, LOOPBACK);
  await listening;
  try {
    socket.setRecvBufferSize(BUFFER_BYTES);
  } catch {
    // BSD refuses what Linux would cut to its limit.
  }
  // A port where nobody listens any more may be answered with an error: that is what a dead gateway looks like.
  socket.on('error', () => {});
  return {
    port: socket.address().port,
    send: (packet, port) => socket.send(packet, port, LOOPBACK, () => {}),
    close: () => void socket.close(),
  };
}

/**
 * Ports for later. Outgoing connections get theirs from 32768 on, on Linux, or higher: one of them could have taken a port from there
 * when its owner comes.
 */
const FREE = { from: 10_000, below: 32_768 } as const;
const ATTEMPTS_MAX = 1_000;
const given = new Set<number>();

/** A port that could be opened a moment ago. Another program may take it before it is used: then its user must ask again. */
async function freePort(tryPort: (port: number) => Promise<void>): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = randomInt(FREE.from, FREE.below);
    if (given.has(port)) continue;
    given.add(port);
    try {
      await tryPort(port);
      return port;
    } catch (error) {
      if (attempt >= ATTEMPTS_MAX) throw error;
    }
  }
}

const times = <T>(count: number, make: () => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, make));

export const freeUdpPorts = (count: number): Promise<number[]> =>
  times(count, () => freePort(async (port) => (await openUdp(() => {}, port)).close()));

export const freeTcpPorts = (count: number): Promise<number[]> =>
  times(count, () =>
    freePort(async (port) => {
      const server = createServer().listen(port, LOOPBACK);
      await once(server, 'listening');
      server.close();
      await once(server, 'close');
    }),
  );
