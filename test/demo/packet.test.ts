import { describe, expect, it } from 'vitest';
import { addressOf } from '../../src/demo/connections.ts';
import { packetMaker, readTag } from '../../src/demo/packet.ts';

/** Ones' complement sum of 16-bit words: all ones if the checksum in it is right (RFC 1071). */
function folded(...parts: Buffer[]): number {
  let total = 0;
  for (const part of parts) for (let at = 0; at < part.length; at += 2) total += part.readUInt16BE(at);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

const pseudo = (packet: Buffer, from: number, to: number, udpBytes: number) =>
  Buffer.concat([packet.subarray(from, to), Buffer.from([0, 17, 0, udpBytes])]);

describe('inner packets', () => {
  it('are IPv4 with right checksums', () => {
    const packet = packetMaker(5, 4, addressOf('10.1.0.1'), addressOf('10.2.0.1'))(77);
    expect(packet.toString('hex', 12, 20)).toBe('0a0100010a020001');
    expect(packet.readUInt16BE(2)).toBe(packet.length);
    expect(folded(packet.subarray(0, 20))).toBe(0xffff);
    expect(folded(pseudo(packet, 12, 20, packet.length - 20), packet.subarray(20))).toBe(0xffff);
    expect(readTag(packet)).toEqual({ flow: 5, number: 77 });
  });

  it('are IPv6 with right checksums', () => {
    const packet = packetMaker(70_000, 6, addressOf('fd00:1::1'), addressOf('fd00:2::1'))(3);
    expect(packet.readUInt16BE(4)).toBe(packet.length - 40);
    expect(folded(pseudo(packet, 8, 40, packet.length - 40), packet.subarray(40))).toBe(0xffff);
    expect(readTag(packet)).toEqual({ flow: 70_000, number: 3 });
  });

  it('are each a buffer of its own', () => {
    const make = packetMaker(1, 4, addressOf('10.1.0.1'), addressOf('10.2.0.1'));
    const [first, second] = [make(1), make(2)];
    expect(readTag(first)?.number).toBe(1);
    expect(readTag(second)?.number).toBe(2);
  });

  it('are told from other packets', () => {
    const packet = packetMaker(1, 4, addressOf('10.1.0.1'), addressOf('10.2.0.1'))(1);
    expect(readTag(packet.subarray(0, 40))).toBeUndefined();
    expect(readTag(Buffer.alloc(0))).toBeUndefined();
    expect(readTag(Buffer.alloc(packet.length, 0x45))).toBeUndefined();
  });
});
