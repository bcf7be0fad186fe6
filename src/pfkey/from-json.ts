import {
  address,
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
  type Scalar,
  type Struct,
  scalarFromJson,
  textFromJson,
  wordsFromJson,
} from '../wire/index.ts';
import { type AnyExtensionSpec, extensionSpecs } from './extensions.ts';
import { meaningOf } from './json.ts';
import { type AnyPfkeyMessage, type OtherExtension, PfkeyMsg } from './messages.ts';
import type { AnyPart } from './parts.ts';
import { parseSockaddr, type Sockaddr, type SockaddrPair } from './sockaddr.ts';
import { satype as satypeLayout } from './structs.ts';

/**
 * The way back from `pfkeyToJson`, walked over the same tables, and as strict: a field that is missing, unknown or out of range is an
 * error.
 */

const TEXT_MAX = 0xffff;

/**
 * The message that `pfkeyToJson` printed. Fields of the header that are left out are 0. Extensions of unknown type come behind the
 * others: their place is not in JSON.
 *
 * @throws {JsonError} naming the path of the value at fault; the value itself is never quoted, as it may be a key
 */
export function pfkeyFromJson(json: Json): AnyPfkeyMessage {
  const object = asObject(json, '');
  const { message: kind } = object;
  const isUnknown = kind === 'UNKNOWN';
  if (!isUnknown && !(typeof kind === 'string' && Object.hasOwn(PfkeyMsg, kind)))
    throw new JsonError('message', 'must name a PF_KEY message, such as "ADD"');
  refuseStrangers(
    object,
    new Set(['message', 'header', 'extensions', 'otherExtensions', ...(isUnknown ? ['type'] : [])]),
    '',
  );
  const header = headerFromJson(asObject(object.header ?? {}, 'header'));
  const given = asObject(object.extensions ?? {}, 'extensions');
  const extensions: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    const path = `extensions.${name}`;
    if (!Object.hasOwn(extensionSpecs, name)) throw new JsonError(path, 'no such extension');
    const spec: AnyExtensionSpec = extensionSpecs[name as keyof typeof extensionSpecs];
    extensions[name] = extensionFromJson(spec, asObject(value, path), header.satype, path);
  }
  const other = otherFromJson(object.otherExtensions, Object.keys(extensions).length);
  const type = isUnknown ? { type: integerFromJson(object.type, 'type', 0xff) } : {};
  return { kind, ...type, ...header, extensions, ...(other && { rest: { other } }) } as AnyPfkeyMessage;
}

function headerFromJson(json: JsonObject): { errno: number; satype: number; seq: number; pid: number } {
  refuseStrangers(json, new Set(['errno', 'satype', 'seq', 'pid']), 'header');
  return {
    errno: integerFromJson(json.errno ?? 0, 'header.errno', 0xff),
    satype: scalarFromJson(satypeLayout, json.satype ?? 0, 'header.satype'),
    seq: integerFromJson(json.seq ?? 0, 'header.seq', 0xffff_ffff),
    pid: integerFromJson(json.pid ?? 0, 'header.pid', 0xffff_ffff),
  };
}

function otherFromJson(json: Json | undefined, known: number): OtherExtension[] | undefined {
  if (json === undefined) return undefined;
  if (!Array.isArray(json)) throw new JsonError('otherExtensions', 'must be a list');
  return json.map((entry, i) => {
    const path = `otherExtensions[${i}]`;
    const { type, data } = asObject(entry, path);
    return {
      index: known + i,
      type: integerFromJson(type, `${path}.type`, 0xffff),
      data: bytesFromJson(data, `${path}.data`),
    };
  });
}

function extensionFromJson(spec: AnyExtensionSpec, json: JsonObject, satype: number, path: string): object {
  const fixed = Object.fromEntries(Object.entries(json).filter(([name]) => !Object.hasOwn(spec.parts, name)));
  const value = structFromJson(spec.fixed, fixed, satype, path);
  for (const [name, part] of Object.entries(spec.parts)) {
    const here = `${path}.${name}`;
    const partJson = json[name];
    if (partJson !== undefined) value[name] = partFromJson(part, partJson, satype, here);
    else if (!part.optional) throw new JsonError(here, 'is missing');
  }
  return value;
}

function partFromJson(part: AnyPart, json: Json, satype: number, path: string): unknown {
  switch (part.form) {
    case 'sockaddr':
      return sockaddrFromJson(json, path);
    case 'pair':
      return pairFromJson(json, path);
    case 'bytes':
      return bytesFromJson(json, path);
    case 'text':
      return textFromJson(json, TEXT_MAX, path);
    case 'u32s':
      return wordsFromJson(json, path);
    case 'u64s':
      return list(json, path).map((word, i) => bigNumberFromJson(word, `${path}[${i}]`));
    case 'list':
      return list(json, path).map((entry, i) =>
        structFromJson(part.layout as Struct<object>, asObject(entry, `${path}[${i}]`), satype, `${path}[${i}]`),
      );
    case 'requests':
      return list(json, path).map((entry, i) => {
        const here = `${path}[${i}]`;
        const { addresses, data, ...rest } = asObject(entry, here);
        refuseStrangers(rest, new Set(['proto', 'mode', 'level', 'reqid']), here);
        const { len: _, ...fixed } = structFromJson(part.layout as Struct<object>, { ...rest, len: 0 }, satype, here);
        return {
          ...fixed,
          ...(addresses !== undefined && { addresses: pairFromJson(addresses, `${here}.addresses`) }),
          ...(data !== undefined && { data: bytesFromJson(data, `${here}.data`) }),
        };
      });
  }
}

function list(json: Json, path: string): Json[] {
  if (Array.isArray(json)) return json;
  throw new JsonError(path, 'must be a list');
}

function sockaddrFromJson(json: Json | undefined, path: string): Sockaddr {
  const parsed = typeof json === 'string' ? parseSockaddr(json) : undefined;
  if (parsed === undefined)
    throw new JsonError(path, 'must be an address, with a port as in "10.9.0.1:500" or "[fd09::1]:500" if it has one');
  return parsed;
}

function pairFromJson(json: Json, path: string): SockaddrPair {
  const object = asObject(json, path);
  refuseStrangers(object, new Set(['src', 'dst']), path);
  return { src: sockaddrFromJson(object.src, `${path}.src`), dst: sockaddrFromJson(object.dst, `${path}.dst`) };
}

function structFromJson(
  layout: Struct<object>,
  json: JsonObject,
  satype: number,
  path: string,
): Record<string, unknown> {
  refuseStrangers(json, new Set(layout.fields.map(({ name }) => name)), path);
  return Object.fromEntries(
    layout.fields.map(({ name, layout: field }) => {
      const here = pathTo(path, name);
      const value = json[name];
      if (value === undefined) throw new JsonError(here, 'is missing');
      if (field === address) {
        const parsed = typeof value === 'string' ? parseAddress(value) : undefined;
        if (parsed === undefined) throw new JsonError(here, 'must be an IPv4 or IPv6 address');
        return [name, parsed.address];
      }
      if (field.kind === 'scalar' && field.type === 'u64') return [name, bigNumberFromJson(value, here)];
      const scalar = field as Scalar<number>;
      const meaning = meaningOf(scalar, name, satype);
      return [name, scalarFromJson(meaning ? { ...scalar, meaning } : scalar, value, here)];
    }),
  );
}
