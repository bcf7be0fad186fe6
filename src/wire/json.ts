import type { Meaning } from './layout.ts';

/** Values of messages as plain JSON: what all protocols write alike. */

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export interface JsonOptions {
  readonly showKeys?: boolean;
}

/** An enumeration by name, a set of bits as a list of names; what has no name as a number. */
export function namedToJson({ names, bits }: Meaning, value: number): Json {
  const entries = Object.entries(names);
  if (!bits) return entries.find(([, number]) => number === value)?.[0].toLowerCase() ?? value;
  const known = entries.filter(([, bit]) => (value & bit) !== 0);
  const left = known.reduce((rest, [, bit]) => rest & ~bit, value) >>> 0;
  return [...known.map(([text]) => text.toLowerCase()), ...(left === 0 ? [] : [`0x${left.toString(16)}`])];
}

/** A number up to 2^53-1, decimal text beyond. */
export const bigNumberToJson = (value: bigint): Json =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();

export const bytesToJson = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Key material: its length, unless it was asked for. */
export const secretToJson = (bytes: Uint8Array, { showKeys }: JsonOptions): string =>
  showKeys ? bytesToJson(bytes) : `(${bytes.length} bytes hidden)`;

export const wordToJson = (word: number): string => `0x${word.toString(16).padStart(8, '0')}`;

export function formatSpi(spi: number): string {
  return wordToJson(spi);
}
