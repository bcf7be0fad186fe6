import {
  allZero,
  check,
  copyBytes,
  DecodeError,
  EncodeError,
  hostLittleEndian,
  readExpression,
  scalarExpression,
} from '../wire/index.ts';
import type { Payload, PayloadValue } from './payload.ts';

/** One attribute type: its number, what stands in it, and how strictly the kernel takes its length. */
export interface AttributeSpec<T> {
  readonly type: number;
  readonly payload: Payload<T>;
  /** Any length but the exact one is refused (attributes that came after Linux 5.2). */
  readonly strict?: boolean;
  /** Carries NLA_F_NESTED on the wire. */
  readonly nested?: boolean;
}

// biome-ignore lint/suspicious/noExplicitAny: a table of unlike payloads
type AnySpec = AttributeSpec<any>;
export type AttributeSpecs = Readonly<Record<string, AnySpec>>;

/** The typed attributes of a message. The order of the keys is the order on the wire. */
export type AttributesOf<S extends AttributeSpecs> = { [K in keyof S]?: PayloadValue<S[K]['payload']> };

export interface AttributeSpace<A> {
  /** How the header file calls them: prefix + NAME, e.g. `XFRMA_REPLAY_VAL`. */
  readonly prefix: string;
  readonly specs: AttributeSpecs;
  readonly byType: ReadonlyMap<number, readonly [name: string, spec: AnySpec]>;
  /** Reads well-formed attributes without detours; false as soon as anything calls for a second look. */
  readonly readPlain: (view: DataView, start: number, end: number, into: A) => boolean;
}

/** An attribute that the typed object has no room for: of unknown type, or repeated (the last one wins). */
export interface OtherAttribute {
  /** Its position among the attributes of the message, counted from 0. */
  readonly index: number;
  /** `nla_type` as it was on the wire, flag bits included. */
  readonly type: number;
  readonly data: Uint8Array;
}

/** Flag bits in the type, bytes beyond the payload, bytes missing at its end, or an end that is shorter than announced. */
interface Quirk {
  readonly type: number;
  readonly excess: Uint8Array;
  readonly missing: number;
}

/** What the typed value of a message does not say. It is there so that encoding gives back the very bytes that were decoded. */
export interface Rest {
  other?: OtherAttribute[];
  /** Attributes that are not as an encoder would write them, by name. */
  quirks?: Record<string, Quirk>;
  /** Bytes that are not zero where the layout has padding; `offset` counts from the start of the message. */
  padding?: { readonly offset: number; readonly bytes: Uint8Array }[];
  /** Bytes at the end that are no attribute. */
  tail?: Uint8Array;
  /** How many bytes of padding at the very end were left out. */
  cut?: number;
}

export const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const NLA_HEADER = 4;

/** A constant of this module: what is imported is not folded into optimised code. */
const little = hostLittleEndian;

export const align4 = (n: number): number => (n + 3) & ~3;

export function attribute<T>(type: number, payload: Payload<T>, strict = false): AttributeSpec<T> {
  return { type, payload, strict };
}

export function attributeSpace<const S extends AttributeSpecs>(
  prefix: string,
  specs: S,
): AttributeSpace<AttributesOf<S>> {
  const byType = new Map(Object.entries(specs).map(([name, spec]) => [spec.type, [name, spec]] as const));
  return { prefix, specs, byType, readPlain: compileReadPlain(specs) };
}

/** `replayEsnVal` -> `XFRMA_REPLAY_ESN_VAL`. */
export function wireName(prefix: string, name: string): string {
  return prefix + name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase();
}

function compileReadPlain<A>(specs: AttributeSpecs): AttributeSpace<A>['readPlain'] {
  const payloads = Object.fromEntries(Object.values(specs).map(({ type, payload }) => [`p${type}`, payload]));
  const cases = Object.entries(specs).map(([name, spec]) => {
    const { type, payload } = spec;
    const seen = `seen${type >>> 5}`;
    const bit = `${1 << (type & 31)}`;
    const once = `if ((${seen} & ${bit}) !== 0) return false; ${seen} |= ${bit};`;
    const layout = payload.layout;
    let body: string;
    if (payload.form === 'struct' && layout?.kind === 'struct') {
      const clean = layout.padding.length > 0 ? `if (!p${type}.layout.paddingIsZero(v, o)) return false;` : '';
      body = `if (n !== ${layout.size}) return false; ${clean} a.${name} = ${readExpression(layout.fields)};`;
    } else if (payload.form === 'scalar' && layout?.kind === 'scalar') {
      body = `if (n !== ${layout.size}) return false; a.${name} = ${scalarExpression(layout.type, 'o')};`;
    } else {
      const odd = [`p${type}.size(x) !== n`, `hasPadding(v, o, p${type}.padding(x))`];
      if (payload.fault) odd.push(`p${type}.fault(x) !== undefined`);
      body = `if (n < ${payload.min}) return false; x = p${type}.read(v, o, n);
        if (${odd.join(' || ')}) return false; a.${name} = x;`;
    }
    return `case ${type | (spec.nested ? NLA_F_NESTED : 0)}: ${once} ${body} break;`;
  });
  const order = `, ${hostLittleEndian}`;
  const source = `const { ${Object.keys(payloads).join(', ')} } = payloads;
    return (v, start, end, a) => {
      let o = start, seen0 = 0, seen1 = 0, x;
      while (end - o >= ${NLA_HEADER}) {
        const length = v.getUint16(o${order}), type = v.getUint16(o + 2${order}), n = length - ${NLA_HEADER};
        if (n < 0 || length > end - o) return false;
        o += ${NLA_HEADER};
        switch (type) { ${cases.join('\n')} default: return false; }
        o += n;
        for (let pad = -length & 3; pad > 0; pad--, o++) if (o >= end || v.getUint8(o) !== 0) return false;
      }
      return o === end;
    };`;
  return new Function('payloads', 'hasPadding', source)(payloads, hasPadding);
}

