/** What the runner on the real kernel decides without one. */
import { describe, expect, it } from 'vitest';
import { alike } from '../../src/conformance/linux.ts';
import { frameOf, ipsecPacket, isMarker, marker } from '../../src/conformance/wire.ts';

const mac = Uint8Array.of(2, 0, 0, 0, 0, 9);
const bytes = (hex: string): Uint8Array => Buffer.from(hex.replace(/\s+/g, ''), 'hex');

describe('which recordings a kernel can be compared with', () => {
  const recorded = { kernel: '6.1.192', hz: 250, pad64: false };
  it.each([
    [{ kernel: '6.1.0-56-amd64', hz: 250, pad64: false }, true],
    [{ kernel: '6.12.117', hz: 250, pad64: false }, false],
    [{ kernel: '6.10.3', hz: 250, pad64: false }, false],
    [{ kernel: '6.1.192', hz: 100, pad64: false }, false],
    [{ kernel: '6.1.192', hz: 250, pad64: true }, false],
  ])('%o: %s', (running, expected) => {
    expect(alike(recorded, running)).toBe(expected);
  });
});

describe('sequence numbers on the wire', () => {
  const ipv4 = (proto: string, flags = '0000') => `4500 0048 0001 ${flags} 40 ${proto} 0000 0a090001 0a090002`;
  const esp = '00000100 00000007 0000000000000000';
  it.each([
    ['ESP over IPv4', `${ipv4('32')} ${esp}`, { seq: 7, ipBytes: 72 }],
    ['AH over IPv4', `${ipv4('33')} 11040000 ${esp}`, { seq: 7, ipBytes: 72 }],
    ['ESP in UDP', `${ipv4('11')} 1194 1194 0034 0000 ${esp}`, { seq: 7, ipBytes: 72 }],
    ['ESP over IPv6', `6000 0000 0020 32 40 ${'00'.repeat(32)} ${esp}`, { seq: 7, ipBytes: 72 }],
    ['plain UDP', `${ipv4('11')} 1092 0009 0034 0000 ${'00'.repeat(16)}`, undefined],
    ['a later fragment', `${ipv4('32', '00b9')} ${esp}`, undefined],
    ['ICMP', `${ipv4('01')} ${esp}`, undefined],
    ['cut short', ipv4('32'), undefined],
  ])('%s', (_name, packet, expected) => {
    expect(ipsecPacket(frameOf(mac, bytes(packet)), 0x100)).toEqual(expected);
  });

  it('tells a marker by its number', () => {
    expect(isMarker(marker(mac, 5), 5)).toBe(true);
    expect(isMarker(marker(mac, 5), 6)).toBe(false);
    expect(isMarker(frameOf(mac, bytes(ipv4('32'))), 5)).toBe(false);
    expect(ipsecPacket(marker(mac, 5), 0x100)).toBeUndefined();
  });
});
