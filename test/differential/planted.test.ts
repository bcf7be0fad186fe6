import { describe, expect, it } from 'vitest';
import { emulatedTarget } from '../../src/conformance/emulated-target.ts';
import { scenario as scenarioSchema } from '../../src/conformance/scenario.ts';
import type { Target } from '../../src/conformance/target.ts';
import { hostLittleEndian } from '../../src/netlink/index.ts';
import { XfrmMsg } from '../../src/xfrm/index.ts';
import { campaign } from './campaign.ts';
import { compare, type Difference } from './compare.ts';
import { generate } from './generate.ts';

/** The differential test put to the test: the emulated kernel against itself, sound and with a fault. */

const profile = { kernel: '6.1.192', hz: 250, pad64: false };
const SEQUENCES = 60;
/** In a NEWAE. */
const REQID_AT = 60;

/** A kernel that forgets the reqid in what it says about an SA's counters. */
function faulty(scenario: Parameters<typeof emulatedTarget>[0]): Target {
  const target = emulatedTarget(scenario);
  return {
    ...target,
    read(sock) {
      const received = target.read(sock);
      for (const message of received.messages) {
        const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
        if (view.getUint16(4, hostLittleEndian) === XfrmMsg.NEWAE) view.setUint32(REQID_AT, 0, hostLittleEndian);
      }
      return received;
    },
  };
}

const limits = { requests: 1e9, sequences: SEQUENCES, timeMs: Number.POSITIVE_INFINITY, timers: true, profile };

describe('the differential test', () => {
  it('makes the same sequence of the same seed, and scenarios that can be written to a file', () => {
    const made = generate(5, 3, profile);
    expect(generate(5, 3, profile)).toEqual(made);
    expect(generate(5, 4, profile)).not.toEqual(made);
    const { recorded } = compare(made, emulatedTarget);
    expect(scenarioSchema.parse(JSON.parse(JSON.stringify(recorded)))).toEqual(recorded);
  });

  it('finds nothing between a kernel and itself', () => {
    const seed = Date.now() >>> 0;
    const found: string[] = [];
    const totals = campaign({
      ...limits,
      seed,
      from: 0,
      differencesMax: 1,
      real: emulatedTarget,
      onDifference: ({ detail }, index) => found.push(`seed ${seed}, sequence ${index}: ${detail}`),
    });
    expect(found).toEqual([]);
    expect(totals.sequences).toBe(SEQUENCES);
    expect(totals.requests).toBeGreaterThan(20 * SEQUENCES);
  });

  it('finds a planted fault, and shortens the way to it', () => {
    const found: Difference[] = [];
    campaign({
      ...limits,
      seed: 1,
      from: 0,
      differencesMax: 1,
      real: faulty,
      onDifference: (difference) => found.push(difference),
    });
    const [first] = found;
    expect(first?.detail).toMatch(/differs\n.*\nreqid +0 +\d/);
    // A socket, the SA, the question; or a listener too, that hears the answer.
    expect(first?.recorded.steps.length).toBeLessThanOrEqual(5);
    expect(compare(first?.recorded as Difference['recorded'], emulatedTarget).difference).toBeUndefined();
  });
});
