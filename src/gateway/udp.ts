import { createSocket, type RemoteInfo } from 'node:dgram';
import { isIPv6 } from 'node:net';

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface UdpPort {
  /** Errors of a single datagram (nobody there, no route) are those of a network: it is lost. */
  send(bytes: Uint8Array, to: Endpoint): void;
  close(): void;
}

/** What is asked for; the system gives what its limits allow (net.core.rmem_max). */
const BUFFER_BYTES = 4 << 20;

/** `key`: what the configuration calls it. @throws Error if the port cannot be opened */
export function openUdp(
  key: string,
  { host, port }: Endpoint,
  onError: (error: Error) => void,
  onDatagram: (bytes: Buffer, from: RemoteInfo) => void,
): Promise<UdpPort> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    let closed = false;
    socket.once('error', (cause) => {
      reject(new Error(`${key}: cannot listen on ${host} port ${port}: ${cause.message}`, { cause }));
    });
    socket.bind({ address: host, port }, () => {
      try {
        socket.setRecvBufferSize(BUFFER_BYTES);
        socket.setSendBufferSize(BUFFER_BYTES);
      } catch {
        // BSD refuses what Linux would cut to its limit: then the system's own sizes have to do.
      }
      socket.removeAllListeners('error').on('error', onError).on('message', onDatagram);
      resolve({
        send(bytes, to) {
          // A copy: Node sends on a later turn, and what is in `bytes` by then is another packet.
          if (!closed) socket.send(Buffer.from(bytes), to.port, to.host, () => {});
        },
        close() {
          if (closed) return;
          closed = true;
          socket.close();
        },
      });
    });
  });
}
