import {
  type Address,
  AddressFamily,
  address,
  bigNumberToJson,
  bytesToJson,
  formatAddress,
  type Json,
  type JsonObject,
  type JsonOptions,
  type Layout,
  type Meaning,
  namedToJson,
  type Scalar,
  type Struct,
  secretToJson,
  wordToJson,
} from '../wire/index.ts';
import { CompAlg, SaType } from './constants.ts';
import { type AnyExtensionSpec, extensionSpecs } from './extensions.ts';
import type { AnyPfkeyMessage } from './messages.ts';
import type { AnyPart, IpsecRequest } from './parts.ts';
import { formatSockaddr, type Sockaddr, type SockaddrPair } from './sockaddr.ts';
import { satype as satypeLayout } from './structs.ts';

/**
 * Messages as plain JSON, walked from the same tables that encode and decode: addresses as text, enumerations by name, sets of bits as
 * lists of names, SPIs as hex text. 64-bit numbers are numbers up to 2^53-1 and decimal text beyond. Keys and what key managers keep
 * private are replaced by their length unless `showKeys` is given.
 */

/** Numbers that are SPIs. */
const spis = new Set(['spi', 'min', 'max']);
const compression: Meaning = { names: CompAlg, bits: false };

export function pfkeyToJson(message: AnyPfkeyMessage, options: JsonOptions = {}): JsonObject {
  const { kind, errno, satype, seq, pid, extensions, rest } = message;
  const header: JsonObject = { errno, satype: namedToJson(satypeLayout.meaning as Meaning, satype), seq, pid };
  const json: JsonObject = { message: kind, ...(kind === 'UNKNOWN' && { type: message.type }), header };
  const parts = Object.entries(extensions).filter(([, value]) => value !== undefined);
  json.extensions = Object.fromEntries(
    parts.map(([name, value]) => [
      name,
      extensionToJson(extensionSpecs[name as keyof typeof extensionSpecs], value, satype, options),
    ]),
  );
  if (rest?.other) json.otherExtensions = rest.other.map(({ type, data }) => ({ type, data: bytesToJson(data) }));
  return json;
}

function extensionToJson(spec: AnyExtensionSpec, value: object, satype: number, options: JsonOptions): JsonObject {
  const json = structToJson(spec.fixed, value, satype);
  for (const [name, part] of Object.entries(spec.parts)) {
    const partValue = (value as Record<string, unknown>)[name];
    if (partValue !== undefined) json[name] = partToJson(part, partValue, satype, options);
  }
  return json;
}

function partToJson(part: AnyPart, value: unknown, satype: number, options: JsonOptions): Json {
  switch (part.form) {
    case 'sockaddr':
      return formatSockaddr(value as Sockaddr);
    case 'pair':
      return pairToJson(value as SockaddrPair);
    case 'bytes':
      return part.secret ? secretToJson(value as Uint8Array, options) : bytesToJson(value as Uint8Array);
    case 'u32s':
      return (value as number[]).map(wordToJson);
    case 'u64s':
      return (value as bigint[]).map(bigNumberToJson);
    case 'list':
      return (value as object[]).map((entry) => structToJson(part.layout as Struct<object>, entry, satype));
    case 'requests':
      return (value as IpsecRequest[]).map((request) => {
        const { len: _, ...fixed } = structToJson(part.layout as Struct<object>, { ...request, len: 0 }, satype);
        if (request.addresses) fixed.addresses = pairToJson(request.addresses);
        if (request.data) fixed.data = bytesToJson(request.data);
        return fixed;
      });
    default:
      return value as Json;
  }
}

const pairToJson = ({ src, dst }: SockaddrPair): JsonObject => ({ src: formatSockaddr(src), dst: formatSockaddr(dst) });

function structToJson(layout: Struct<object>, value: object, satype: number): JsonObject {
  const fields = value as Record<string, unknown>;
  return Object.fromEntries(
    layout.fields.map((field) => [field.name, fieldToJson(field.layout, field.name, fields, satype)]),
  );
}

function fieldToJson(layout: Layout, name: string, fields: Readonly<Record<string, unknown>>, satype: number): Json {
  const value = fields[name];
  if (layout === address) return filterAddress(value as Address, fields.family as number);
  if (typeof value === 'bigint') return bigNumberToJson(value);
  if (spis.has(name)) return wordToJson(value as number);
  const meaning = meaningOf(layout as Scalar<number>, name, satype);
  return meaning ? namedToJson(meaning, value as number) : (value as Json);
}

/** As its family has it; in full if it has more than that. */
const filterAddress = (value: Address, family: number): string =>
  formatAddress(value, (value.w1 | value.w2 | value.w3) === 0 ? family : AddressFamily.INET6);

/** What a field's numbers are called: of IPCOMP the algorithms to encrypt with are those to compress with. */
export function meaningOf(layout: Scalar<number>, name: string, satype: number): Meaning | undefined {
  return name === 'encrypt' && satype === SaType.IPCOMP ? compression : layout.meaning;
}
