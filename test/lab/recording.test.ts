import { describe, expect, it } from 'vitest';
import { parseEsp, readdressed } from './frames.ts';
import { newestFirst, type Port, reusedNumbers, type Seen, skippedAt } from './recording.ts';

const GATEWAY = 'c000020a';
const PEER = 'c0000202';
const gateways = new Set([GATEWAY]);

function seen(port: Port, spi: number, seq: number, atMs = seq, source = port === 'peer' ? PEER : GATEWAY): Seen {
  return { atMs, port, source, destination: source === PEER ? GATEWAY : PEER, spi, seq };
}

describe('numbers used twice', () => {
  it('finds a takeover without a skip', () => {
    const recording = [seen('gwa', 1, 1), seen('gwa', 1, 2), seen('gwa', 1, 3), seen('gwb', 1, 3), seen('gwb', 1, 4)];
    expect(reusedNumbers(recording, gateways)).toEqual([{ destination: PEER, spi: 1, seq: 3, ports: ['gwa', 'gwb'] }]);
  });

  it('finds a gateway that repeats itself', () => {
    expect(reusedNumbers([seen('gwa', 1, 7), seen('gwa', 1, 7)], gateways)).toHaveLength(1);
  });

  it('passes a takeover above the last number, and the same number on another SA', () => {
    expect(reusedNumbers([seen('gwa', 1, 3), seen('gwb', 1, 40), seen('gwb', 2, 3)], gateways)).toEqual([]);
  });

  it('does not take frames of the peer that a gateway passes on for its own', () => {
    expect(reusedNumbers([seen('peer', 9, 5), seen('gwa', 9, 5, 6, PEER)], gateways)).toEqual([]);
  });
});

describe('skip', () => {
  const recording = [
    seen('gwa', 1, 10, 100),
    seen('gwa', 1, 12, 120),
    seen('gwb', 1, 50, 300),
    seen('gwb', 1, 51, 310),
  ];

  it('is what lies between the last number of the old gateway and the first of the new one', () => {
    expect(skippedAt(recording, 1, 'gwa', 'gwb', 200)).toBe(37);
  });

  it('is negative when numbers were used again, and unknown without traffic', () => {
    expect(skippedAt([...recording, seen('gwb', 1, 11, 320)], 1, 'gwa', 'gwb', 200)).toBe(-2);
    expect(skippedAt(recording, 2, 'gwa', 'gwb', 200)).toBeUndefined();
  });
});

describe('order of a replay', () => {
  it('takes the newest of every SPI before the second newest of any, and no more than asked for', () => {
    const frames = [seen('peer', 1, 1), seen('peer', 1, 2), seen('peer', 2, 5), seen('peer', 1, 3), seen('peer', 2, 6)];
    expect(newestFirst(frames, 2).map(({ spi, seq }) => `${spi}/${seq}`)).toEqual(['1/3', '2/6', '1/2', '2/5']);
  });
});

describe('ESP in Ethernet frames', () => {
  const ethernet = (type: string) => `02000000000a020000000002${type}`;
  const ipv4 = (protocol: string) => `4500004000000000 40${protocol}0000 c0000202 c000020a`;
  const ipv6 = (next: string) =>
    `60000000 0020${next}40 20010db8000100000000000000000002 20010db8000100000000000000000010`;
  const esp = 'c0000001 0000002a 1111111111111111';
  const frame = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

  it.each([
    ['IPv4', ethernet('0800') + ipv4('32') + esp, false, PEER],
    ['IPv4 in UDP', `${ethernet('0800') + ipv4('11')}11941194 00180000${esp}`, true, PEER],
    ['IPv6', ethernet('86dd') + ipv6('32') + esp, false, '20010db8000100000000000000000002'],
    [
      'IPv6 in UDP',
      `${ethernet('86dd') + ipv6('11')}11941194 00180000${esp}`,
      true,
      '20010db8000100000000000000000002',
    ],
  ])('reads %s', (_, text, encapsulated, source) => {
    expect(parseEsp(frame(text))).toMatchObject({ encapsulated, source, spi: 0xc0000001, seq: 42 });
  });

  it.each([
    ['ARP', `${ethernet('0806')}${'00'.repeat(40)}`],
    ['UDP on another port', `${ethernet('0800') + ipv4('11')}1b581b58 00180000${esp}`],
    [
      'IKE behind the non-ESP marker',
      `${ethernet('0800') + ipv4('11')}11941194 00180000 00000000 0000002a 1111111111111111`,
    ],
    ['a cut frame', `${ethernet('0800') + ipv4('32')}c0000001`],
    ['nothing', ''],
  ])('passes over %s', (_, text) => {
    expect(parseEsp(frame(text))).toBeUndefined();
  });

  it('is readdressed in a copy', () => {
    const original = frame(ethernet('0800') + ipv4('32') + esp);
    const copy = readdressed(original, '02:00:00:00:00:0b');
    expect(copy.subarray(0, 6).toString('hex')).toBe('02000000000b');
    expect(copy.subarray(6)).toEqual(original.subarray(6));
    expect(original.subarray(0, 6).toString('hex')).toBe('02000000000a');
  });
});