function hasPadding(view: DataView, at: number, padding: readonly (readonly [number, number])[]): boolean {
  return padding.some(([o, n]) => !allZero(view, at + o, n));
}

/** Notes bytes of `[at, at + length)` that are not zero. `origin` is where the message starts. */
export function notePadding(rest: Rest, view: DataView, origin: number, at: number, length: number): void {
  if (allZero(view, at, length)) return;
  rest.padding ??= [];
  rest.padding.push({ offset: at - origin, bytes: copyBytes(view, at, length) });
}

/**
 * Reads attributes as the kernel does (nla_parse, liberal): unknown types are kept aside, the last of several wins, flag bits are
 * masked, longer payloads are accepted, and parsing stops at the first thing that is no attribute.
 *
 * @param origin where the message starts; offsets in `rest` count from there
 * @throws DecodeError for a known attribute that is too short, or a strict one of wrong length
 */
export function readAttributes<A extends object>(
  space: AttributeSpace<A>,
  view: DataView,
  start: number,
  end: number,
  origin: number,
  rest: Rest,
): A {
  const found: { type: number; at: number; length: number }[] = [];
  const last = new Map<number, number>();
  let o = start;
  while (end - o >= NLA_HEADER) {
    const length = view.getUint16(o, little);
    if (length < NLA_HEADER || length > end - o) break;
    const type = view.getUint16(o + 2, little);
    if (space.byType.has(type & NLA_TYPE_MASK)) last.set(type & NLA_TYPE_MASK, found.length);
    found.push({ type, at: o + NLA_HEADER, length: length - NLA_HEADER });
    const next = o + align4(length);
    if (next > end) rest.cut = next - end;
    notePadding(rest, view, origin, o + length, Math.min(next, end) - (o + length));
    o = Math.min(next, end);
  }
  if (o < end) rest.tail = copyBytes(view, o, end - o);

  const attributes: Record<string, unknown> = {};
  for (const [index, { type, at, length }] of found.entries()) {
    const known = space.byType.get(type & NLA_TYPE_MASK);
    if (known === undefined) {
      keepAside(rest, index, type, copyBytes(view, at, length));
      continue;
    }
    const [name, spec] = known;
    const { payload } = spec;
    if (length < payload.min || (spec.strict && length !== payload.min)) {
      const code = length < payload.min ? 'ERR_ATTRIBUTE_SHORT' : 'ERR_ATTRIBUTE_LENGTH';
      const needs = `${length} bytes, ${spec.strict ? 'must be' : 'needs'} ${payload.min}`;
      throw new DecodeError(code, wireName(space.prefix, name), at - NLA_HEADER, needs);
    }
    // Each of several is validated, the last one counts (nlattr.c:__nla_validate_parse).
    if (last.get(spec.type) !== index) {
      keepAside(rest, index, type, copyBytes(view, at, length));
      continue;
    }
    const value = payload.read(view, at, length);
    attributes[name] = value;
    for (const [p, n] of payload.padding(value)) notePadding(rest, view, origin, at + p, n);
    const size = payload.size(value);
    if (size !== length || type !== wireType(spec) || payload.fault?.(value) !== undefined) {
      const excess = copyBytes(view, at + Math.min(size, length), Math.max(0, length - size));
      rest.quirks ??= {};
      rest.quirks[name] = { type, excess, missing: Math.max(0, size - length) };
    }
  }
  return attributes as A;
}

function keepAside(rest: Rest, index: number, type: number, data: Uint8Array): void {
  rest.other ??= [];
  rest.other.push({ index, type, data });
}

const wireType = (spec: AnySpec): number => spec.type | (spec.nested ? NLA_F_NESTED : 0);

