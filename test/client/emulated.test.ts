/** The client on the emulated kernel: the checks that it passes on real ones. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { XfrmClient } from 'xfrmsync';
import { EmulatedKernel } from 'xfrmsync/emulated';
import { emulatedMachine } from './emulated-machine.ts';
import { flush, openPair } from './machine.ts';
import { packetChecks } from './packet-checks.ts';
import { pfkeyChecks } from './pfkey-checks.ts';
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
  test.each(Object.entries({ ...packetChecks, ...pfkeyChecks }))('%s', async (_, check) => void (await check(pair)));

  test('only here, as it takes no process: without CAP_NET_ADMIN every request is answered EPERM', async () => {
    const kernel = new EmulatedKernel();
    const open = () => kernel.open({ privileged: false });
    await using client = await XfrmClient.open({ name: 'emulated', open });
    const denied = { code: 'ERR_KERNEL', errno: 1 };
    await expect(client.dumpSas()).rejects.toMatchObject(denied);
    await expect(client.flushPolicies()).rejects.toMatchObject(denied);
  });
});
