import { readFileSync } from 'node:fs';

/** What the machine tells of its UDP sockets: Linux does, in the network namespace of whoever reads. */
const SOCKETS = '/proc/net/udp';

/**
 * How many bytes wait at a port to be read, as the kernel counts them against the receive buffer: a small packet takes some 770. Undefined
 * where there is no such socket, or no such file.
 */
export function unreadAt(port: number): number | undefined {
  let text: string;
  try {
    text = readFileSync(SOCKETS, 'latin1');
  } catch {
    return undefined;
  }
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const line of text.split('\n')) {
    const [, local, , , queues] = line.trim().split(/\s+/);
    if (local?.endsWith(wanted)) return Number.parseInt(queues?.split(':')[1] ?? '', 16);
  }
  return undefined;
}
