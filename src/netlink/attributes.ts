import { hostLittleEndian } from './endian.ts';
import { DecodeError, EncodeError } from './errors.ts';
import { check, readExpression } from './layout.ts';
import { copyBytes, type Payload, type PayloadValue } from './payload.ts';

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

/** What the typed value of a message does not say. It is there so that encoding gives back the very bytes that were decoded. */
export interface Rest {
  other?: OtherAttribute[];
  /** Attributes with flag bits in their type or bytes beyond their payload, by name. */
  quirks?: Record<string, { readonly type: number; readonly excess: Uint8Array }>;
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

export const align4 = (n: number): number => (n + 3) & ~3;

export function attribute<T>(type: number, payload: Payload<T>, strict = false): AttributeSpec<T> {
  return { type, payload, strict };
}

export function attributeSpace<const S extends AttributeSpecs>(
  prefix: string,
  specs: S,
): AttributeSpace<AttributesOf<S>> {
  const byType = new Map(Object.entries(specs).map(([name, spec]) => [spec.type, [name, spec]] as const));
  return { prefix, specs, byType, readPlain: compileReadPlain(prefix, specs) };
}

/** `replayEsnVal` -> `XFRMA_REPLAY_ESN_VAL`. */
export function wireName(prefix: string, name: string): string {
  return prefix + name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase();
}

function compileReadPlain<A>(prefix: string, specs: AttributeSpecs): AttributeSpace<A>['readPlain'] {
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
    } else {
      body = `if (n < ${payload.min}) return false; x = p${type}.read(v, o, n, '${wireName(prefix, name)}');
        if (p${type}.size(x) !== n || hasPadding(v, o, p${type}.padding(x))) return false; a.${name} = x;`;
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

function allZero(view: DataView, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (view.getUint8(at + i) !== 0) return false;
  return true;
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
    const length = view.getUint16(o, hostLittleEndian);
    if (length < NLA_HEADER || length > end - o) break;
    const type = view.getUint16(o + 2, hostLittleEndian);
    if (space.byType.has(type & NLA_TYPE_MASK)) last.set(type & NLA_TYPE_MASK, found.length);
    found.push({ type, at: o + NLA_HEADER, length: length - NLA_HEADER });
    const next = o + align4(length);
    if (next > end) rest.cut = next - end;
    notePadding(rest, view, origin, o + length, Math.min(next, end) - (o + length));
    o = Math.min(next, end);
  }
  if (o < end) rest.tail = copyBytes(view, o, end - o);

  const attributes: Record<string, unknown> = {};
  found.forEach(({ type, at, length }, index) => {
    const known = space.byType.get(type & NLA_TYPE_MASK);
    if (known === undefined || last.get(type & NLA_TYPE_MASK) !== index) {
      rest.other ??= [];
      rest.other.push({ index, type, data: copyBytes(view, at, length) });
      return;
    }
    const [name, spec] = known;
    const what = wireName(space.prefix, name);
    const { payload } = spec;
    if (length < payload.min) {
      throw new DecodeError('ERR_ATTRIBUTE_SHORT', what, at - NLA_HEADER, `${length} bytes, needs ${payload.min}`);
    }
    if (spec.strict && length !== payload.min) {
      throw new DecodeError('ERR_ATTRIBUTE_LENGTH', what, at - NLA_HEADER, `${length} bytes, must be ${payload.min}`);
    }
    const value = payload.read(view, at, length, what);
    attributes[name] = value;
    const size = Math.min(payload.size(value), length);
    for (const [p, n] of payload.padding(value)) notePadding(rest, view, origin, at + p, n);
    if (size < length || type !== wireType(spec)) {
      rest.quirks ??= {};
      rest.quirks[name] = { type, excess: copyBytes(view, at + size, length - size) };
    }
  });
  return attributes as A;
}

const wireType = (spec: AnySpec): number => spec.type | (spec.nested ? NLA_F_NESTED : 0);

/** Calls `visit` for every attribute to be written, in wire order, with its type, its payload's size and a writer of the payload. */
function forEachAttribute(
  space: AttributeSpace<object>,
  attributes: object,
  rest: Rest | undefined,
  visit: (type: number, size: number, write: (view: DataView, at: number) => void) => void,
): void {
  const other = rest?.other ?? [];
  let nextOther = 0;
  let index = 0;
  const flushOther = (all: boolean): void => {
    for (let o = other[nextOther]; o !== undefined && (all || o.index <= index); o = other[nextOther]) {
      const { type, data } = o;
      visit(check.u16(type, 'type'), data.length, (view, at) => bytesAt(view, at, data.length).set(data));
      nextOther++;
      index++;
    }
  };
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    flushOther(false);
    const spec = space.specs[name];
    if (spec === undefined) throw new EncodeError(name, `no such attribute among ${space.prefix}*`);
    const quirk = rest?.quirks?.[name];
    const size = spec.payload.size(value);
    visit(quirk?.type ?? wireType(spec), size + (quirk?.excess.length ?? 0), (view, at) => {
      spec.payload.write(view, at, value);
      if (quirk) bytesAt(view, at + size, quirk.excess.length).set(quirk.excess);
    });
    index++;
  }
  flushOther(true);
}

const bytesAt = (view: DataView, at: number, length: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + at, length);

export function attributesLength(space: AttributeSpace<object>, attributes: object, rest?: Rest): number {
  let total = 0;
  forEachAttribute(space, attributes, rest, (_, size) => {
    if (NLA_HEADER + size > 0xffff) throw new EncodeError(space.prefix, `an attribute of ${size} bytes is too long`);
    total += align4(NLA_HEADER + size);
  });
  return total;
}

/** Writes into zeroed memory; returns the offset behind the last attribute, aligned. */
export function writeAttributes(
  space: AttributeSpace<object>,
  view: DataView,
  start: number,
  attributes: object,
  rest?: Rest,
): number {
  let o = start;
  forEachAttribute(space, attributes, rest, (type, size, write) => {
    view.setUint16(o, NLA_HEADER + size, hostLittleEndian);
    view.setUint16(o + 2, type, hostLittleEndian);
    write(view, o + NLA_HEADER);
    o += align4(NLA_HEADER + size);
  });
  return o;
}

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
    },
    padding: () => [],
  };
}
