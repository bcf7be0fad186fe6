import { describe, expect, it } from 'vitest';
import { parseEsp, readdressed } from './frames.ts';

const PEER = 'c0000202';

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
