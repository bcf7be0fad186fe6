import {
  check,
  checkText,
  copyBytes,
  DecodeError,
  EncodeError,
  hostLittleEndian,
  type Struct,
  type ValueOf,
} from '../wire/index.ts';
import { WORD_BYTES } from './constants.ts';
import {
  pairPadding,
  pairSize,
  readPair,
  readSockaddr,
  type Sockaddr,
  type SockaddrPair,
  sockaddrPadding,
  sockaddrSize,
  writePair,
  writeSockaddr,
} from './sockaddr.ts';
import { sadbIpsecrequest } from './structs.ts';

type Ranges = readonly (readonly [offset: number, length: number])[];

/**
 * What follows the fixed structure of an extension: data for text and JSON (`form`, `secret`, `layout`), and the operations that the
 * codec needs. `fixed` is the structure's value, which announces lengths.
 */
export interface Part<V, O extends boolean = false> {
  readonly form: 'sockaddr' | 'pair' | 'bytes' | 'text' | 'u32s' | 'u64s' | 'list' | 'requests';
  /** The value may be left out. */
  readonly optional: O;
  /** Hidden in text and JSON unless asked for. */
  readonly secret?: boolean;
  // biome-ignore lint/suspicious/noExplicitAny: description for text and JSON
  readonly layout?: Struct<any>;
  /** How many bytes the value takes. */
  readonly size: (value: V) => number;
  /** @throws DecodeError only for what Linux refuses too */
  readonly read: (view: DataView, at: number, end: number, fixed: Fixed, what: string) => V | undefined;
  readonly write: (view: DataView, at: number, value: V) => void;
  readonly padding: (value: V) => Ranges;
  /** What contradicts the structure before it. */
  readonly fault?: (value: V, fixed: Fixed) => string | undefined;
}

/** A fixed structure's value: only the announced lengths are looked at. */
type Fixed = Readonly<Record<string, unknown>>;

// biome-ignore lint/suspicious/noExplicitAny: a table of unlike parts
export type AnyPart = Part<any, any>;

/** An `sadb_x_ipsecrequest`: how packets of a policy are to be treated. `data` is what stands in it behind that. */
export interface IpsecRequest extends Omit<ValueOf<typeof sadbIpsecrequest>, 'len'> {
  /** The tunnel's ends. */
  addresses?: SockaddrPair;
  data?: Uint8Array;
}

const little = hostLittleEndian;
const none: Ranges = [];
const align8 = (n: number): number => (n + WORD_BYTES - 1) & ~(WORD_BYTES - 1);

/** An address that ends with the extension (af_key.c:verify_address_len). */
export const sockaddrPart: Part<Sockaddr> = {
  form: 'sockaddr',
  optional: false,
  size: sockaddrSize,
  read(view, at, end, _, what) {
    const value = readSockaddr(view, at, end);
    if (value !== undefined && align8(sockaddrSize(value)) === end - at) return value;
    throw new DecodeError('ERR_ADDRESS', what, at, `${end - at} bytes that are no IPv4 or IPv6 socket address`);
  },
  write: writeSockaddr,
  padding: sockaddrPadding,
};

/** Two addresses, or none: only the handler of MIGRATE looks at them. */
export const pairPart: Part<SockaddrPair, true> = {
  form: 'pair',
  optional: true,
  size: pairSize,
  read: (view, at, end) => readPair(view, at, end),
  write: writePair,
  padding: pairPadding,
};

/** As many bytes as `count` says. @throws DecodeError if fewer are there */
export function bytesPart(count: (fixed: never) => number, secret = false): Part<Uint8Array> {
  const announced = count as (fixed: Fixed) => number;
  return {
    form: 'bytes',
    optional: false,
    secret,
    size: (value) => value.length,
    read(view, at, end, fixed, what) {
      const length = announced(fixed);
      if (length > end - at) throw short(what, at, end, length);
      return copyBytes(view, at, length);
    },
    write: writeBytes,
    padding: () => none,
    fault: ({ length }, fixed) => mismatch(announced(fixed), length, 'bytes'),
  };
}

/** All bytes to the end of the extension. */
export function openBytesPart(secret: boolean): Part<Uint8Array> {
  return {
    form: 'bytes',
    optional: false,
    secret,
    size: (value) => value.length,
    read: (view, at, end) => copyBytes(view, at, end - at),
    write: writeBytes,
    padding: () => none,
  };
}

/** NUL-terminated Latin-1 text; Linux does not look at it. */
export const textPart: Part<string> = {
  form: 'text',
  optional: false,
  size: (value) => value.length + 1,
  read(view, at, end) {
    let text = '';
    for (let o = at; o < end; o++) {
      const code = view.getUint8(o);
      if (code === 0) break;
      text += String.fromCharCode(code);
    }
    return text;
  },
  write(view, at, value) {
    checkText(value, 0xffff, '');
    for (let i = 0; i < value.length; i++) view.setUint8(at + i, value.charCodeAt(i));
  },
  padding: () => none,
};

