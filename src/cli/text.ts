import { type Address, formatAddress, IpProto, type Mark, type Selector, XfrmMode } from '../xfrm/index.ts';

/** Pieces of lines for people that SAs, policies and aevents share. */

export function wordOf(table: Readonly<Record<string, number>>, value: number): string {
  return (
    Object.entries(table)
      .find(([, number]) => number === value)?.[0]
      .toLowerCase() ?? String(value)
  );
}

export const protoText = (proto: number): string => (proto === 0 ? 'any' : wordOf(IpProto, proto));
export const modeText = (mode: number): string => wordOf(XfrmMode, mode);

export function markText({ value, mask }: Mark): string {
  return `0x${value.toString(16)}/0x${mask.toString(16)}`;
}

export function bitsText(table: Readonly<Record<string, number>>, value: number): string {
  const names = Object.entries(table).filter(([, bit]) => (value & bit) !== 0);
  const left = names.reduce((rest, [, bit]) => rest & ~bit, value) >>> 0;
  return [...names.map(([name]) => name.toLowerCase()), ...(left === 0 ? [] : [`0x${left.toString(16)}`])].join(', ');
}

function prefixText(address: Address, length: number, family: number): string {
  return `${formatAddress(address, family)}/${length}`;
}

export function selectorText(sel: Selector, family = sel.family): string {
  const own = sel.family === 0 ? family : sel.family;
  const port = (name: string, value: number, mask: number): string =>
    mask === 0 ? '' : ` ${name} ${value}${mask === 0xffff ? '' : `/0x${mask.toString(16)}`}`;
  const proto = sel.proto === 0 ? '' : ` ${protoText(sel.proto)}`;
  const device = sel.ifindex === 0 ? '' : ` ifindex ${sel.ifindex}`;
  return (
    `${prefixText(sel.saddr, sel.prefixlenS, own)} -> ${prefixText(sel.daddr, sel.prefixlenD, own)}` +
    `${proto}${port('sport', sel.sport, sel.sportMask)}${port('dport', sel.dport, sel.dportMask)}${device}`
  );
}

/** Aligned `name  value` lines below a heading; entries without a value are left out. */
export function block(heading: string, rows: readonly (readonly [name: string, value: string | undefined])[]): string {
  const lines = rows.filter(([, value]) => value !== undefined && value !== '');
  const width = Math.max(0, ...lines.map(([name]) => name.length));
  return [heading, ...lines.map(([name, value]) => `    ${name.padEnd(width)}  ${value}`)].join('\n');
}

/** A 64-bit sequence number of two halves. */
export const wide = (hi: number, lo: number): bigint => (BigInt(hi) << 32n) | BigInt(lo);
