import { describe, expect, it, vi } from 'vitest';
import { saIdOf } from '../../src/client/index.ts';
import { TEST_TIMEOUT_MS } from '../node/daemons.ts';
import { LEGACY, saOf } from './connections.ts';
import { EmulatedMachine } from './emulated-machine.ts';
import type { Gateway } from './machine.ts';
import { Pair } from './pair.ts';
import { pairChecks } from './suite.ts';

vi.setConfig({ testTimeout: TEST_TIMEOUT_MS });

describe.each(['6.1.192', '6.12.117'])('a pair of gateways on the emulated kernel, as Linux %s', (release) => {
  it.each(Object.entries(pairChecks))('%s', (_, check) => check(async () => new EmulatedMachine({ release })));
});

describe('the books can tell', () => {
  const fresh = { replayVal: { oseq: 0, seq: 0, bitmap: 0 } };
  const spoiled = async (name: Gateway, direction: 'in' | 'out') => {
    const pair = await Pair.make(async () => new EmulatedMachine());
    await pair.flow('a', 3);
    await pair.with(name, (client) => client.setAevent(saIdOf(saOf(LEGACY, direction)), fresh));
    return pair;
  };

  it('a standby that can send breaks S1', async () => {
    await using pair = await spoiled('b', 'out');
    await expect(pair.transmit('b', LEGACY)).rejects.toThrow('S1: b sends 0x1000/1, which a has sent');
  });

  it('a window that is opened again breaks S2', async () => {
    await using pair = await spoiled('a', 'in');
    await expect(pair.replay('a')).rejects.toThrow('S2: a accepts 0x1001/3, which a has accepted');
  });
});
