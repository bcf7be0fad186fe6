import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { recordedMessages } from './corpus.ts';
import { checkDecode } from './decode.ts';
import { fuzzEngine } from './engine.ts';
import { mutated } from './mutate.ts';
import { checkPfkey, mutatedPfkey, pfkeyCorpus } from './pfkey.ts';
import { randomOf } from './random.ts';

/**
 * The long form: `npm run fuzz -- --inputs 1000000 --seed 1`; with `--target engine` for the emulated kernel, with `--target pfkey` for
 * PF_KEY. Ends at the first input that breaks a property, with status 1.
 */

const PROGRESS_MS = 1000;

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
    target: { type: 'string', default: 'codec' },
  },
});
const { target } = values;
const inputs = Number(values.inputs);
const seed = Number(values.seed);
if (
  !Number.isSafeInteger(inputs) ||
  inputs < 1 ||
  !Number.isSafeInteger(seed) ||
  !['codec', 'engine', 'pfkey'].includes(target)
) {
  console.error('usage: npm run fuzz -- [--inputs N] [--seed N] [--target codec|engine|pfkey]');
  process.exit(2);
}

const vectors = join(import.meta.dirname, '../../../test/vectors');
const isPfkey = target === 'pfkey';
const corpus = isPfkey ? pfkeyCorpus(vectors) : recordedMessages(vectors);
let outcomes: Record<string, number> = {};
const start = Date.now();
if (target === 'engine') {
  try {
    outcomes = fuzzEngine({ netlink: corpus, pfkey: pfkeyCorpus(vectors) }, seed, inputs);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
}
let shown = start;
for (let i = 0; target !== 'engine' && i < inputs; i++) {
  const bytes = (isPfkey ? mutatedPfkey : mutated)(corpus, randomOf(seed, i));
  try {
    const outcome = (isPfkey ? checkPfkey : checkDecode)(bytes);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  } catch (error) {
    console.error(`\nseed ${seed}, input ${i}: ${Buffer.from(bytes).toString('hex')}\n`, error);
    process.exit(1);
  }
  if (i % 1024 === 0 && Date.now() - shown >= PROGRESS_MS) {
    shown = Date.now();
    if (process.stderr.isTTY) process.stderr.write(`\r${i} of ${inputs} inputs`);
  }
}
if (process.stderr.isTTY) process.stderr.write('\r');
const told = Object.entries(outcomes)
  .map(([outcome, n]) => `${outcome} ${n}`)
  .join(', ');
console.log(`${inputs} inputs, seed ${seed}, ${((Date.now() - start) / 1000).toFixed(0)} s: no failure (${told})`);
