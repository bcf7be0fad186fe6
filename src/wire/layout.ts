import { hostLittleEndian } from './endian.ts';
import { EncodeError } from './errors.ts';

/**
 * C structures as data. A `Struct` is an ordered list of fields; offsets, padding and size follow from the C rules of natural
 * alignment, so a table reads like the header file it stands for. Readers and writers are compiled once from the table into straight
 * code: that is what makes a typed decode as fast as hand-written C (see docs/decisions/0002-compiled-layouts.md).
 */

type ScalarType = 'u8' | 'u16' | 'u32' | 'i32' | 'u64' | 'be16' | 'be32';

/** How a number is shown: the names of an enumeration, or of the bits of a set. */
export interface Meaning {
  readonly names: Readonly<Record<string, number>>;
  readonly bits: boolean;
}

export interface Scalar<T> {
  readonly kind: 'scalar';
  readonly type: ScalarType;
  readonly size: number;
  readonly meaning?: Meaning;
  /** Only for the type checker. */
  readonly value?: T;
}

/** A NUL-padded string of fixed size (`char name[64]`), read as Latin-1 up to the first NUL. */
export interface Chars {
  readonly kind: 'chars';
  readonly size: number;
  readonly value?: string;
}

export interface Struct<T> {
  readonly kind: 'struct';
  /** The name in linux/xfrm.h or linux/netlink.h. */
  readonly name: string;
  readonly size: number;
  readonly align: number;
  readonly fields: readonly StructField[];
  /** Byte ranges that no field covers, nested structures included: [offset, length]. */
  readonly padding: readonly (readonly [offset: number, length: number])[];
  readonly read: (view: DataView, at: number) => T;
  readonly write: (view: DataView, at: number, value: T) => void;
  /** True if every padding byte is zero, as all well-behaved senders leave them. */
  readonly paddingIsZero: (view: DataView, at: number) => boolean;
  /** A fresh value with all fields zero. */
  readonly zero: () => T;
}

/** Bytes that the header file calls reserved. They are padding with a name: no value holds them. */
export interface Reserved {
  readonly kind: 'reserved';
  readonly size: number;
}

// biome-ignore lint/suspicious/noExplicitAny: any layout, whatever its value
export type Layout = Scalar<any> | Chars | Struct<any>;

export interface StructField {
  readonly name: string;
  readonly offset: number;
  readonly layout: Layout;
}

/** The value that a layout stands for. */
export type ValueOf<L> = L extends { readonly read: (view: DataView, at: number) => infer T }
  ? T
  : L extends { readonly value?: infer T }
    ? Exclude<T, undefined>
    : never;

type StructValue<F> = { -readonly [K in keyof F as F[K] extends Reserved ? never : K]: ValueOf<F[K]> };

const sizes: Record<ScalarType, number> = { u8: 1, u16: 2, u32: 4, i32: 4, u64: 8, be16: 2, be32: 4 };

function scalar<T>(type: ScalarType): Scalar<T> {
  return { kind: 'scalar', type, size: sizes[type] };
}

/** Host order, like every integer of netlink that is not said to be in network order. */
export const u8: Scalar<number> = scalar<number>('u8');
export const u16: Scalar<number> = scalar<number>('u16');
export const u32: Scalar<number> = scalar<number>('u32');
export const i32: Scalar<number> = scalar<number>('i32');
export const u64: Scalar<bigint> = scalar<bigint>('u64');
/** Network order. */
export const be16: Scalar<number> = scalar<number>('be16');
export const be32: Scalar<number> = scalar<number>('be32');

/** A number that is shown by name. */
export function oneOf(base: Scalar<number>, names: Readonly<Record<string, number>>): Scalar<number> {
  return { ...base, meaning: { names, bits: false } };
}

/** A number that is shown as the names of its bits. */
export function bitsOf(base: Scalar<number>, names: Readonly<Record<string, number>>): Scalar<number> {
  return { ...base, meaning: { names, bits: true } };
}

export function chars(size: number): Chars {
  return { kind: 'chars', size };
}

export const reserved = (size: number): Reserved => ({ kind: 'reserved', size });

function alignOf(layout: Layout): number {
  return layout.kind === 'struct' ? layout.align : layout.kind === 'chars' ? 1 : layout.size;
}

const alignUp = (n: number, to: number): number => Math.ceil(n / to) * to;

/**
 * A C structure. `size` is what the header file's compiler says (sizeof); a table that disagrees with it is refused at load time.
 *
 * @param start where the first field may stand: the bytes before it are a header that somebody else reads and writes
 */
export function struct<const F extends Record<string, Layout | Reserved>>(
  name: string,
  size: number,
  spec: F,
  start = 0,
): Struct<StructValue<F>> {
  const fields: StructField[] = [];
  const padding: [number, number][] = [];
  let end = start;
  let align = 1;
  const skipTo = (offset: number): void => {
    if (offset > end) padding.push([end, offset - end]);
    end = offset;
  };
  for (const [fieldName, layout] of Object.entries(spec)) {
    if (layout.kind === 'reserved') {
      padding.push([end, layout.size]);
      end += layout.size;
      continue;
    }
    align = Math.max(align, alignOf(layout));
    skipTo(alignUp(end, alignOf(layout)));
    fields.push({ name: fieldName, offset: end, layout });
    if (layout.kind === 'struct') for (const [o, n] of layout.padding) padding.push([end + o, n]);
    end += layout.size;
  }
  skipTo(alignUp(end, align));
  if (end !== size) throw new TypeError(`${name} is ${size} bytes in C, this table makes ${end}`);
  const read = compileRead<StructValue<F>>(fields);
  return {
    kind: 'struct',
    name,
    size,
    align,
    fields,
    padding,
    read,
    write: compileWrite<StructValue<F>>(fields),
    paddingIsZero: compilePaddingIsZero(padding),
    zero: () => read(new DataView(new ArrayBuffer(size)), 0),
  };
}

