import { hostLittleEndian } from './endian.ts';
import { DecodeError, EncodeError } from './errors.ts';
import { check, type Scalar, type Struct } from './layout.ts';

/**
 * What stands in an attribute: a scalar, a structure, a structure with a variable end, a list of structures, text, bytes, nothing, or
 * attributes again. Each is data plus the three operations that the walkers need.
 */
export interface Payload<T> {
  readonly form: 'scalar' | 'struct' | 'tailed' | 'list' | 'text' | 'bytes' | 'flag' | 'nested';
  /** Shorter payloads are refused. */
  readonly min: number;
  /** How many bytes the value takes; what an attribute has beyond that is kept as its excess. */
  readonly size: (value: T) => number;
  readonly read: (view: DataView, at: number, length: number, what: string) => T;
  readonly write: (view: DataView, at: number, value: T) => void;
  /** Bytes of a value that no field covers: [offset, length]. Checked only on the careful path. */
  readonly padding: (value: T) => readonly (readonly [number, number])[];
  // biome-ignore lint/suspicious/noExplicitAny: description for text and JSON
  readonly layout?: Scalar<any> | Struct<any>;
  readonly tail?: Tail;
}

/** The variable end of a structure. */
export interface Tail {
  readonly name: string;
  readonly unit: 'bytes' | 'u32';
  /** Keys are hidden in text and JSON unless asked for. */
  readonly secret: boolean;
}

export type PayloadValue<P> = P extends Payload<infer T> ? T : never;

const none: readonly (readonly [number, number])[] = [];

export function scalarPayload<T>(layout: Scalar<T>): Payload<T> {
  const get = {
    u8: 'getUint8',
    u16: 'getUint16',
    u32: 'getUint32',
    i32: 'getInt32',
    u64: 'getBigUint64',
    be16: 'getUint16',
    be32: 'getUint32',
  }[layout.type] as 'getUint32';
  const set = get.replace('get', 'set') as 'setUint32';
  const little = layout.type.startsWith('be') ? false : hostLittleEndian;
  const verify = check[layout.type] as (value: T, path: string) => number;
  return {
    form: 'scalar',
    min: layout.size,
    size: () => layout.size,
    read: (view, at) => view[get](at, little) as T,
    write: (view, at, value) => view[set](at, verify(value, 'value'), little),
    padding: () => none,
    layout,
  };
}

export function structPayload<T>(layout: Struct<T>): Payload<T> {
  return {
    form: 'struct',
    min: layout.size,
    size: () => layout.size,
    read: (view, at) => layout.read(view, at),
    write: (view, at, value) => layout.write(view, at, value),
    padding: () => layout.padding,
    layout,
  };
}

/** A structure whose end counts bytes (a key of so many bits) or 32-bit words (a replay bitmap). */
export function tailedPayload<T extends object, N extends string, V extends Uint8Array | number[]>(
  layout: Struct<T>,
  spec: {
    readonly tail: N;
    readonly unit: V extends Uint8Array ? 'bytes' : 'u32';
    readonly secret?: boolean;
    /** How many units the fixed part announces. */
    readonly count: (fixed: T) => number;
    /** The end may be left out altogether, whatever is announced (REPLAY_ESN_VAL without its bitmap). */
    readonly mayBeAbsent?: boolean;
  },
): Payload<T & { [K in N]: V }> {
  type Value = T & { [K in N]: V };
  const width = spec.unit === 'u32' ? 4 : 1;
  const tailOf = (value: Value): V => value[spec.tail];
  return {
    form: 'tailed',
    min: layout.size,
    size: (value) => layout.size + tailOf(value).length * width,
    read(view, at, length, what) {
      const fixed = layout.read(view, at);
      const announced = spec.count(fixed);
      const absent = spec.mayBeAbsent === true && length === layout.size;
      if (!absent && layout.size + announced * width > length) {
        throw new DecodeError(
          'ERR_ATTRIBUTE_SHORT',
          what,
          at,
          `announces ${announced} ${spec.unit}, has ${length - layout.size} bytes`,
        );
      }
      const count = absent ? 0 : announced;
      const start = at + layout.size;
      if (spec.unit === 'u32') {
        const words = new Array<number>(count);
        for (let i = 0; i < count; i++) words[i] = view.getUint32(start + 4 * i, hostLittleEndian);
        (fixed as Record<string, unknown>)[spec.tail] = words;
      } else {
        (fixed as Record<string, unknown>)[spec.tail] = copyBytes(view, start, count);
      }
      return fixed as Value;
    },
    write(view, at, value) {
      layout.write(view, at, value);
      const tail = tailOf(value);
      const announced = spec.count(value);
      if (tail.length !== announced && !(spec.mayBeAbsent === true && tail.length === 0)) {
        throw new EncodeError(
          spec.tail,
          `${layout.name} announces ${announced} ${spec.unit}, the value has ${tail.length}`,
        );
      }
      const start = at + layout.size;
      if (spec.unit === 'u32') {
        for (let i = 0; i < tail.length; i++)
          view.setUint32(start + 4 * i, check.u32(tail[i] as number, spec.tail), hostLittleEndian);
      } else {
        new Uint8Array(view.buffer, view.byteOffset + start, tail.length).set(tail as Uint8Array);
      }
    },
    padding: () => layout.padding,
    layout,
    tail: { name: spec.tail, unit: spec.unit, secret: spec.secret === true },
  };
}

/** One or more structures in a row; bytes after the last whole one are excess. */
export function listPayload<T>(layout: Struct<T>): Payload<T[]> {
  return {
    form: 'list',
    min: layout.size,
    size: (value) => layout.size * value.length,
    read(view, at, length) {
      const list: T[] = [];
      for (let o = 0; o + layout.size <= length; o += layout.size) list.push(layout.read(view, at + o));
      return list;
    },
    write(view, at, value) {
      value.forEach((entry, i) => {
        layout.write(view, at + i * layout.size, entry);
      });
    },
    padding: (value) => value.flatMap((_, i) => layout.padding.map(([o, n]) => [i * layout.size + o, n] as const)),
    layout,
  };
}

/** NUL-terminated text, as in extended acknowledgements. */
export const textPayload: Payload<string> = {
  form: 'text',
  min: 0,
  size: (value) => Buffer.byteLength(value) + 1,
  read(view, at, length) {
    const bytes = new Uint8Array(view.buffer, view.byteOffset + at, length);
    const nul = bytes.indexOf(0);
    return Buffer.from(bytes.subarray(0, nul < 0 ? length : nul)).toString('utf8');
  },
  write(view, at, value) {
    new Uint8Array(view.buffer, view.byteOffset + at).set(Buffer.from(value));
  },
  padding: () => none,
};

/** Bytes without a meaning of their own. */
export const bytesPayload: Payload<Uint8Array> = {
  form: 'bytes',
  min: 0,
  size: (value) => value.length,
  read: (view, at, length) => copyBytes(view, at, length),
  write(view, at, value) {
    new Uint8Array(view.buffer, view.byteOffset + at, value.length).set(value);
  },
  padding: () => none,
};

/** Present or not (NLA_FLAG). */
export const flagPayload: Payload<true> = {
  form: 'flag',
  min: 0,
  size: () => 0,
  read: () => true,
  write: () => {},
  padding: () => none,
};

export function copyBytes(view: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, length).slice();
}
