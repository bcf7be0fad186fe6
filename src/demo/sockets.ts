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
export async function openUdp(onPacket: (packet: Buffer, port: number) => void): Promise<UdpSocket> {
  // Addresses are never looked up: there is one.
  const socket: Socket = createSocket({ type: 'udp4', lookup: (_host, _options, done) => done(null, LOOPBACK, 4) });
  socket.on('message', (packet: Buffer, { port }: RemoteInfo) => onPacket(packet, port));
  // The lookup answers at once, and so may `listening`.
  const listening = once(socket, 'listening');
  socket.bind(0, LOOPBACK);
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

/** `count` UDP ports that were free a moment ago. Another program may take one before it is used: then its user must ask again. */
export async function freeUdpPorts(count: number): Promise<number[]> {
  const sockets = await Promise.all(Array.from({ length: count }, () => openUdp(() => {})));
  const ports = sockets.map(({ port }) => port);
  for (const socket of sockets) socket.close();
  return ports;
}

export async function freeTcpPorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, LOOPBACK));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}
