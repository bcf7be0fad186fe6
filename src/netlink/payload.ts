import {
  check,
  checkText,
  compileScalarRead,
  compileScalarWrite,
  copyBytes,
  EncodeError,
  hostLittleEndian,
  type Scalar,
  type Struct,
  type StructField,
} from '../wire/index.ts';

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
  readonly read: (view: DataView, at: number, length: number) => T;
  readonly write: (view: DataView, at: number, value: T) => void;
  /** What is missing in a value, if its end can be shorter than it announces. Such a value is decoded, but not made. */
  readonly fault?: (value: T) => string | undefined;
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
  return {
    form: 'scalar',
    min: layout.size,
    size: () => layout.size,
    read: compileScalarRead(layout),
    write: compileScalarWrite(layout),
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

/**
 * A structure whose end counts bytes (a key of so many bits) or 32-bit words (a replay bitmap). As in the kernel, parsing asks for the
 * fixed part alone: an end that is shorter than announced is read as far as it goes, and the handler of the message has the last word.
 */
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
  const names = layout.fields.filter((field) => field.layout.kind === 'chars');
  return {
    form: 'tailed',
    min: layout.size,
    size: (value) => layout.size + tailOf(value).length * width,
    read(view, at, length) {
      const fixed = layout.read(view, at);
      const count = Math.min(spec.count(fixed), Math.floor((length - layout.size) / width));
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
      const start = at + layout.size;
      if (spec.unit === 'u32') {
        for (let i = 0; i < tail.length; i++)
          view.setUint32(start + 4 * i, check.u32(tail[i] as number, spec.tail), hostLittleEndian);
      } else {
        new Uint8Array(view.buffer, view.byteOffset + start, tail.length).set(tail as Uint8Array);
      }
    },
    fault(value) {
      const { length } = tailOf(value);
      const announced = spec.count(value);
      if (length === announced || (spec.mayBeAbsent === true && length === 0)) return undefined;
      return `${layout.name} announces ${announced} ${spec.unit}, its ${spec.tail} has ${length}`;
    },
    padding:
      names.length === 0 ? () => layout.padding : (value) => [...layout.padding, ...names.map((f) => behind(f, value))],
    layout,
    tail: { name: spec.tail, unit: spec.unit, secret: spec.secret === true },
  };
}

/** What stands behind the NUL of a name. */
function behind({ name, offset, layout }: StructField, value: object): readonly [number, number] {
  const { length } = (value as Record<string, string>)[name] ?? '';
  return [offset + length, layout.size - length];
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
        try {
          layout.write(view, at + i * layout.size, entry);
        } catch (error) {
          EncodeError.within(String(i), error);
        }
      });
    },
    padding: (value) => value.flatMap((_, i) => layout.padding.map(([o, n]) => [i * layout.size + o, n] as const)),
    layout,
  };
}

/** NUL-terminated Latin-1 text, as in extended acknowledgements (the kernel's are ASCII). */
export const textPayload: Payload<string> = {
  form: 'text',
  min: 0,
  size: (value) => value.length + 1,
  read(view, at, length) {
    const bytes = new Uint8Array(view.buffer, view.byteOffset + at, length);
    const nul = bytes.indexOf(0);
    return Buffer.from(bytes.subarray(0, nul < 0 ? length : nul)).toString('latin1');
  },
  write(view, at, value) {
    checkText(value, 0xffff, '');
    new Uint8Array(view.buffer, view.byteOffset + at, value.length).set(Buffer.from(value, 'latin1'));
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
