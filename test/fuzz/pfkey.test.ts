import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkPfkey, mutatedPfkey, pfkeyCorpus } from './pfkey.ts';
import { randomOf } from './random.ts';

/** The short form of `npm run fuzz -- --target pfkey`; a new seed each time, told when something fails. */

const TIME_MS = 2000;

describe('PF_KEY, whatever the bytes are', () => {
  it('spoiled messages are decoded losslessly or refused with a DecodeError', () => {
    const corpus = pfkeyCorpus(join(import.meta.dirname, '../vectors'));
    expect(corpus.length).toBeGreaterThan(100);
    const seed = Date.now() >>> 0;
    const end = Date.now() + TIME_MS;
    let decoded = 0;
    for (let i = 0; Date.now() < end; i++) {
      const bytes = mutatedPfkey(corpus, randomOf(seed, i));
      try {
        if (checkPfkey(bytes) === 'decoded') decoded++;
      } catch (cause) {
        throw new Error(`seed ${seed}, input ${i}: ${Buffer.from(bytes).toString('hex')}: ${String(cause)}`, { cause });
      }
    }
    expect(decoded).toBeGreaterThan(100);
  });

  it('so are random ones', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        checkPfkey(bytes);
      }),
      { numRuns: 2000 },
    );
  });
});
