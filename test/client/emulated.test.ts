/** The client on the emulated kernel: the checks that it passes on real ones. */
import { afterAll, beforeEach, describe, test } from 'vitest';
import { emulatedMachine } from './emulated-machine.ts';
import { flush, openPair } from './machine.ts';
import { packetChecks } from './packet-checks.ts';
import { requestChecks } from './request-checks.ts';

describe('the client on the emulated kernel', async () => {
  const pair = await openPair(emulatedMachine());
  const { machine, a, b } = pair;

  beforeEach(() => flush(a, b));

  afterAll(() => {
    a.close();
    b.close();
  });

  test.each(Object.entries(requestChecks))('%s', async (_, check) => void (await check(machine.kernel('a'), a)));
  test.each(Object.entries(packetChecks))('%s', async (_, check) => void (await check(pair)));
});
