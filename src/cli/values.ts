import { readFileSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { type Address, AddressFamily, IpProto, type Mark, parseAddress, type Selector } from '../xfrm/index.ts';

/** What the words on a command line stand for. Each reader throws commander's InvalidArgumentError, which names the option. */

const U32_MAX = 0xffff_ffffn;
const U64_MAX = 0xffff_ffff_ffff_ffffn;

function bigNumber(text: string, max: bigint = U64_MAX): bigint {
  if (!/^(0x[0-9a-f]+|\d+)$/i.test(text)) throw new InvalidArgumentError('Give a whole number, decimal or 0x...');
  const value = BigInt(text);
  if (value > max) throw new InvalidArgumentError(`At most ${max} is possible.`);
  return value;
}

export const u64 = (text: string): bigint => bigNumber(text);
export const u32 = (text: string): number => Number(bigNumber(text, U32_MAX));
export const u16 = (text: string): number => Number(bigNumber(text, 0xffffn));

export function atLeastOne(text: string): number {
  const value = u32(text);
  if (value === 0) throw new InvalidArgumentError('Give a number above 0.');
  return value;
}

/** A word of a table such as XfrmMode, in any case, or a number of it. */
export function word(table: Readonly<Record<string, number>>, max: number): (text: string) => number {
  return (text) => {
    const found = Object.entries(table).find(([name]) => name.toLowerCase() === text.toLowerCase());
    if (found) return found[1];
    if (/^(0x[0-9a-f]+|\d+)$/i.test(text)) return Number(bigNumber(text, BigInt(max)));
    throw new InvalidArgumentError(`Choose one of ${Object.keys(table).join(', ').toLowerCase()}, or a number.`);
  };
}

/** Bits by name, separated by commas. */
export function bits(table: Readonly<Record<string, number>>): (text: string) => number {
  const one = word(table, 0xffff_ffff);
  return (text) => text.split(',').reduce((set, bit) => (set | one(bit.trim())) >>> 0, 0);
}

export const proto = word(IpProto, 0xff);

export interface Host {
  readonly address: Address;
  readonly family: number;
  readonly text: string;
}

export function host(text: string): Host {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new InvalidArgumentError(`'${text}' is not an IPv4 or IPv6 address.`);
  return { ...parsed, text };
}

export interface Prefix extends Host {
  readonly length: number;
}

/** `10.0.0.0/8`; a bare address stands for itself alone. */
export function prefix(text: string): Prefix {
  const [name = '', length, more] = text.split('/');
  const { address, family } = host(name);
  const bits = family === AddressFamily.INET ? 32 : 128;
  if (more !== undefined || (length !== undefined && !/^\d{1,3}$/.test(length)) || Number(length ?? 0) > bits)
    throw new InvalidArgumentError(`'${text}' has no prefix length from 0 to ${bits}.`);
  return { address, family, length: length === undefined ? bits : Number(length), text };
}

export function mark(text: string): Mark {
  const [value = '', mask = '0xffffffff', more] = text.split('/');
  if (more !== undefined) throw new InvalidArgumentError('Give VALUE or VALUE/MASK.');
  return { value: u32(value), mask: u32(mask) };
}

/** Bytes in hexadecimal; spaces and colons between them do no harm. The value is never repeated: it may be a key. */
export function hexBytes(text: string): Uint8Array {
  const digits = text.replace(/^0x/i, '').replace(/[\s:]/g, '');
  if (/[^0-9a-f]/i.test(digits)) throw new InvalidArgumentError('only hexadecimal digits will do');
  if (digits.length % 2 !== 0)
    throw new InvalidArgumentError(`${digits.length} hexadecimal digits are no whole number of bytes`);
  return new Uint8Array(Buffer.from(digits, 'hex'));
}

/** A key in hexadecimal, or `@` and the name of a file that holds it so. */
export function keyBytes(text: string): Uint8Array {
  if (!text.startsWith('@')) return hexBytes(text);
  let digits: string;
  try {
    digits = readFileSync(text.slice(1), 'latin1');
  } catch (error) {
    throw new InvalidArgumentError(`cannot read the file: ${(error as Error).message}`);
  }
  return hexBytes(digits.trim());
}

/** The values of a repeatable option. */
export function repeated<T>(read: (text: string) => T): (text: string, before: T[] | undefined) => T[] {
  return (text, before = []) => [...before, read(text)];
}

/** A selector of two prefixes of one family; without them of any address. */
export function selectorOf(parts: {
  readonly src?: Prefix | undefined;
  readonly dst?: Prefix | undefined;
  readonly proto?: number | undefined;
  readonly sport?: number | undefined;
  readonly dport?: number | undefined;
  readonly family?: number | undefined;
}): Selector {
  const { src, dst, sport, dport } = parts;
  const family = src?.family ?? dst?.family ?? parts.family ?? AddressFamily.UNSPEC;
  if (src && dst && src.family !== dst.family)
    throw new InvalidArgumentError(`${src.text} and ${dst.text} are of different address families.`);
  const any: Address = { w0: 0, w1: 0, w2: 0, w3: 0 };
  return {
    daddr: dst?.address ?? any,
    saddr: src?.address ?? any,
    dport: dport ?? 0,
    dportMask: dport === undefined ? 0 : 0xffff,
    sport: sport ?? 0,
    sportMask: sport === undefined ? 0 : 0xffff,
    family,
    prefixlenD: dst?.length ?? 0,
    prefixlenS: src?.length ?? 0,
    proto: parts.proto ?? 0,
    ifindex: 0,
    user: 0,
  };
}

/** `SRC,DST[,proto[,sport[,dport]]]`; a port that is left empty is any port. */
export function selector(text: string): Selector {
  const [src, dst, protoWord, sport, dport, more] = text.split(',').map((part) => part.trim());
  if (!src || !dst || more !== undefined) throw new InvalidArgumentError('Give SRC,DST[,proto[,sport[,dport]]].');
  return selectorOf({
    src: prefix(src),
    dst: prefix(dst),
    proto: protoWord ? proto(protoWord) : undefined,
    sport: sport ? u16(sport) : undefined,
    dport: dport ? u16(dport) : undefined,
  });
}
