import { join } from 'node:path';
import { expect, it } from 'vitest';
import { recordedMessages } from './corpus.ts';
import { fuzzEngine } from './engine.ts';
import { pfkeyCorpus } from './pfkey.ts';

/** The short form of `npm run fuzz -- --target engine`. */

const INPUTS = 10_000;

it('the emulated kernel stands whatever it is sent: a new seed each time, told when something fails', () => {
  const vectors = join(import.meta.dirname, '../vectors');
  const corpus = { netlink: recordedMessages(vectors), pfkey: pfkeyCorpus(vectors) };
  const outcomes = fuzzEngine(corpus, Date.now() >>> 0, INPUTS);
  // It got somewhere: SAs were made, packets went through them, events came of it.
  for (const what of [
    'answer ERROR',
    'answer NEWSA',
    'event NEWSA',
    'event NEWAE',
    'event EXPIRE',
    'in accept',
    'leap',
    'pfkey ADD',
    'pfkey EXPIRE',
    'pfkey GET',
    'pfkey X_SPDADD',
    'pfkey X_REPLAY_GET',
  ]) {
    expect(outcomes[what], what).toBeGreaterThan(0);
  }
});
