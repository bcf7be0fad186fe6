import { check, EncodeError, hostLittleEndian, room } from '../wire/index.ts';
import { PF_KEY_V2, WORD_BYTES } from './constants.ts';
import { type AnyExtensionSpec, extensionSpecs } from './extensions.ts';
import {
  type AnyPfkeyMessage,
  type OtherExtension,
  type PfkeyMessageToBe,
  PfkeyMsg,
  type PfkeyRest,
} from './messages.ts';
import { EXT_HEADER_BYTES, sadbMsg } from './structs.ts';

const WORDS_MAX = 0xffff;
const little = hostLittleEndian;

/**
 * The bytes of a message; of a decoded one, the very bytes it was decoded from. Like a Node.js Buffer, a small result may share its
 * `buffer` with others.
 *
 * @throws {EncodeError} with `path`, the place of the value that has no encoding
 */
export function encodePfkey(message: AnyPfkeyMessage | PfkeyMessageToBe): Uint8Array<ArrayBuffer> {
  const { kind, errno, satype, seq, pid, extensions, rest } = message;
  const type = kind === 'UNKNOWN' ? message.type : PfkeyMsg[kind];
  if (type === undefined) throw new EncodeError('kind', `no message ${String(kind)}`);
  if (type === 0) throw new EncodeError('type', '0 is reserved');
  if (typeof extensions !== 'object' || extensions === null) throw new EncodeError('extensions', 'must be an object');
  const pieces = piecesOf(extensions, rest);
  const length = pieces.reduce((sum, piece) => sum + piece.length, sadbMsg.size);
  if (length > WORDS_MAX * WORD_BYTES)
    throw new EncodeError('extensions', `${length} bytes are too long for a message`);
  const { view, at } = room(length);
  const bytes = new Uint8Array(view.buffer, at, length);
  sadbMsg.write(view, at, { version: PF_KEY_V2, type, errno, satype, len: length / WORD_BYTES, seq, pid });
  let o = at + sadbMsg.size;
  for (const piece of pieces) {
    view.setUint16(o, piece.length / WORD_BYTES, little);
    view.setUint16(o + 2, piece.type, little);
    piece.write(view, o);
    o += piece.length;
  }
  for (const { offset, bytes: padding } of rest?.padding ?? []) {
    if (offset < length) bytes.set(padding.subarray(0, length - offset), offset);
  }
  return bytes;
}

/** One extension, measured and ready to be written. */
interface Piece {
  readonly type: number;
  readonly length: number;
  readonly write: (view: DataView, at: number) => void;
}

function piecesOf(extensions: object, rest: PfkeyRest | undefined): Piece[] {
  const pieces: Piece[] = [];
  const other = rest?.other ?? [];
  let nextOther = 0;
  for (const [name, value] of Object.entries(extensions)) {
    if (value === undefined) continue;
    for (; nextOther < other.length && (other[nextOther] as OtherExtension).index <= pieces.length; nextOther++)
      pieces.push(otherPiece(other[nextOther] as OtherExtension));
    pieces.push(pieceOf(name, value, rest));
  }
  for (; nextOther < other.length; nextOther++) pieces.push(otherPiece(other[nextOther] as OtherExtension));
  return pieces;
}

function otherPiece({ type, data }: OtherExtension): Piece {
  const length = EXT_HEADER_BYTES + data.length;
  if (length % WORD_BYTES !== 0)
    throw new EncodeError('rest.other', `${data.length} bytes are not 4 more than words of 8`);
  if (check.u16(type, 'rest.other.type') === 0) throw new EncodeError('rest.other.type', '0 is reserved');
  return {
    type,
    length: inWords(length, 'rest.other'),
    write: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at + EXT_HEADER_BYTES, data.length).set(data),
  };
}

function pieceOf(name: string, value: object, rest: PfkeyRest | undefined): Piece {
  const path = `extensions.${name}`;
  const spec: AnyExtensionSpec | undefined = Object.hasOwn(extensionSpecs, name)
    ? extensionSpecs[name as keyof typeof extensionSpecs]
    : undefined;
  if (spec === undefined) throw new EncodeError(path, 'no such extension');
  const quirk = rest?.quirks?.[name as keyof typeof extensionSpecs];
  const size = within(path, spec, () => measured(spec, value));
  // A text may fill its extension without a NUL.
  const least = Object.values(spec.parts).some(({ form }) => form === 'text') ? size - 1 : size;
  const length = quirk === undefined ? align8(size) : Math.max(quirk.length, align8(least));
  return {
    type: spec.type,
    length: inWords(length, path),
    write(view, at) {
      within(path, spec, () => writeValue(spec, view, at, value));
      if (quirk === undefined || size >= length) return;
      const excess = quirk.excess.subarray(0, length - size);
      new Uint8Array(view.buffer, view.byteOffset + at + size, excess.length).set(excess);
    },
  };
}

/** How many bytes the value takes, header included. */
function measured({ fixed, parts }: AnyExtensionSpec, value: object): number {
  let size = fixed.size;
  for (const [name, part] of Object.entries(parts)) {
    const partValue = (value as Record<string, unknown>)[name];
    if (partValue === undefined && part.optional) continue;
    const fault = part.fault?.(partValue, value as Record<string, unknown>);
    if (fault !== undefined) throw new EncodeError(name, fault);
    size += nested(name, () => part.size(partValue));
  }
  // A value that is not of its type has no size, or a fraction of one.
  if (!Number.isInteger(size)) throw new TypeError('no size');
  return size;
}

function writeValue({ fixed, parts }: AnyExtensionSpec, view: DataView, at: number, value: object): void {
  fixed.write(view, at, value);
  let next = at + fixed.size;
  for (const [name, part] of Object.entries(parts)) {
    const partValue = (value as Record<string, unknown>)[name];
    if (partValue === undefined && part.optional) continue;
    nested(name, () => part.write(view, next, partValue));
    next += part.size(partValue);
  }
}

function nested<T>(name: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    EncodeError.within(name, error);
  }
}

function within<T>(path: string, { name }: AnyExtensionSpec, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof EncodeError) EncodeError.within(path, error);
    throw new EncodeError(path, `is not a value of ${name}`);
  }
}

function inWords(length: number, path: string): number {
  if (length > WORDS_MAX * WORD_BYTES) throw new EncodeError(path, `${length} bytes are too long for an extension`);
  return length;
}

const align8 = (n: number): number => (n + WORD_BYTES - 1) & ~(WORD_BYTES - 1);
