import { describe, expect, it } from 'vitest';
import { makeConnections } from '../../src/demo/connections.ts';
import { makeFlows, noteArrival, noteSent, schedule } from '../../src/demo/flows.ts';
import { countBetween, phasesOf, silence, unseen } from '../../src/demo/phases.ts';
import { Random } from '../../src/demo/random.ts';

const flows = (count = 1, ratePps = 1500) => makeFlows(makeConnections(count, new Random(1)), ratePps, new Random(1));

describe('flows', () => {
  it('are two on each connection, some of them in bursts', () => {
    const all = flows(64);
    expect(all.length).toBe(128);
    expect(new Set(all.map(({ direction }) => direction))).toEqual(new Set(['out', 'in']));
    expect(all.filter(({ burst }) => burst > 1).length).toBe(32);
  });

  it.each([
    [2, 10],
    [128, 1500],
    [2, 5000],
    [5000, 1500],
  ])('%d connections send at the rate that is asked for, whatever it is', (count, ratePps) => {
    const rates = flows(count, ratePps).map(({ burst, everyMs }) => (1000 * burst) / everyMs);
    expect(Math.min(...rates)).toBeGreaterThan(0);
    expect(rates.reduce((a, b) => a + b, 0)).toBeCloseTo(ratePps, 3);
  });

  it('are due at moments spread over their interval', () => {
    const all = flows(500, 750);
    schedule(all, 5_000, new Random(2));
    const steady = all.filter(({ burst }) => burst === 1).map(({ dueMs }) => dueMs);
    expect(Math.min(...steady)).toBeGreaterThanOrEqual(5_000);
    const end = 5_000 + Math.max(...all.map(({ everyMs }) => everyMs));
    expect(Math.max(...steady)).toBeLessThan(end);
    const firstHalf = steady.filter((ms) => ms < (5_000 + end) / 2).length / steady.length;
    expect(firstHalf).toBeGreaterThan(0.4);
    expect(firstHalf).toBeLessThan(0.6);
  });

  it('count each packet once, and copies apart', () => {
    const [flow] = flows() as [ReturnType<typeof flows>[number]];
    const number = noteSent(flow, 100);
    expect(noteArrival(flow, number, 110, 0)).toBe('first');
    expect(noteArrival(flow, number, 120, 0)).toBe('again');
    expect(noteArrival(flow, 7, 120, 0)).toBe('unknown');
    expect(flow).toMatchObject({ received: 1, duplicates: 1, newestSentMs: 100, receivedAtMs: [110] });
  });

  it('take no packet that was given up for lost, but know its copies', () => {
    const [flow] = flows() as [ReturnType<typeof flows>[number]];
    const number = noteSent(flow, 100);
    expect(noteArrival(flow, number, 5_000, 200)).toBe('late');
    expect(noteArrival(flow, number, 5_001, 200)).toBe('again');
    expect(flow).toMatchObject({ received: 0, duplicates: 1, newestSentMs: -1 });
  });
});

describe('phases', () => {
  const times = { sentAtMs: [0, 10, 20, 30, 40], receivedAtMs: [1, 11, undefined, undefined, 41] };

  it('have each packet in the one in which it was sent', () => {
    expect(countBetween([times, times], 10, 30)).toEqual({ sent: 4, lost: 2 });
    const begins = [
      { name: 'before', atMs: 0 },
      { name: 'after', atMs: 30 },
    ];
    expect(phasesOf([times], begins, 50)).toEqual([
      { name: 'before', seconds: 0, packetsSent: 3, packetsLost: 1 },
      { name: 'after', seconds: 0, packetsSent: 2, packetsLost: 1 },
    ]);
  });

  it('know how long each direction was silent', () => {
    const [out, into] = flows() as [ReturnType<typeof flows>[number], ReturnType<typeof flows>[number]];
    out.receivedAtMs.push(90, 150, 160, 200);
    into.receivedAtMs.push(95, 190, 200);
    expect(silence([out, into], 100, 205)).toEqual({
      outageMs: 95,
      outageOutMs: 60,
      outageInMs: 95,
      flowSilenceMs: { median: 95, max: 95 },
    });
  });
});

describe('exposure', () => {
  it('is what was sent beyond what the standby knew', () => {
    const known = [
      { spi: '0x00000100', oseq: 10, thresholdPackets: 2, peakPps: 30 },
      { spi: '0x00000101', oseq: 20, thresholdPackets: 2, peakPps: 5 },
      { spi: '0x00000102', oseq: 0, thresholdPackets: 2, peakPps: 0 },
    ];
    const sent = new Map([
      [0x100, 13],
      [0x101, 20],
    ]);
    expect(unseen(known, sent, 100)).toEqual({ packetsPerSaBound: 4, sas: 1, packets: 3, packetsPerSaMax: 3 });
  });
});
