import { DecodeError, decodeMessage, type Json, type JsonObject, messageToJson } from '../xfrm/index.ts';

const ROW_BYTES = 16;
/** Rows shown of one message: enough for every field of an SA. */
const ROWS_MAX = 64;

/** A message as JSON. @throws DecodeError */
export type ToJson = (bytes: Uint8Array) => JsonObject;

/**
 * Says in which fields two messages differ, expected and actual side by side; in which bytes, where the fields do not tell (padding, keys,
 * messages that cannot be decoded). Empty if they are equal; `undefined` stands for a message that is not there.
 */
export function difference(
  expected: Uint8Array | undefined,
  actual: Uint8Array | undefined,
  toJson: ToJson = (bytes) => messageToJson(decodeMessage(bytes)),
): string {
  if (expected === undefined && actual === undefined) return '';
  if (expected === undefined) return table([['message', '(none)', whole(actual, toJson)]]);
  if (actual === undefined) return table([['message', whole(expected, toJson), '(none)']]);
  if (Buffer.compare(expected, actual) === 0) return '';
  const left = fieldsOf(expected, toJson);
  const right = fieldsOf(actual, toJson);
  const names = [...new Set([...left.keys(), ...right.keys()])];
  const rows = names
    .map((name) => [name, left.get(name) ?? '(none)', right.get(name) ?? '(none)'] as const)
    .filter(([, a, b]) => a !== b);
  return table(rows.length > 0 ? rows : byteRows(expected, actual));
}

type Row = readonly [name: string, expected: string, actual: string];

function table(rows: readonly Row[]): string {
  const shown: readonly Row[] = [['', 'expected', 'actual'], ...rows.slice(0, ROWS_MAX)];
  const nameWidth = Math.max(...shown.map(([name]) => name.length));
  const leftWidth = Math.max(...shown.map(([, left]) => left.length));
  const lines = shown.map(([name, left, right]) => `${name.padEnd(nameWidth)}  ${left.padEnd(leftWidth)}  ${right}`);
  if (rows.length > ROWS_MAX) lines.push(`(${rows.length - ROWS_MAX} more)`);
  return lines.join('\n');
}

function whole(bytes: Uint8Array | undefined, toJson: ToJson): string {
  if (bytes === undefined) return '(none)';
  return `${fieldsOf(bytes, toJson).get('message') ?? 'no message'}, ${bytes.length} bytes`;
}

/** Every field by its path, e.g. `attributes.replayVal.oseq`. */
function fieldsOf(bytes: Uint8Array, toJson: ToJson): Map<string, string> {
  const fields = new Map<string, string>();
  const add = (path: string, value: Json): void => {
    if (typeof value !== 'object' || value === null) fields.set(path, String(value));
    else if (Array.isArray(value) && value.every((v) => typeof v !== 'object'))
      fields.set(path, value.join(',') || '-');
    else for (const [name, part] of Object.entries(value)) add(path === '' ? name : `${path}.${name}`, part);
  };
  try {
    add('', toJson(bytes));
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    fields.set('undecodable', error.message);
  }
  return fields;
}

function byteRows(expected: Uint8Array, actual: Uint8Array): Row[] {
  const rows: Row[] = [];
  if (expected.length !== actual.length) rows.push(['length', String(expected.length), String(actual.length)]);
  for (let at = 0; at < Math.max(expected.length, actual.length); at += ROW_BYTES) {
    const [left, right] = [expected, actual].map((b) => Buffer.from(b.subarray(at, at + ROW_BYTES)).toString('hex'));
    if (left !== right) rows.push([`byte ${at}`, left || '(none)', right || '(none)']);
  }
  return rows;
}
