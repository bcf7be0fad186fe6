import { type Address, AddressFamily, EncodeError, formatAddress, parseAddress } from '../wire/index.ts';
import { sockaddrIn, sockaddrIn6 } from './structs.ts';

/** An IPv4 or IPv6 socket address. `port` is in host order; `flowinfo` and `scopeId` are of IPv6 alone, 0 where they are left out. */
export interface Sockaddr {
  family: number;
  port: number;
  address: Address;
  flowinfo?: number;
  scopeId?: number;
}

/** Two addresses of one family, one directly behind the other (af_key.c:parse_sockaddr_pair). */
export interface SockaddrPair {
  src: Sockaddr;
  dst: Sockaddr;
}

/** sizeof(struct sockaddr_in or sockaddr_in6); undefined for any other family. */
function sockaddrBytes(family: number): number | undefined {
  if (family === AddressFamily.INET) return sockaddrIn.size;
  return family === AddressFamily.INET6 ? sockaddrIn6.size : undefined;
}

/** @throws EncodeError for a family that has no socket address here */
export function sockaddrSize({ family }: Sockaddr): number {
  const size = sockaddrBytes(family);
  if (size === undefined) throw new EncodeError('family', `${String(family)} is neither IPv4 (2) nor IPv6 (10)`);
  return size;
}

/** The address at `at`; undefined if it is of another family, or does not end before `end`. */
export function readSockaddr(view: DataView, at: number, end: number): Sockaddr | undefined {
  if (end - at >= sockaddrIn.size) {
    const { family, port, addr } = sockaddrIn.read(view, at);
    if (family === AddressFamily.INET) return { family, port, address: { w0: addr, w1: 0, w2: 0, w3: 0 } };
  }
  if (end - at < sockaddrIn6.size) return undefined;
  const { family, port, flowinfo, addr, scopeId } = sockaddrIn6.read(view, at);
  return family === AddressFamily.INET6 ? { family, port, address: addr, flowinfo, scopeId } : undefined;
}

export function writeSockaddr(view: DataView, at: number, value: Sockaddr): void {
  const { family, port, address, flowinfo = 0, scopeId = 0 } = value;
  if (family === AddressFamily.INET) sockaddrIn.write(view, at, { family, port, addr: address.w0 });
  else sockaddrIn6.write(view, at, { family, port, flowinfo, addr: address, scopeId });
}

export const sockaddrPadding = ({ family }: Sockaddr): readonly (readonly [number, number])[] =>
  family === AddressFamily.INET ? sockaddrIn.padding : [];

/** The two addresses from `at` on; undefined if there are none. */
export function readPair(view: DataView, at: number, end: number): SockaddrPair | undefined {
  const src = readSockaddr(view, at, end);
  if (src === undefined) return undefined;
  const dst = readSockaddr(view, at + sockaddrSize(src), end);
  return dst?.family === src.family ? { src, dst } : undefined;
}

/** @throws EncodeError if the two are of different families */
export function pairSize({ src, dst }: SockaddrPair): number {
  if (src.family !== dst.family) throw new EncodeError('dst.family', `${dst.family} differs from that of src`);
  return 2 * sockaddrSize(src);
}

export function writePair(view: DataView, at: number, { src, dst }: SockaddrPair): void {
  writeSockaddr(view, at, src);
  writeSockaddr(view, at + sockaddrSize(src), dst);
}

export function pairPadding({ src, dst }: SockaddrPair): readonly (readonly [number, number])[] {
  const size = sockaddrSize(src);
  return [...sockaddrPadding(src), ...sockaddrPadding(dst).map(([o, n]) => [o + size, n] as const)];
}

/** `10.9.0.1`, `10.9.0.1:500`, `fd09::1`, `[fe80::1%2]:500`; a flow label, which nobody sets, is written behind. */
export function formatSockaddr({ family, port, address, flowinfo = 0, scopeId = 0 }: Sockaddr): string {
  const host = `${formatAddress(address, family)}${scopeId === 0 ? '' : `%${scopeId}`}`;
  const withPort = port === 0 ? host : family === AddressFamily.INET6 ? `[${host}]:${port}` : `${host}:${port}`;
  return flowinfo === 0 ? withPort : `${withPort} flowinfo ${flowinfo}`;
}

const FORM =
  /^(?:\[([\da-f:.]+)(?:%(\d+))?\]:(\d+)|(\d+\.\d+\.\d+\.\d+):(\d+)|([\da-f:.]+)(?:%(\d+))?)(?: flowinfo (\d+))?$/i;

/** The way back from `formatSockaddr`; undefined for text that is no socket address. */
export function parseSockaddr(text: string): Sockaddr | undefined {
  const [, host6, scope6, port6, host4, port4, host, scope, flow] = FORM.exec(text) ?? [];
  const parsed = parseAddress(host6 ?? host4 ?? host ?? '');
  if (parsed === undefined) return undefined;
  const { address, family } = parsed;
  const [port, flowinfo, scopeId] = [port6 ?? port4 ?? 0, flow ?? 0, scope6 ?? scope ?? 0].map(Number) as [
    number,
    number,
    number,
  ];
  if (port > 0xffff || flowinfo > 0xffff_ffff || scopeId > 0xffff_ffff) return undefined;
  if (family === AddressFamily.INET6) return { family, port, address, flowinfo, scopeId };
  return flowinfo === 0 && scopeId === 0 && host6 === undefined ? { family, port, address } : undefined;
}
