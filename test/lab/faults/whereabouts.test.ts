import { describe, expect, it } from 'vitest';
import type { Port } from '../../../src/demo/recording.ts';
import { countedText, parseSnmp, parseSoftnet } from './counted.ts';
import { furthestBehind, type Passed, whereabouts, whereText } from './whereabouts.ts';

const MACS = { peer: '02:00:00:00:00:02', gwa: '02:00:00:00:00:0a', gwb: '02:00:00:00:00:0b' };
const SPI = 0xc0000001;

function passed(port: Port, to: keyof typeof MACS, ...numbers: number[]): Passed[] {
  const frame = Buffer.from(`${MACS[to]}${MACS[port]}`.replaceAll(':', ''), 'hex');
  return numbers.map((seq) => ({ port, spi: SPI, seq, frame }));
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** 1 to 40 waited at the old gateway, 41 came straight to the new one before they were passed on. */
const OVERTAKEN = [
  ...passed('peer', 'gwa', ...range(1, 40)),
  ...passed('peer', 'gwb', 41),
  ...passed('gwa', 'gwb', ...range(1, 40)),
];

describe('where packets of peers were lost', () => {
  const missing = (window: number, ...numbers: number[]) => [{ spi: SPI, window, numbers: new Set(numbers) }];

  it('tells those that a window had to refuse from others', () => {
    expect(whereabouts(OVERTAKEN, MACS, missing(32, ...range(1, 9), 30))).toEqual({
      neverSent: 0,
      cameTo: { gwb: 10 },
      overtaken: 9,
    });
    expect(whereabouts(OVERTAKEN, MACS, missing(1024, ...range(1, 9))).overtaken).toBe(0);
  });

  it('tells what a gateway has kept, and what never left the peer', () => {
    const recording = [...passed('peer', 'gwa', 1, 2), ...passed('peer', 'gwb', 4)];
    const found = whereabouts(recording, MACS, missing(32, 2, 3));
    expect(found).toEqual({ neverSent: 1, cameTo: { gwa: 1 }, overtaken: 0 });
    expect(whereText(found)).toBe('1 came last to gwa, 1 never came out of the peer');
  });

  it('says how far behind a frame came, at one gateway', () => {
    expect(furthestBehind(OVERTAKEN, MACS, new Set([SPI]))).toBe(40);
    expect(furthestBehind(OVERTAKEN, MACS, new Set([SPI + 1]))).toBe(0);
    expect(furthestBehind(passed('peer', 'gwa', 1, 3, 2), MACS, new Set([SPI]))).toBe(1);
    // What was led to the old gateway before is behind nothing at the new one.
    expect(furthestBehind([...passed('peer', 'gwa', 9), ...passed('peer', 'gwb', 8)], MACS, new Set([SPI]))).toBe(0);
  });
});

describe('what kernels count as lost', () => {
  it('is read from their files', () => {
    const text = 'Ip: Forwarding InHdrErrors\nIp: 1 238\nIcmp: InMsgs\nIcmp: 7\n';
    expect(parseSnmp(text)).toEqual({ IpForwarding: 1, IpInHdrErrors: 238, IcmpInMsgs: 7 });
    expect(parseSoftnet('00001f 000000a0 00000000\n00001f 00000003 00000000\n')).toBe(163);
  });

  it('is told where it has moved', () => {
    const before = { gwa: { XfrmInStateSeqError: 3 }, gwb: { IpInHdrErrors: 1 } };
    const after = { gwa: { XfrmInStateSeqError: 17 }, gwb: { IpInHdrErrors: 1 } };
    expect(countedText(before, after)).toBe('gwa XfrmInStateSeqError 14');
    expect(countedText(after, after)).toBe('');
  });
});