const getters: Record<ScalarType, string> = {
  u8: 'getUint8',
  u16: 'getUint16',
  u32: 'getUint32',
  i32: 'getInt32',
  u64: 'getBigUint64',
  be16: 'getUint16',
  be32: 'getUint32',
};

const order = (type: ScalarType): string =>
  type === 'u8' ? '' : `, ${type === 'be16' || type === 'be32' ? false : hostLittleEndian}`;

/** An expression that reads a scalar at `at`. Shared with the attribute reader, as is the next. */
export const scalarExpression = (type: ScalarType, at: string): string => `v.${getters[type]}(${at}${order(type)})`;

/** An expression that builds the value of `fields` from the bytes at `o + base`. */
export function readExpression(fields: readonly StructField[], base = 0): string {
  const parts = fields.map(({ name, offset, layout }) => {
    const at = `o + ${base + offset}`;
    if (layout.kind === 'struct') return `${name}: ${readExpression(layout.fields, base + offset)}`;
    if (layout.kind === 'chars') return `${name}: readChars(v, ${at}, ${layout.size})`;
    return `${name}: ${scalarExpression(layout.type, at)}`;
  });
  return `{ ${parts.join(', ')} }`;
}

function compileRead<T>(fields: readonly StructField[]): (view: DataView, at: number) => T {
  return new Function('readChars', `return (v, o) => (${readExpression(fields)});`)(readChars);
}

function writeStatements(fields: readonly StructField[], base = 0, path = 'x'): string[] {
  return fields.flatMap(({ name, offset, layout }) => {
    const at = `o + ${base + offset}`;
    const source = `${path}.${name}`;
    const label = JSON.stringify(source.slice(2));
    if (layout.kind === 'struct') return writeStatements(layout.fields, base + offset, source);
    if (layout.kind === 'chars') return [`writeChars(v, ${at}, ${layout.size}, ${source}, ${label});`];
    return [scalarStatement(layout.type, at, source, label)];
  });
}

/** The quick test stands in the code, the call is for values that fail it (or are 64 bits wide). */
function scalarStatement(type: ScalarType, at: string, source: string, label: string): string {
  const coerced = { 1: `${source} & 0xff`, 2: `${source} & 0xffff`, 4: `${source} >>> 0`, 8: undefined }[sizes[type]];
  const suspect = type === 'i32' ? `(${source} | 0) !== ${source}` : coerced && `(${coerced}) !== ${source}`;
  const verify = `check.${type}(${source}, ${label});`;
  const setter = getters[type].replace('get', 'set');
  return `${suspect ? `if (${suspect}) ` : ''}${verify} v.${setter}(${at}, ${source}${order(type)});`;
}

export function compileScalarRead<T>({ type }: Scalar<T>): (view: DataView, at: number) => T {
  return new Function(`return (v, o) => ${scalarExpression(type, 'o')};`)();
}

export function compileScalarWrite<T>({ type }: Scalar<T>): (view: DataView, at: number, value: T) => void {
  return new Function('check', `return (v, o, x) => { ${scalarStatement(type, 'o', 'x', "''")} };`)(check);
}

function compileWrite<T>(fields: readonly StructField[]): (view: DataView, at: number, value: T) => void {
  const body = `return (v, o, x) => { ${writeStatements(fields).join(' ')} };`;
  return new Function('check', 'writeChars', body)(check, writeChars);
}

function compilePaddingIsZero(padding: readonly (readonly [number, number])[]): (v: DataView, at: number) => boolean {
  const bytes = padding.flatMap(([o, n]) => Array.from({ length: n }, (_, i) => `v.getUint8(o + ${o + i})`));
  return new Function(`return (v, o) => (${bytes.join(' | ') || '0'}) === 0;`)();
}

function integer(max: number): (value: number, path: string) => number {
  return (value, path) => {
    if (Number.isInteger(value) && value >= 0 && value <= max) return value;
    throw new EncodeError(path, `${String(value)} is not an integer from 0 to ${max}`);
  };
}

/** Values are refused, never wrapped or clamped. */
export const check = {
  u8: integer(0xff),
  u16: integer(0xffff),
  u32: integer(0xffff_ffff),
  be16: integer(0xffff),
  be32: integer(0xffff_ffff),
  i32: (value: number, path: string): number => {
    if ((value | 0) === value) return value;
    throw new EncodeError(path, `${String(value)} is not a 32-bit integer`);
  },
  u64: (value: bigint, path: string): bigint => {
    if (typeof value === 'bigint' && value >= 0n && value <= 0xffff_ffff_ffff_ffffn) return value;
    throw new EncodeError(path, `${String(value)} is not a bigint from 0 to 2^64-1`);
  },
};

function readChars(view: DataView, at: number, size: number): string {
  let text = '';
  for (let i = 0; i < size; i++) {
    const code = view.getUint8(at + i);
    if (code === 0) break;
    text += String.fromCharCode(code);
  }
  return text;
}

/** Text that reads back as it was written. Every character is a byte, and none is the NUL that ends it. */
export function checkText(text: string, lengthMax: number, path: string): void {
  if (typeof text !== 'string' || text.length > lengthMax)
    throw new EncodeError(path, `longer than ${lengthMax} characters`);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0 || code > 0xff) throw new EncodeError(path, 'not Latin-1 text without NUL');
  }
}

function writeChars(view: DataView, at: number, size: number, text: string, path: string): void {
  checkText(text, size, path);
  for (let i = 0; i < text.length; i++) view.setUint8(at + i, text.charCodeAt(i));
}
