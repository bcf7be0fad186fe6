import { abi, syscallError } from '../kernel/linux/index.ts';
import { hostLittleEndian } from '../netlink/index.ts';
import { parseAddress } from '../xfrm/index.ts';

/** Socket addresses and kinds of sockets that a scenario needs. */

export interface SocketSpec {
  readonly family: number;
  readonly type: number;
  readonly protocol: number;
  /** Level, option, value. */
  readonly options?: readonly (readonly [number, number, number])[];
  readonly address?: Uint8Array;
}

/** Passes on what is no errno. @throws KernelError */
export function checked(syscall: string, what: string, result: number): number {
  if (result < 0) throw syscallError(syscall, -result, what);
  return result;
}

/** The address in network byte order, 4 or 16 bytes. */
export function addressBytes(text: string): { family: number; bytes: Uint8Array } {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`The scenario has an address that is none: ${text}`);
  const { w0, w1, w2, w3 } = parsed.address;
  const bytes = Buffer.alloc(parsed.family === abi.AF_INET ? 4 : 16);
  [w0, w1, w2, w3].slice(0, bytes.length / 4).forEach((word, i) => {
    bytes.writeUInt32BE(word, 4 * i);
  });
  return { family: parsed.family, bytes };
}

/** struct sockaddr_nl. */
export function netlinkAddress(portId: number, groups: number): Uint8Array {
  const words = Uint32Array.of(0, portId, groups);
  new Uint16Array(words.buffer)[0] = abi.AF_NETLINK;
  return new Uint8Array(words.buffer);
}

/** struct sockaddr_in or sockaddr_in6; no text: any address. */
export function inetAddress(family: number, text: string | undefined, port: number): Uint8Array {
  const isIpv4 = family === abi.AF_INET;
  const address = Buffer.alloc(isIpv4 ? 16 : 28);
  writeHost16(address, 0, family);
  address.writeUInt16BE(port, 2);
  if (text !== undefined) address.set(addressBytes(text).bytes, isIpv4 ? 4 : 8);
  return address;
}

/** struct sockaddr_ll: all protocols on one interface. */
export function linkAddress(index: number): Uint8Array {
  const address = Buffer.alloc(20);
  writeHost16(address, 0, abi.AF_PACKET);
  address.writeUInt16BE(abi.ETH_P_ALL, 2);
  new DataView(address.buffer, address.byteOffset).setInt32(4, index, hostLittleEndian);
  return address;
}

export function udpSocket(
  family: number,
  address: string | undefined,
  port: number,
  options: readonly (readonly [number, number, number])[] = [],
): SocketSpec {
  const only = family === abi.AF_INET6 ? ([[abi.IPPROTO_IPV6, abi.IPV6_V6ONLY, 1]] as const) : [];
  return {
    family,
    type: abi.SOCK_DGRAM,
    protocol: 0,
    options: [...only, ...options],
    address: inetAddress(family, address, port),
  };
}

function writeHost16(bytes: Buffer, at: number, value: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint16(at, value, hostLittleEndian);
}
