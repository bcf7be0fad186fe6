import type { Json, JsonObject } from './json.ts';
import { check, type Scalar } from './layout.ts';

/** The way back from JSON: values of messages. What is missing, unknown or out of range is an error that names its path. */

/** JSON that is no message. `path` names the value, e.g. `attributes.algAead.key`; the value itself is never quoted: it may be a key. */
export class JsonError extends Error {
  override readonly name = 'JsonError';
  readonly code = 'ERR_JSON';
  readonly path: string;

  constructor(path: string, reason: string) {
    super(path === '' ? reason : `${path}: ${reason}`);
    this.path = path;
  }
}

type Numeric = Exclude<keyof typeof check, 'u64'>;

function number(type: string, json: Json, path: string): number {
  const value = typeof json === 'string' && /^(0x[0-9a-f]+|\d+)$/i.test(json) ? Number(json) : json;
  try {
    return check[type as Numeric](value as number, path);
  } catch {
    throw new JsonError(path, `must be a whole number that fits ${type.replace(/\D+/, '')} bits`);
  }
}

/** A number, an enumeration or a set of bits of at most 32 bits. */
export function scalarFromJson(layout: Scalar<number>, json: Json, path: string): number {
  return layout.meaning ? named(layout, json, path) : number(layout.type, json, path);
}

export function bigNumberFromJson(json: Json, path: string): bigint {
  const whole =
    (typeof json === 'number' && Number.isSafeInteger(json)) || (typeof json === 'string' && /^\d+$/.test(json));
  const value = whole ? BigInt(json as number | string) : -1n;
  if (value < 0n || value > 0xffff_ffff_ffff_ffffn)
    throw new JsonError(path, 'must be a whole number from 0 to 2^64-1, as decimal text beyond 2^53-1');
  return value;
}

function named(layout: Scalar<number>, json: Json, path: string): number {
  const { names, bits } = layout.meaning as NonNullable<typeof layout.meaning>;
  const table = new Map(Object.entries(names).map(([name, value]) => [name.toLowerCase(), value]));
  const one = (entry: Json, where: string): number => {
    const found = typeof entry === 'string' ? table.get(entry.toLowerCase()) : undefined;
    if (found !== undefined) return found;
    if (typeof entry === 'string' && !/^(0x[0-9a-f]+|\d+)$/i.test(entry))
      throw new JsonError(where, `must be one of ${[...table.keys()].join(', ')}, or a number`);
    return number(layout.type, entry, where);
  };
  if (bits && Array.isArray(json))
    return json.reduce<number>((set, bit, i) => (set | one(bit, `${path}[${i}]`)) >>> 0, 0);
  return one(json, path);
}

/** Latin-1 text without NUL. */
export function textFromJson(json: Json | undefined, lengthMax: number, path: string): string {
  if (typeof json !== 'string' || json.length > lengthMax || ![...json].every(isLatin1))
    throw new JsonError(path, `must be text of at most ${lengthMax} characters`);
  return json;
}

export function wordsFromJson(json: Json | undefined, path: string): number[] {
  if (!Array.isArray(json)) throw new JsonError(path, 'must be a list of 32-bit words');
  return json.map((word, i) => number('u32', word, `${path}[${i}]`));
}

export function bytesFromJson(json: Json | undefined, path: string): Uint8Array {
  if (typeof json === 'string' && /bytes hidden/.test(json))
    throw new JsonError(path, 'the key was hidden when this was printed: print it with --show-keys');
  if (typeof json !== 'string' || !/^([0-9a-f]{2})*$/i.test(json))
    throw new JsonError(path, 'must be an even number of hexadecimal digits');
  return new Uint8Array(Buffer.from(json, 'hex'));
}

export function integerFromJson(json: Json | undefined, path: string, max: number): number {
  if (typeof json === 'number' && Number.isInteger(json) && json >= 0 && json <= max) return json;
  throw new JsonError(path, `must be a whole number from 0 to ${max}`);
}

export function asObject(json: Json | undefined, path: string): JsonObject {
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json;
  throw new JsonError(path, 'must be an object');
}

export function refuseStrangers(object: JsonObject, names: ReadonlySet<string>, path: string): void {
  const stranger = Object.keys(object).find((name) => !names.has(name));
  if (stranger !== undefined) throw new JsonError(pathTo(path, stranger), 'no such field');
}

const isLatin1 = (c: string): boolean => c > '\0' && c <= '\xff';

export const pathTo = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`);
