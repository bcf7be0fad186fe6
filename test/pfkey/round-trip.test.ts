import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AnyPfkeyMessage,
  decodePfkey,
  encodePfkey,
  forEachPfkey,
  formatPfkey,
  type PfkeyKind,
  PfkeyMsg,
  pfkeyFromJson,
  pfkeyToJson,
} from '../../src/pfkey/index.ts';
import { messageOfKind, unknownMessage } from './arbitrary.ts';

const kinds = Object.keys(PfkeyMsg) as PfkeyKind[];

describe('every message comes back as it was', () => {
  it.each(kinds)('%s', (kind) => {
    fc.assert(
      fc.property(messageOfKind(kind), (message) => {
        expect(decodePfkey(encodePfkey(message))).toEqual(message);
        expect(pfkeyFromJson(throughText(message))).toEqual(message);
        expect(formatPfkey(message).startsWith(kind)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('of an unknown type', () => {
    fc.assert(
      fc.property(unknownMessage, (message) => {
        expect(decodePfkey(encodePfkey(message))).toEqual(message);
        expect(pfkeyFromJson(throughText(message))).toEqual(message);
      }),
    );
  });

  it('one behind the other', () => {
    const [first, second] = fc.sample(messageOfKind('ADD'), 2).map((message) => encodePfkey(message));
    const both = Buffer.concat([first as Uint8Array, second as Uint8Array, Buffer.alloc(3)]);
    const seen: number[][] = [];
    expect(forEachPfkey(both, (at, length) => seen.push([at, length]))).toBe(both.length - 3);
    expect(seen).toEqual([
      [0, first?.length],
      [first?.length, second?.length],
    ]);
    expect(decodePfkey(both, first?.length)).toEqual(decodePfkey(second as Uint8Array));
  });
});

function throughText(message: AnyPfkeyMessage) {
  return JSON.parse(JSON.stringify(pfkeyToJson(message, { showKeys: true })));
}
