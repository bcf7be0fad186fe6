import { allZero, copyBytes, DecodeError, hostLittleEndian, viewOf } from '../wire/index.ts';
import { PF_KEY_V2, WORD_BYTES } from './constants.ts';
import { type AnyExtensionSpec, type PfkeyExtensionName, specsByType } from './extensions.ts';
import { type AnyPfkeyMessage, kindByType, type PfkeyRest } from './messages.ts';
import { EXT_HEADER_BYTES, sadbMsg } from './structs.ts';

const LEN_AT = 4;
const little = hostLittleEndian;

/**
 * Calls `visit` with the start and the length of every message in `bytes`, one behind the other. Returns where it stopped. From a socket
 * comes one at a time.
 */
export function forEachPfkey(bytes: Uint8Array, visit: (at: number, length: number) => void): number {
  const view = viewOf(bytes);
  let o = 0;
  while (bytes.length - o >= sadbMsg.size) {
    const length = WORD_BYTES * view.getUint16(o + LEN_AT, little);
    if (length < sadbMsg.size || length > bytes.length - o) break;
    visit(o, length);
    o += length;
  }
  return o;
}

/**
 * Reads the message that starts at `at`, with the checks that the kernel makes of any message (af_key.c:pfkey_get_base_msg,
 * parse_exthdrs) and no others. Bytes behind the message are left alone.
 *
 * @throws {DecodeError} with `code`, `offset` and the structure or extension concerned; and nothing else
 */
export function decodePfkey(bytes: Uint8Array, at = 0): AnyPfkeyMessage {
  const view = viewOf(bytes);
  const there = bytes.length - at;
  if (!(at >= 0) || there < sadbMsg.size)
    throw new DecodeError('ERR_HEADER_SHORT', sadbMsg.name, at, `${Math.max(0, there)} bytes, needs ${sadbMsg.size}`);
  const { version, type, errno, satype, len, seq, pid } = sadbMsg.read(view, at);
  if (version !== PF_KEY_V2)
    throw new DecodeError('ERR_VERSION', sadbMsg.name, at, `version ${version}, must be ${PF_KEY_V2}`);
  if (type === 0) throw new DecodeError('ERR_TYPE', sadbMsg.name, at, 'type 0 is reserved');
  const length = WORD_BYTES * len;
  if (length < sadbMsg.size || length > there)
    throw new DecodeError('ERR_MESSAGE_LENGTH', sadbMsg.name, at, `${length} bytes long, ${there} bytes are there`);
  const rest: PfkeyRest = {};
  for (const [o, n] of sadbMsg.padding) notePadding(rest, view, at, at + o, n);
  const extensions = readExtensions(view, at, at + length, rest);
  const kind = kindByType.get(type);
  const head = kind === undefined ? { kind: 'UNKNOWN' as const, type } : { kind };
  const message = { ...head, errno, satype, seq, pid, extensions } as AnyPfkeyMessage;
  if (Object.keys(rest).length > 0) message.rest = rest;
  return message;
}

function readExtensions(view: DataView, origin: number, end: number, rest: PfkeyRest): object {
  const extensions: Record<string, unknown> = {};
  let index = 0;
  for (let o = origin + sadbMsg.size; o < end; index++) {
    const length = WORD_BYTES * view.getUint16(o, little);
    const type = view.getUint16(o + 2, little);
    if (length === 0 || length > end - o)
      throw new DecodeError(
        'ERR_EXTENSION_LENGTH',
        `extension ${type}`,
        o,
        `${length} bytes long, ${end - o} are left`,
      );
    if (type === 0) throw new DecodeError('ERR_TYPE', 'sadb_ext', o, 'type 0 is reserved');
    const known = specsByType.get(type);
    if (known === undefined) {
      rest.other ??= [];
      rest.other.push({ index, type, data: copyBytes(view, o + EXT_HEADER_BYTES, length - EXT_HEADER_BYTES) });
    } else {
      const [name, spec] = known;
      if (name in extensions) throw new DecodeError('ERR_EXTENSION_REPEATED', spec.name, o, 'is there twice');
      extensions[name] = readExtension(name, spec, view, origin, o, o + length, rest);
    }
    o += length;
  }
  return extensions;
}

function readExtension(
  name: PfkeyExtensionName,
  { name: what, fixed, parts }: AnyExtensionSpec,
  view: DataView,
  origin: number,
  at: number,
  end: number,
  rest: PfkeyRest,
): object {
  if (end - at < fixed.size)
    throw new DecodeError('ERR_EXTENSION_SHORT', what, at, `${end - at} bytes, needs ${fixed.size}`);
  const value = fixed.read(view, at) as Record<string, unknown>;
  for (const [o, n] of fixed.padding) notePadding(rest, view, origin, at + o, n);
  let next = at + fixed.size;
  for (const [partName, part] of Object.entries(parts)) {
    const partValue: unknown = part.read(view, next, end, value, what);
    if (partValue === undefined) continue;
    value[partName] = partValue;
    for (const [o, n] of part.padding(partValue))
      notePadding(rest, view, origin, next + o, Math.min(n, end - next - o));
    next += part.size(partValue);
  }
  if (at + align8(next - at) === end) notePadding(rest, view, origin, next, end - next);
  else {
    rest.quirks ??= {};
    rest.quirks[name] = { length: end - at, excess: copyBytes(view, Math.min(next, end), Math.max(0, end - next)) };
  }
  return value;
}

function notePadding(rest: PfkeyRest, view: DataView, origin: number, at: number, length: number): void {
  if (allZero(view, at, length)) return;
  rest.padding ??= [];
  rest.padding.push({ offset: at - origin, bytes: copyBytes(view, at, length) });
}

const align8 = (n: number): number => (n + WORD_BYTES - 1) & ~(WORD_BYTES - 1);