/** The attribute's payload in bytes; `quirk` says how it differs from what the value takes. */
function payloadLength(space: AttributeSpace<object>, name: string, value: unknown, quirk: Quirk | undefined): number {
  const spec = space.specs[name];
  if (spec === undefined) throw new EncodeError(name, `no such attribute among ${space.prefix}*`);
  const { payload } = spec;
  let size: number;
  let fault: string | undefined;
  try {
    size = payload.size(value);
    fault = quirk === undefined ? payload.fault?.(value) : undefined;
  } catch (error) {
    if (error instanceof EncodeError) EncodeError.within(name, error);
    throw new EncodeError(name, `is not a value of ${wireName(space.prefix, name)}`);
  }
  if (fault !== undefined) throw new EncodeError(name, fault);
  if (quirk !== undefined) size += quirk.excess.length - quirk.missing;
  if (!(NLA_HEADER + size <= 0xffff)) throw new EncodeError(name, `${size} bytes are too long for an attribute`);
  return size;
}

/** How many bytes `writeAttributes` will take. */
export function attributesLength(space: AttributeSpace<object>, attributes: object, rest?: Rest): number {
  let total = 0;
  for (const name in attributes) {
    const value = (attributes as Record<string, unknown>)[name];
    if (value === undefined) continue;
    total += align4(NLA_HEADER + payloadLength(space, name, value, rest?.quirks?.[name]));
  }
  if (rest === undefined) return total;
  for (const { data } of rest.other ?? []) {
    if (NLA_HEADER + data.length > 0xffff) throw new EncodeError('rest.other', `${data.length} bytes are too long`);
    total += align4(NLA_HEADER + data.length);
  }
  return total + (rest.tail?.length ?? 0) - cutOf(rest);
}

const cutOf = (rest: Rest): number => Math.min(rest.cut ?? 0, 3);

/** Writes into zeroed memory that `attributesLength` has measured. */
export function writeAttributes(
  space: AttributeSpace<object>,
  view: DataView,
  start: number,
  attributes: object,
  rest?: Rest,
): void {
  const other = rest?.other ?? none;
  let o = start;
  let index = 0;
  let nextOther = 0;
  for (const name in attributes) {
    const value = (attributes as Record<string, unknown>)[name];
    if (value === undefined) continue;
    for (; nextOther < other.length && (other[nextOther] as OtherAttribute).index <= index; nextOther++, index++) {
      o = writeOther(view, o, other[nextOther] as OtherAttribute);
    }
    const spec = space.specs[name] as AnySpec;
    const quirk = rest?.quirks?.[name];
    const size = payloadLength(space, name, value, quirk);
    view.setUint16(o, NLA_HEADER + size, little);
    view.setUint16(o + 2, quirk?.type ?? wireType(spec), little);
    try {
      spec.payload.write(view, o + NLA_HEADER, value);
    } catch (error) {
      EncodeError.within(name, error);
    }
    if (quirk) bytesAt(view, o + NLA_HEADER + size - quirk.excess.length, quirk.excess.length).set(quirk.excess);
    o += align4(NLA_HEADER + size);
    index++;
  }
  for (; nextOther < other.length; nextOther++) o = writeOther(view, o, other[nextOther] as OtherAttribute);
  if (rest?.tail) bytesAt(view, o, rest.tail.length).set(rest.tail);
}

const none: readonly OtherAttribute[] = [];

function writeOther(view: DataView, o: number, { type, data }: OtherAttribute): number {
  view.setUint16(o, NLA_HEADER + data.length, little);
  view.setUint16(o + 2, check.u16(type, 'rest.other.type'), little);
  bytesAt(view, o + NLA_HEADER, data.length).set(data);
  return o + align4(NLA_HEADER + data.length);
}

/** Puts the bytes back that stood where the layout has none; `end` bounds what may be written. */
export function writePadding(view: DataView, origin: number, end: number, rest: Rest): void {
  for (const { offset, bytes } of rest.padding ?? []) {
    const length = Math.min(bytes.length, end - origin - offset);
    if (length > 0) bytesAt(view, origin + offset, length).set(bytes.subarray(0, length));
  }
}

const bytesAt = (view: DataView, at: number, length: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + at, length);

/** Attributes within an attribute; `rest` as in a message. */
export function nestedPayload<A extends object>(space: AttributeSpace<A>): Payload<A & { rest?: Rest }> {
  const plain = space as AttributeSpace<object>;
  return {
    form: 'nested',
    min: 0,
    size: ({ rest, ...attributes }) => attributesLength(plain, attributes, rest),
    read(view, at, length) {
      const rest: Rest = {};
      const attributes = readAttributes(space, view, at, at + length, at, rest);
      return Object.keys(rest).length > 0 ? { ...attributes, rest } : attributes;
    },
    write(view, at, { rest, ...attributes }) {
      writeAttributes(plain, view, at, attributes, rest);
      if (rest) writePadding(view, at, at + attributesLength(plain, attributes, rest), rest);
    },
    padding: () => [],
  };
}
