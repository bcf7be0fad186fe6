import { isIPv4, isIPv6 } from 'node:net';
import { AddressFamily } from './ip.ts';
import { be32, struct, type ValueOf } from './layout.ts';

/** 128 bits as four words in network order. An IPv4 address is `w0`; what the other words hold is of no meaning then. */
export const address = struct('xfrm_address_t', 16, { w0: be32, w1: be32, w2: be32, w3: be32 });

export type Address = ValueOf<typeof address>;

export interface AddressWithFamily {
  readonly address: Address;
  readonly family: number;
}

const zero: Address = { w0: 0, w1: 0, w2: 0, w3: 0 };

/** Reads an IPv4 or IPv6 address in text form; undefined if it is neither. Zone ids are refused. */
export function parseAddress(text: string): AddressWithFamily | undefined {
  if (isIPv4(text)) return { address: { ...zero, w0: ipv4Word(text) }, family: AddressFamily.INET };
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const embedded = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const word = embedded ? ipv4Word(embedded[2] as string) : 0;
  const plain = embedded ? `${embedded[1]}${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}` : text;
  const [left = '', right] = plain.split('::');
  const head = left === '' ? [] : left.split(':');
  const tail = right === undefined || right === '' ? [] : right.split(':');
  const groups = [...head, ...new Array<string>(8 - head.length - tail.length).fill('0'), ...tail].map((g) =>
    parseInt(g, 16),
  );
  const pair = (i: number): number => (((groups[i] as number) << 16) | (groups[i + 1] as number)) >>> 0;
  return { address: { w0: pair(0), w1: pair(2), w2: pair(4), w3: pair(6) }, family: AddressFamily.INET6 };
}

function ipv4Word(text: string): number {
  return text.split('.').reduce((word, octet) => ((word << 8) | Number(octet)) >>> 0, 0);
}

/** Text form; IPv6 as RFC 5952 wants it. Without a family an address with nothing beyond its first word is taken for IPv4. */
export function formatAddress(address: Address, family: number = AddressFamily.UNSPEC): string {
  const { w0, w1, w2, w3 } = address;
  const four = family === AddressFamily.INET || (family !== AddressFamily.INET6 && (w1 | w2 | w3) === 0);
  if (four) return [w0 >>> 24, (w0 >>> 16) & 255, (w0 >>> 8) & 255, w0 & 255].join('.');
  const groups = [w0, w1, w2, w3].flatMap((w) => [w >>> 16, w & 0xffff]);
  let best = 0;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (groups[i + n] === 0) n++;
    if (n > bestLength) [best, bestLength] = [i, n];
  }
  const hex = (part: number[]): string => part.map((g) => g.toString(16)).join(':');
  if (bestLength < 2) return hex(groups);
  return `${hex(groups.slice(0, best))}::${hex(groups.slice(best + bestLength))}`;
}

export function sameAddress(a: Address, b: Address, family: number): boolean {
  return a.w0 === b.w0 && (family === AddressFamily.INET || (a.w1 === b.w1 && a.w2 === b.w2 && a.w3 === b.w3));
}