/** As many 32-bit words as `count` says. @throws DecodeError if fewer are there */
export function wordsPart(count: (fixed: never) => number): Part<number[]> {
  const announced = count as (fixed: Fixed) => number;
  return {
    form: 'u32s',
    optional: false,
    size: (value) => 4 * value.length,
    read(view, at, end, fixed, what) {
      const length = announced(fixed);
      if (4 * length > end - at) throw short(what, at, end, 4 * length);
      return Array.from({ length }, (_, i) => view.getUint32(at + 4 * i, little));
    },
    write: (view, at, value) =>
      value.forEach((word, i) => {
        view.setUint32(at + 4 * i, check.u32(word, String(i)), little);
      }),
    padding: () => none,
    fault: ({ length }, fixed) => mismatch(announced(fixed), length, 'words'),
  };
}

/** As many 64-bit words as `count` says, or fewer if the extension ends before: Linux does not look at them. */
export function longWordsPart(count: (fixed: never) => number): Part<bigint[]> {
  const announced = count as (fixed: Fixed) => number;
  return {
    form: 'u64s',
    optional: false,
    size: (value) => 8 * value.length,
    read(view, at, end, fixed) {
      const length = Math.min(announced(fixed), Math.floor(Math.max(0, end - at) / 8));
      return Array.from({ length }, (_, i) => view.getBigUint64(at + 8 * i, little));
    },
    write: (view, at, value) =>
      value.forEach((word, i) => {
        view.setBigUint64(at + 8 * i, check.u64(word, String(i)), little);
      }),
    padding: () => none,
  };
}

/** Structures in a row; bytes after the last whole one are excess. */
export function listPart<T>(layout: Struct<T>): Part<T[]> {
  return {
    form: 'list',
    optional: false,
    layout,
    size: (value) => layout.size * value.length,
    read(view, at, end) {
      const list: T[] = [];
      for (let o = at; o + layout.size <= end; o += layout.size) list.push(layout.read(view, o));
      return list;
    },
    write: (view, at, value) =>
      value.forEach((entry, i) => {
        within(i, () => layout.write(view, at + i * layout.size, entry));
      }),
    padding: (value) => value.flatMap((_, i) => shifted(layout.padding, i * layout.size)),
  };
}

/** The end of X_POLICY (af_key.c:parse_ipsecrequests). What is not well formed is excess: only policies of type IPSEC are looked into. */
export const requestsPart: Part<IpsecRequest[]> = {
  form: 'requests',
  optional: false,
  layout: sadbIpsecrequest,
  size: (value) => value.reduce((sum, request) => sum + requestSize(request), 0),
  read(view, at, end) {
    const list: IpsecRequest[] = [];
    for (let o = at; end - o >= sadbIpsecrequest.size; ) {
      const { len, ...request } = sadbIpsecrequest.read(view, o);
      if (len < sadbIpsecrequest.size || len > end - o) break;
      const behind = o + sadbIpsecrequest.size;
      const addresses = readPair(view, behind, o + len);
      const dataAt = behind + (addresses === undefined ? 0 : pairSize(addresses));
      const data = dataAt < o + len ? copyBytes(view, dataAt, o + len - dataAt) : undefined;
      list.push({ ...request, ...(addresses && { addresses }), ...(data && { data }) });
      o += len;
    }
    return list;
  },
  write(view, at, value) {
    let o = at;
    value.forEach((request, i) => {
      const len = requestSize(request);
      within(i, () => {
        sadbIpsecrequest.write(view, o, { ...request, len });
        const behind = o + sadbIpsecrequest.size;
        if (request.addresses) writePair(view, behind, request.addresses);
        if (request.data) writeBytes(view, o + len - request.data.length, request.data);
      });
      o += len;
    });
  },
  padding(value) {
    let o = 0;
    return value.flatMap((request) => {
      const at = o;
      o += requestSize(request);
      const pair = request.addresses ? pairPadding(request.addresses) : none;
      return [...shifted(sadbIpsecrequest.padding, at), ...shifted(pair, at + sadbIpsecrequest.size)];
    });
  },
};

function requestSize({ addresses, data }: IpsecRequest): number {
  return sadbIpsecrequest.size + (addresses ? pairSize(addresses) : 0) + (data?.length ?? 0);
}

function writeBytes(view: DataView, at: number, value: Uint8Array): void {
  new Uint8Array(view.buffer, view.byteOffset + at, value.length).set(value);
}

const shifted = (ranges: Ranges, by: number): (readonly [number, number])[] => ranges.map(([o, n]) => [o + by, n]);

function within(index: number, write: () => void): void {
  try {
    write();
  } catch (error) {
    EncodeError.within(String(index), error);
  }
}

const short = (what: string, at: number, end: number, needs: number): DecodeError =>
  new DecodeError('ERR_EXTENSION_SHORT', what, at, `${end - at} bytes, its content needs ${needs}`);

const mismatch = (announced: number, length: number, unit: string): string | undefined =>
  length === announced ? undefined : `${announced} ${unit} are announced, ${length} are there`;
