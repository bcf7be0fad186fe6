import { type AttributeSpace, type Layout, type MessageSpec, type Payload, wireName } from '../netlink/index.ts';
import {
  bigNumberToJson,
  bytesToJson,
  formatAddress,
  formatSpi,
  type Json,
  type JsonObject,
  type JsonOptions,
  namedToJson,
  secretToJson,
  wordToJson,
} from '../wire/index.ts';
import { XFRM_INF } from './constants.ts';
import { type AnyXfrmMessage, xfrm } from './messages.ts';
import { type Address, address, lifetimeCfg } from './structs.ts';

/**
 * Messages as plain JSON, walked from the same tables that encode and decode: addresses as text, enumerations by name, sets of bits as
 * lists of names, SPIs as hex text, absent limits as null. 64-bit numbers are numbers up to 2^53-1 and decimal text beyond. Keys and
 * security contexts of algorithms are replaced by their length unless `showKeys` is given.
 */

const noLimit = new Set(lifetimeCfg.fields.filter(({ name }) => /Limit$/.test(name)).map(({ name }) => name));

export function messageToJson(message: AnyXfrmMessage, options: JsonOptions = {}): JsonObject {
  const { flags, seq, pid } = message;
  const head = { message: message.kind, header: { flags, seq, pid } };
  if (message.kind === 'UNKNOWN') return { ...head, type: message.type, payload: bytesToJson(message.payload) };
  if (message.kind === 'ERROR') {
    const { error, request } = message.body;
    const { type, ...rest } = request;
    return { ...head, error, request: { message: xfrm.kindOf(type), ...rest }, ...control(message.attributes) };
  }
  if (message.kind === 'DONE') return { ...head, status: message.body.status, ...control(message.attributes) };
  const spec = xfrm.specs[message.kind] as MessageSpec<object, object>;
  const family = message.body === null ? 0 : familyIn(message.body);
  const body = message.body === null ? {} : (layoutToJson(spec.body, message.body, family) as JsonObject);
  const attributes = attributesToJson(spec.attributes, message.attributes, family, options);
  const json: JsonObject = { ...head, ...body, ...(Object.keys(attributes).length > 0 ? { attributes } : {}) };
  const { other, tail } = message.rest ?? {};
  if (other) json.otherAttributes = other.map(({ type, data }) => ({ type, data: bytesToJson(data) }));
  if (tail) json.trailingBytes = bytesToJson(tail);
  return json;
}

function control(attributes: object): JsonObject {
  const extack = Object.entries(attributes).map(([name, value]) => [
    name,
    value instanceof Uint8Array ? bytesToJson(value) : plain(value),
  ]);
  return extack.length > 0 ? { extack: Object.fromEntries(extack) } : {};
}

function plain(value: unknown): Json {
  if (typeof value === 'bigint') return bigNumberToJson(value);
  if (value instanceof Uint8Array) return bytesToJson(value);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
  }
  return value as Json;
}

export function attributesToJson(
  space: AttributeSpace<object>,
  attributes: object,
  family: number,
  options: JsonOptions = {},
): JsonObject {
  const json: JsonObject = {};
  for (const [name, value] of Object.entries(attributes)) {
    const spec = space.specs[name];
    if (spec === undefined) throw new TypeError(`no attribute ${wireName(space.prefix, name)}`);
    if (name === 'pad') continue;
    json[name] = payloadToJson(spec.payload, value, family, options);
  }
  return json;
}

function payloadToJson(payload: Payload<unknown>, value: unknown, family: number, options: JsonOptions): Json {
  switch (payload.form) {
    case 'list':
      return (value as object[]).map((entry) =>
        layoutToJson(payload.layout as Layout, entry, familyIn(entry) || family),
      );
    case 'tailed': {
      const json = layoutToJson(payload.layout as Layout, value, family) as JsonObject;
      const tail = payload.tail as NonNullable<typeof payload.tail>;
      const end = (value as Record<string, Uint8Array | number[]>)[tail.name] ?? [];
      if (end instanceof Uint8Array) json[tail.name] = tail.secret ? secretToJson(end, options) : bytesToJson(end);
      else json[tail.name] = end.map(wordToJson);
      return json;
    }
    case 'struct':
      return layoutToJson(payload.layout as Layout, value, familyIn(value as object) || family);
    case 'scalar':
      return layoutToJson(payload.layout as Layout, value, family);
    case 'bytes':
      return bytesToJson(value as Uint8Array);
    default:
      return plain(value);
  }
}

function layoutToJson(layout: Layout, value: unknown, family: number, name = ''): Json {
  if (layout === address) return formatAddress(value as Address, family);
  if (layout.kind === 'struct') {
    const fields = value as Record<string, unknown>;
    const own = typeof fields.family === 'number' && fields.family !== 0 ? fields.family : family;
    return Object.fromEntries(layout.fields.map((f) => [f.name, layoutToJson(f.layout, fields[f.name], own, f.name)]));
  }
  if (typeof value === 'bigint') return value === XFRM_INF && noLimit.has(name) ? null : bigNumberToJson(value);
  if (layout.kind === 'scalar' && layout.meaning) return namedToJson(layout.meaning, value as number);
  if (name === 'spi') return formatSpi(value as number);
  return value as Json;
}

/** The first address family that a structure or one of its parts names. */
function familyIn(value: object): number {
  const { family, oldFamily } = value as { family?: unknown; oldFamily?: unknown };
  if (typeof family === 'number') return family;
  if (typeof oldFamily === 'number') return oldFamily;
  for (const part of Object.values(value)) {
    if (typeof part === 'object' && part !== null && !Array.isArray(part)) {
      const found = familyIn(part);
      if (found !== 0) return found;
    }
  }
  return 0;
}
