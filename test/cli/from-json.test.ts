import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { readScenarios } from '../../src/conformance/index.ts';
import {
  type Address,
  type AnyXfrmMessage,
  DecodeError,
  decodeMessage,
  encodeMessage,
  type Json,
  JsonError,
  type JsonObject,
  messageFromJson,
  messageToJson,
} from '../../src/xfrm/index.ts';

const vectors = fileURLToPath(new URL('../vectors/6.1-amd64/', import.meta.url));
const files = (await readdir(vectors)).filter((name) => /^(sa|policy|newae|getae|lifetime)\.jsonl/.test(name));

function decoded(hex: string): AnyXfrmMessage | undefined {
  try {
    return decodeMessage(Buffer.from(hex, 'hex'));
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

describe('messages of real kernels through JSON and back', () => {
  test.each(files)('%s', async (file) => {
    let count = 0;
    for await (const { scenario } of readScenarios(vectors + file)) {
      for (const step of scenario.steps) {
        const received = step.op === 'send' ? [step.hex, ...(step.reply ?? [])] : step.op === 'events' ? step.hex : [];
        for (const hex of received ?? []) {
          const message = decoded(hex);
          if (message === undefined || message.kind === 'ERROR' || message.kind === 'DONE') continue;
          const json = messageToJson(message, { showKeys: true });
          const again = messageFromJson(JSON.parse(JSON.stringify(json)));
          expect(messageToJson(again, { showKeys: true })).toEqual(json);
          count++;
          // What JSON does not say: padding (also as XFRMA_PAD), flag bits of attributes, places of unknown ones. Without those, the bytes
          // are the same.
          if (message.kind !== 'UNKNOWN' && (message.rest !== undefined || 'pad' in message.attributes)) continue;
          const said = withoutJunk({ ...message, flags: again.flags, seq: again.seq }, again);
          expect(encodeMessage(again)).toEqual(encodeMessage(said));
        }
      }
    }
    expect(count).toBeGreaterThan(20);
  });
});

/** `original` with zeros behind its IPv4 addresses: whatever stands there is of no meaning and not in JSON. */
function withoutJunk<T>(original: T, again: T): T {
  if (typeof original !== 'object' || original === null || original instanceof Uint8Array) return original;
  if (Array.isArray(original)) return original.map((part, i) => withoutJunk(part, (again as unknown[])[i])) as T;
  if ('w3' in original && (again as unknown as Address).w3 === 0) return { ...original, w1: 0, w2: 0, w3: 0 };
  const parts = Object.entries(original).map(([name, part]) => [
    name,
    withoutJunk(part, (again as Record<string, unknown>)[name]),
  ]);
  return Object.fromEntries(parts) as T;
}

const newae: JsonObject = {
  message: 'NEWAE',
  saId: { daddr: '192.0.2.2', spi: '0x00000100', family: 'inet', proto: 'esp' },
  saddr: '192.0.2.1',
  flags: ['cu'],
  reqid: 1,
  attributes: { replayVal: { oseq: 1, seq: 2, bitmap: 3 }, ltimeVal: { bytes: 1, packets: 2, addTime: 3, useTime: 4 } },
};

/** Sets the value at a path of names; undefined removes it. */
function changed(path: string, value: Json | undefined): JsonObject {
  const json = structuredClone(newae);
  const names = path.split('.');
  const last = names.pop() as string;
  let at = json;
  for (const name of names) at = at[name] as JsonObject;
  if (value === undefined) delete at[last];
  else at[last] = value;
  return json;
}

test('numbers may be text, words any case', () => {
  const message = messageFromJson(changed('reqid', '0x10'));
  expect(message).toMatchObject({
    kind: 'NEWAE',
    flags: 0,
    body: { reqid: 16, flags: 64, saId: { spi: 256, proto: 50 } },
  });
  expect(messageFromJson(changed('saId.proto', 'ESP'))).toMatchObject({ body: { saId: { proto: 50 } } });
  expect(messageFromJson(changed('attributes.ltimeVal.bytes', '18446744073709551615'))).toMatchObject({
    attributes: { ltimeVal: { bytes: 18446744073709551615n } },
  });
});

test.each<[path: string, value: Json | undefined, at: string, reason: RegExp]>([
  ['message', 'NEWXX', 'message', /must name an XFRM message/],
  ['message', 'toString', 'message', /must name/],
  ['message', 'ERROR', 'message', /must name/],
  ['reqid', undefined, 'reqid', /missing/],
  ['reqid', -1, 'reqid', /fits 32 bits/],
  ['reqid', 2 ** 32, 'reqid', /fits 32 bits/],
  ['reqid', 1.5, 'reqid', /fits 32 bits/],
  ['requid', 1, 'requid', /no such field/],
  ['saddr', '192.0.2.256', 'saddr', /address/],
  ['saId', 5, 'saId', /object/],
  ['saId.spi', 'many', 'saId.spi', /fits 32 bits/],
  ['saId.proto', 'epso', 'saId.proto', /one of .*esp/],
  ['saId.proto', 256, 'saId.proto', /fits 8 bits/],
  ['flags', ['xx'], 'flags[0]', /one of/],
  ['attributes', [], 'attributes', /object/],
  ['attributes.foo', 1, 'attributes.foo', /no such attribute/],
  ['attributes.constructor', 1, 'attributes.constructor', /no such attribute/],
  ['attributes.replayVal.oseq', null, 'attributes.replayVal.oseq', /32 bits/],
  ['attributes.ltimeVal.bytes', '1e3', 'attributes.ltimeVal.bytes', /2\^64/],
  ['attributes.ltimeVal.bytes', null, 'attributes.ltimeVal.bytes', /2\^64/],
  ['attributes.ltimeVal.bytes', '18446744073709551616', 'attributes.ltimeVal.bytes', /2\^64/],
  ['attributes.algAuth', { name: 'x', keyLen: 8, key: '(1 bytes hidden)' }, 'attributes.algAuth.key', /--show-keys/],
  ['attributes.algAuth', { name: 'x', keyLen: 8, key: 'abc' }, 'attributes.algAuth.key', /even number/],
  ['attributes.algAuth', { name: 'x'.repeat(65), keyLen: 8, key: '00' }, 'attributes.algAuth.name', /64 characters/],
  ['attributes.tmpl', [], 'attributes.tmpl', /one or more/],
  ['attributes.replayEsnVal', { bmpLen: 0 }, 'attributes.replayEsnVal.oseq', /missing/],
  ['otherAttributes', [{ type: 99, data: 'zz' }], 'otherAttributes[0].data', /hexadecimal/],
  ['trailingBytes', 'a', 'trailingBytes', /hexadecimal/],
])('%s = %j is refused at %s', (path, value, at, reason) => {
  let error: unknown;
  try {
    messageFromJson(changed(path, value));
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(JsonError);
  expect(error).toMatchObject({ code: 'ERR_JSON', path: at, message: expect.stringMatching(reason) });
});

test('what is no object is refused', () => {
  for (const json of [null, 1, 'x', [], true] as Json[]) expect(() => messageFromJson(json)).toThrow(JsonError);
});
