import type { AttributeSpace, Layout, MessageSpec, Payload, Rest } from '../netlink/index.ts';
import {
  asObject,
  bigNumberFromJson,
  bytesFromJson,
  integerFromJson,
  type Json,
  JsonError,
  type JsonObject,
  parseAddress,
  pathTo,
  refuseStrangers,
  scalarFromJson,
  textFromJson,
  wordsFromJson,
} from '../wire/index.ts';
import { XFRM_INF } from './constants.ts';
import { type AnyXfrmMessage, xfrm } from './messages.ts';
import { address, lifetimeCfg } from './structs.ts';

/**
 * The way back from `messageToJson`, walked over the same tables. It takes what that function prints, and is strict about it: a field
 * that is missing, unknown or out of range is an error, as a typing mistake in a limit or a key must not pass for a default.
 */

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
    refuseStrangers(object, new Set(['message', 'header', 'type', 'payload']), '');
    const type = integerFromJson(object.type, 'type', 0xffff);
    return { kind, ...header(object), type, payload: bytesFromJson(object.payload, 'payload') };
  }
  const spec = typeof kind === 'string' && Object.hasOwn(xfrm.specs, kind) ? xfrm.specs[kind] : undefined;
  if (spec === undefined) throw new JsonError('message', `must name an XFRM message, such as "NEWSA"`);
  const { body: layout, attributes: space, dumpable } = spec as MessageSpec<object, object>;
  const names = new Set(layout.fields.map(({ name }) => name));
  refuseStrangers(object, new Set(['message', 'header', ...extras, ...names]), '');
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
      return {
        ...value,
        [name]: unit === 'u32' ? wordsFromJson(tail, `${path}.${name}`) : bytesFromJson(tail, `${path}.${name}`),
      };
    }
    case 'struct':
    case 'scalar':
      return layoutValue(payload.layout as Layout, json, path);
    case 'bytes':
      return bytesFromJson(json, path);
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
  if (layout.kind === 'chars') return textFromJson(json, layout.size, path);
  if (layout.type === 'u64') return limit(json, path);
  return scalarFromJson(layout, json, path);
}

function structValue(layout: Layout, json: JsonObject, path: string): Record<string, unknown> {
  if (layout.kind !== 'struct') throw new JsonError(path, 'is no structure');
  refuseStrangers(json, new Set(layout.fields.map(({ name }) => name)), path);
  return Object.fromEntries(
    layout.fields.map((field) => [field.name, layoutValue(field.layout, json[field.name], pathTo(path, field.name))]),
  );
}

function limit(json: Json, path: string): bigint {
  if (json === null && absentLimits.has(path.slice(path.lastIndexOf('.') + 1))) return XFRM_INF;
  return bigNumberFromJson(json, path);
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
        type: integerFromJson(type, `otherAttributes[${i}].type`, 0xffff),
        data: bytesFromJson(data, `otherAttributes[${i}].data`),
      };
    });
  }
  if (trailingBytes !== undefined) rest.tail = bytesFromJson(trailingBytes, 'trailingBytes');
  return rest;
}

function header(object: JsonObject): { flags: number; seq: number; pid: number } {
  const fields = asObject(object.header ?? {}, 'header');
  refuseStrangers(fields, new Set(['flags', 'seq', 'pid']), 'header');
  const field = (name: string, max: number): number => integerFromJson(fields[name] ?? 0, `header.${name}`, max);
  return { flags: field('flags', 0xffff), seq: field('seq', 0xffff_ffff), pid: field('pid', 0xffff_ffff) };
}

const pick = (object: JsonObject, names: ReadonlySet<string>): JsonObject =>
  Object.fromEntries(Object.entries(object).filter(([name]) => names.has(name)));
