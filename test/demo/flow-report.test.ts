import { describe, expect, it } from 'vitest';
import { lossAround, outageMs, receivedBetween, sentBetween } from '../../src/demo/flow-report.ts';

/** One datagram each 10 ms from 0 on; those in `lost` do not arrive, the others do so 1 ms later. */
function flow(count: number, lost: readonly number[]) {
  const sentAtMs = Array.from({ length: count }, (_, i) => i * 10);
  return { sentAtMs, receivedAtMs: sentAtMs.map((ms, i) => (lost.includes(i) ? undefined : ms + 1)) };
}

describe('loss around a failover', () => {
  it('is split at the failover and at the first datagram that got through after it', () => {
    expect(lossAround(flow(20, [2, 10, 11, 12, 15]), 0, 100, 1000)).toEqual({ before: 1, during: 3, after: 1 });
  });

  it('counts a flow that never comes back as lost during the failover', () => {
    const dead = flow(20, [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    expect(lossAround(dead, 0, 100, 1000)).toEqual({ before: 0, during: 10, after: 0 });
    expect(receivedBetween(dead, 110, 1000)).toBe(0);
  });

  it('leaves out what was sent before and after the act', () => {
    expect(lossAround(flow(20, [0, 1, 18, 19]), 20, 100, 180)).toEqual({ before: 0, during: 0, after: 0 });
    expect(sentBetween(flow(20, []), 20, 180)).toBe(16);
  });
});

describe('outage', () => {
  it('is the longest silence that ends after the failover', () => {
    expect(outageMs(flow(30, [2, 3, 4, 5, 6, 10, 11, 12]), 100, 300)).toBe(40);
  });

  it('lasts to the end if nothing comes any more', () => {
    expect(outageMs(flow(10, []), 100, 500)).toBe(409);
  });
});
