import {
  type AttributeSpace,
  check,
  type Layout,
  type MessageSpec,
  type Payload,
  type Rest,
} from '../netlink/index.ts';
import { parseAddress } from './address.ts';
import { XFRM_INF } from './constants.ts';
import type { Json, JsonObject } from './json.ts';
import { type AnyXfrmMessage, xfrm } from './messages.ts';
import { address, lifetimeCfg } from './structs.ts';

/**
 * The way back from `messageToJson`, walked over the same tables. It takes what that function prints, and is strict about it: a field
 * that is missing, unknown or out of range is an error, as a typing mistake in a limit or a key must not pass for a default.
 */

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

const absentLimits = new Set(lifetimeCfg.fields.filter(({ name }) => /Limit$/.test(name)).map(({ name }) => name));
const extras = new Set(['attributes', 'otherAttributes', 'trailingBytes']);

/**
 * The message that `messageToJson` printed. Without a header, its fields are 0. Acknowledgements (ERROR, DONE) are refused: their JSON
 * does not hold all of them.
 *
 * @throws {JsonError} naming the path of the value at fault
 */
export function messageFromJson(json: Json): AnyXfrmMessage {
  const object = asObject(json, '');
  const kind = object.message;
  if (kind === 'UNKNOWN') {
    known(object, new Set(['message', 'header', 'type', 'payload']), '');
    const type = integer(object.type, 'type', 0xffff);
    return { kind, ...header(object), type, payload: bytes(object.payload, 'payload') };
  }
  const spec = typeof kind === 'string' && Object.hasOwn(xfrm.specs, kind) ? xfrm.specs[kind] : undefined;
  if (spec === undefined) throw new JsonError('message', `must name an XFRM message, such as "NEWSA"`);
  const { body: layout, attributes: space, dumpable } = spec as MessageSpec<object, object>;
  const names = new Set(layout.fields.map(({ name }) => name));
  known(object, new Set(['message', 'header', ...extras, ...names]), '');
  const withoutBody = dumpable === true && ![...names].some((name) => name in object);
  const body = withoutBody ? null : structValue(layout, pick(object, names), '');
  const attributes = attributesFromJson(space, asObject(object.attributes ?? {}, 'attributes'), 'attributes');
  const rest = restOf(object, Object.keys(attributes).length);
  return { kind, ...header(object), body, attributes, ...(rest ? { rest } : {}) } as AnyXfrmMessage;
}

function attributesFromJson(space: AttributeSpace<object>, json: JsonObject, path: string): object {
  const attributes: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(json)) {
    const spec = Object.hasOwn(space.specs, name) ? space.specs[name] : undefined;
    if (spec === undefined) throw new JsonError(`${path}.${name}`, 'no such attribute');
    attributes[name] = payloadValue(spec.payload, value, `${path}.${name}`);
  }
  return attributes;
}

function payloadValue(payload: Payload<unknown>, json: Json, path: string): unknown {
  switch (payload.form) {
    case 'list':
      if (!Array.isArray(json) || json.length === 0) throw new JsonError(path, 'must be a list of one or more');
      return json.map((entry, i) => layoutValue(payload.layout as Layout, entry, `${path}[${i}]`));
    case 'tailed': {
      const { name, unit } = payload.tail as NonNullable<typeof payload.tail>;
      const { [name]: tail, ...fixed } = asObject(json, path);
      const value = structValue(payload.layout as Layout, fixed, path);
      return { ...value, [name]: unit === 'u32' ? words(tail, `${path}.${name}`) : bytes(tail, `${path}.${name}`) };
    }
    case 'struct':
    case 'scalar':
      return layoutValue(payload.layout as Layout, json, path);
    case 'bytes':
      return bytes(json, path);
    case 'flag':
      if (json !== true) throw new JsonError(path, 'must be true, or left out');
      return true;
    default:
      throw new JsonError(path, 'cannot be read from JSON');
  }
}

function layoutValue(layout: Layout, json: Json | undefined, path: string): unknown {
  if (json === undefined) throw new JsonError(path, 'is missing');
  if (layout === address) {
    const parsed = typeof json === 'string' ? parseAddress(json) : undefined;
    if (parsed === undefined) throw new JsonError(path, 'must be an IPv4 or IPv6 address');
    return parsed.address;
  }
  if (layout.kind === 'struct') return structValue(layout, asObject(json, path), path);
  if (layout.kind === 'chars') {
    if (typeof json !== 'string' || json.length > layout.size || ![...json].every(isLatin1))
      throw new JsonError(path, `must be text of at most ${layout.size} characters`);
    return json;
  }
  if (layout.type === 'u64') return bigNumber(json, path);
  if (layout.meaning) return named(layout, json, path);
  return number(layout.type, json, path);
}

