import { forEachMessage } from '../netlink/index.ts';
import type { Counters, Received } from './target.ts';

/** What the targets have in common. */

export const nothing = (): Received => ({ messages: [], groups: [], datagrams: [], overruns: [] });

/** Adds a datagram, as its messages; bytes at its end that are none count as one. */
export function addDatagram(to: Received, datagram: Uint8Array, group: number): void {
  let count = 0;
  const end = forEachMessage(datagram, (start, length) => {
    to.messages.push(datagram.subarray(start, start + length));
    to.groups.push(group);
    count++;
  });
  if (end < datagram.length) {
    to.messages.push(datagram.subarray(end));
    to.groups.push(group);
    count++;
  }
  to.datagrams.push(count);
}

/** Adds a datagram of PF_KEY, which is one message and was sent to no group. */
export function addPfkey(to: Received, datagram: Uint8Array): void {
  to.messages.push(datagram);
  to.datagrams.push(1);
}

/** The counters that grew, and by how much. */
export function growth(before: Counters, after: Counters): Counters {
  const grown: Record<string, number> = {};
  for (const [name, value] of Object.entries(after)) {
    if (value !== (before[name] ?? 0)) grown[name] = value - (before[name] ?? 0);
  }
  return grown;
}
