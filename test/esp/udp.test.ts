import { expect, it } from 'vitest';
import { classifyUdp, natKeepalive, newEspFacts, parseEsp } from '../../src/esp/index.ts';
import { udpSumGood, writeUdp } from '../../src/esp/udp.ts';
import { ipPacket, sum } from './sas.ts';

it('payloads of NAT traversal ports', () => {
  expect(classifyUdp(natKeepalive)).toBe('keepalive');
  expect(classifyUdp(Uint8Array.of(0xfe))).toBe('short');
  expect(classifyUdp(new Uint8Array(0))).toBe('short');
  expect(classifyUdp(new Uint8Array(7))).toBe('short');
  expect(classifyUdp(new Uint8Array(8))).toBe('ike');
  expect(classifyUdp(Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 1))).toBe('esp');
  expect(classifyUdp(Uint8Array.of(9, 0, 0, 0, 1, 0, 0, 0, 1), 1)).toBe('esp');
});

it('a checksum that comes out as 0 is sent as ffff, as 0 means none (RFC 768)', () => {
  const packet = ipPacket({ family: 6, sport: 4500, dport: 4500, bytes: 9 });
  // The payload's first word takes up what the rest lacks.
  packet.set([0, 0], 48);
  writeUdp(packet, 40, 0, 10, 4500, 4500, 9);
  packet.set(packet.subarray(46, 48), 48);
  writeUdp(packet, 40, 0, 10, 4500, 4500, 9);
  expect([...packet.subarray(46, 48)]).toEqual([0xff, 0xff]);
  expect(sum(Uint8Array.from([...packet.subarray(8, 40), 0, 17, 0, 17, ...packet.subarray(40)]))).toBe(0);
  expect(udpSumGood(packet, 40, 0, 10)).toBe(true);
  packet.set([0, 0], 46);
  expect(udpSumGood(packet, 40, 0, 10)).toBe(false);
});

it.each([7, 0, 50, 65_535])('a UDP length of %i in a packet of 40 bytes of UDP', (length) => {
  const packet = ipPacket({ sport: 4500, dport: 4500, bytes: 32 });
  packet.set([length >>> 8, length & 255], 24);
  expect(parseEsp(packet, 0, packet.length, newEspFacts())).toBe('LENGTH');
});

it('UDP that is shorter than its IP packet ends where it says', () => {
  const packet = ipPacket({ sport: 4500, dport: 4500, bytes: 32 }).fill(1, 28);
  packet.set([0, 30], 24);
  const facts = newEspFacts();
  expect(parseEsp(packet, 0, packet.length, facts)).toBeUndefined();
  expect([facts.espAt, facts.espEnd]).toEqual([28, 50]);
});
