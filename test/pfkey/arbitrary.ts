import fc, { type Arbitrary } from 'fast-check';
import { type AnyExtensionSpec, extensionSpecs } from '../../src/pfkey/extensions.ts';
import { type AnyPfkeyMessage, type PfkeyExtensions, type PfkeyKind, PfkeyMsg } from '../../src/pfkey/index.ts';
import type { AnyPart } from '../../src/pfkey/parts.ts';
import type { Layout, Struct } from '../../src/wire/index.ts';

/** Any message there can be, from the tables of the codec. */

const numbers: Record<string, Arbitrary<unknown>> = {
  u8: fc.nat(0xff),
  u16: fc.nat(0xffff),
  be16: fc.nat(0xffff),
  u32: fc.nat(0xffff_ffff),
  be32: fc.nat(0xffff_ffff),
  u64: fc.bigInt(0n, 0xffff_ffff_ffff_ffffn),
};

function ofLayout(layout: Layout): Arbitrary<unknown> {
  if (layout.kind === 'struct') return ofStruct(layout);
  if (layout.kind === 'chars') throw new TypeError('PF_KEY has no names of fixed size');
  return numbers[layout.type] as Arbitrary<unknown>;
}

const ofStruct = (layout: Struct<unknown>): Arbitrary<Record<string, unknown>> =>
  fc.record(Object.fromEntries(layout.fields.map(({ name, layout: field }) => [name, ofLayout(field)])));

const word = fc.nat(0xffff_ffff);
const port = fc.nat(0xffff);
const ipv4 = fc.record({
  family: fc.constant(2),
  port,
  address: word.map((w0) => ({ w0, w1: 0, w2: 0, w3: 0 })),
});
const ipv6 = fc.record({
  family: fc.constant(10),
  port,
  address: fc.record({ w0: word, w1: word, w2: word, w3: word }),
  flowinfo: fc.oneof(fc.constant(0), word),
  scopeId: fc.oneof(fc.constant(0), word),
});
const pair = fc.oneof(fc.record({ src: ipv4, dst: ipv4 }), fc.record({ src: ipv6, dst: ipv6 }));
const bytes = fc.uint8Array({ maxLength: 40 });
const latin1 = fc
  .array(fc.integer({ min: 1, max: 0xff }), { maxLength: 40 })
  .map((codes) => String.fromCharCode(...codes));

const parts: Record<AnyPart['form'], (part: AnyPart) => Arbitrary<unknown>> = {
  sockaddr: () => fc.oneof(ipv4, ipv6),
  pair: () => pair,
  bytes: () => bytes,
  text: () => latin1,
  u32s: () => fc.array(word, { maxLength: 9 }),
  u64s: () => fc.array(numbers.u64 as Arbitrary<bigint>, { maxLength: 5 }),
  list: ({ layout }) => fc.array(ofStruct(layout as Struct<unknown>), { maxLength: 4 }),
  requests: ({ layout }) =>
    fc.array(
      fc
        .tuple(ofStruct(layout as Struct<unknown>), fc.option(pair, { nil: undefined }))
        .map(([{ len: _, ...fixed }, addresses]) => (addresses ? { ...fixed, addresses } : fixed)),
      { maxLength: 4 },
    ),
};

/** The value that the lengths in the fixed structure announce. */
function consistent(value: Record<string, unknown>): Record<string, unknown> {
  const { key, ctx, bitmap, sensBitmap, integBitmap, data } = value as Record<string, { length: number }>;
  return {
    ...value,
    ...(key && { bits: 8 * key.length }),
    ...(ctx && { ctxLen: ctx.length }),
    ...(bitmap && { bmpLen: bitmap.length }),
    ...(sensBitmap && { sensLen: sensBitmap.length }),
    ...(integBitmap && { integLen: integBitmap.length }),
    // Private bytes fill their extension.
    ...(data && { data: new Uint8Array(8 * Math.ceil(data.length / 8)) }),
  };
}

function ofExtension({ fixed, parts: own }: AnyExtensionSpec): Arbitrary<unknown> {
  const required: Record<string, Arbitrary<unknown>> = {};
  for (const [name, part] of Object.entries(own)) required[name] = parts[part.form](part);
  const optional = Object.entries(own).filter(([, part]) => part.optional);
  const behind = fc.record(required, {
    requiredKeys: Object.keys(required).filter((name) => !optional.some(([other]) => other === name)),
  });
  return fc.tuple(ofStruct(fixed), behind).map(([head, tail]) => consistent({ ...head, ...tail }));
}

const each = Object.entries(extensionSpecs).map(([name, spec]) =>
  ofExtension(spec).map((value) => [name, value] as const),
);

/** Up to six extensions, in any order. */
const extensions = fc
  .shuffledSubarray(each, { maxLength: 6 })
  .chain((chosen) => fc.tuple(...chosen))
  .map((entries) => Object.fromEntries(entries) as PfkeyExtensions);

const header = { errno: fc.nat(0xff), satype: fc.nat(0xff), seq: word, pid: word };

export const messageOfKind = (kind: PfkeyKind): Arbitrary<AnyPfkeyMessage> =>
  fc.record({ kind: fc.constant(kind), ...header, extensions }) as Arbitrary<AnyPfkeyMessage>;

const known = new Set<number>(Object.values(PfkeyMsg));
export const unknownMessage: Arbitrary<AnyPfkeyMessage> = fc.record({
  kind: fc.constant('UNKNOWN'),
  type: fc.integer({ min: 1, max: 0xff }).filter((type) => !known.has(type)),
  ...header,
  extensions,
}) as Arbitrary<AnyPfkeyMessage>;
