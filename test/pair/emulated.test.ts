import { describe, it } from 'vitest';
import { EmulatedMachine } from './emulated-machine.ts';
import { pairChecks } from './suite.ts';

describe.each(['6.1.192', '6.12.117'])('a pair of gateways on the emulated kernel, as Linux %s', (release) => {
  it.each(Object.entries(pairChecks))('%s', (_, check) => check(async () => new EmulatedMachine({ release })));
});