function structValue(layout: Layout, json: JsonObject, path: string): Record<string, unknown> {
  if (layout.kind !== 'struct') throw new JsonError(path, 'is no structure');
  known(json, new Set(layout.fields.map(({ name }) => name)), path);
  return Object.fromEntries(
    layout.fields.map((field) => [field.name, layoutValue(field.layout, json[field.name], join(path, field.name))]),
  );
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

function bigNumber(json: Json, path: string): bigint {
  if (json === null && absentLimits.has(path.slice(path.lastIndexOf('.') + 1))) return XFRM_INF;
  const whole =
    (typeof json === 'number' && Number.isSafeInteger(json)) || (typeof json === 'string' && /^\d+$/.test(json));
  const value = whole ? BigInt(json as number | string) : -1n;
  if (value < 0n || value > 0xffff_ffff_ffff_ffffn)
    throw new JsonError(path, 'must be a whole number from 0 to 2^64-1, as decimal text beyond 2^53-1');
  return value;
}

function named(layout: Layout & { kind: 'scalar' }, json: Json, path: string): number {
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

function words(json: Json | undefined, path: string): number[] {
  if (!Array.isArray(json)) throw new JsonError(path, 'must be a list of 32-bit words');
  return json.map((word, i) => number('u32', word, `${path}[${i}]`));
}

function bytes(json: Json | undefined, path: string): Uint8Array {
  if (typeof json === 'string' && /bytes hidden/.test(json))
    throw new JsonError(path, 'the key was hidden when this was printed: print it with --show-keys');
  if (typeof json !== 'string' || !/^([0-9a-f]{2})*$/i.test(json))
    throw new JsonError(path, 'must be an even number of hexadecimal digits');
  return new Uint8Array(Buffer.from(json, 'hex'));
}

/** Attributes without a name come behind the known ones; their place among them is not in JSON. */
function restOf(object: JsonObject, attributeCount: number): Rest | undefined {
  const { otherAttributes, trailingBytes } = object;
  if (otherAttributes === undefined && trailingBytes === undefined) return undefined;
  const rest: Rest = {};
  if (otherAttributes !== undefined) {
    if (!Array.isArray(otherAttributes)) throw new JsonError('otherAttributes', 'must be a list');
    rest.other = otherAttributes.map((entry, i) => {
      const { type, data } = asObject(entry, `otherAttributes[${i}]`);
      return {
        index: attributeCount + i,
        type: integer(type, `otherAttributes[${i}].type`, 0xffff),
        data: bytes(data, `otherAttributes[${i}].data`),
      };
    });
  }
  if (trailingBytes !== undefined) rest.tail = bytes(trailingBytes, 'trailingBytes');
  return rest;
}

function header(object: JsonObject): { flags: number; seq: number; pid: number } {
  const fields = asObject(object.header ?? {}, 'header');
  known(fields, new Set(['flags', 'seq', 'pid']), 'header');
  const field = (name: string, max: number): number => integer(fields[name] ?? 0, `header.${name}`, max);
  return { flags: field('flags', 0xffff), seq: field('seq', 0xffff_ffff), pid: field('pid', 0xffff_ffff) };
}

function integer(json: Json | undefined, path: string, max: number): number {
  if (typeof json === 'number' && Number.isInteger(json) && json >= 0 && json <= max) return json;
  throw new JsonError(path, `must be a whole number from 0 to ${max}`);
}

function asObject(json: Json | undefined, path: string): JsonObject {
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json;
  throw new JsonError(path, 'must be an object');
}

function known(object: JsonObject, names: ReadonlySet<string>, path: string): void {
  const stranger = Object.keys(object).find((name) => !names.has(name));
  if (stranger !== undefined) throw new JsonError(join(path, stranger), 'no such field');
}

const isLatin1 = (c: string): boolean => c > '\0' && c <= '\xff';

const pick = (object: JsonObject, names: ReadonlySet<string>): JsonObject =>
  Object.fromEntries(Object.entries(object).filter(([name]) => names.has(name)));

const join = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`);
