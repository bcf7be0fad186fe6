import { SocketAddress } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatAddress, parseAddress, sameAddress } from '../../src/xfrm/index.ts';

const word = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0, 1, 0xffff, 0x10000, 0xffff_0000, 0xffff_ffff));
const address = fc.record({ w0: word, w1: word, w2: word, w3: word });

describe('addresses as text', () => {
  it("IPv6 reads back, and to Node's parser means the same", () => {
    fc.assert(
      fc.property(address, (value) => {
        const text = formatAddress(value, 10);
        expect(parseAddress(text)).toEqual({ address: value, family: 10 });
        const plain = [value.w0, value.w1, value.w2, value.w3]
          .flatMap((w) => [w >>> 16, w & 0xffff])
          .map((g) => g.toString(16))
          .join(':');
        const node = (address: string) => new SocketAddress({ address, family: 'ipv6' }).address;
        expect(node(text)).toBe(node(plain));
      }),
    );
  });

  it('every IPv6 text that Node accepts is read as Node reads it', () => {
    fc.assert(
      fc.property(
        fc.ipV6().filter((text) => !text.includes('%')),
        (text) => {
          const parsed = parseAddress(text);
          expect(parsed?.family).toBe(10);
          const node = (address: string) => new SocketAddress({ address, family: 'ipv6' }).address;
          if (parsed) expect(node(formatAddress(parsed.address, 10))).toBe(node(text));
        },
      ),
    );
  });

  it('IPv4 reads back', () => {
    fc.assert(
      fc.property(fc.ipV4(), (text) => {
        const parsed = parseAddress(text);
        expect(parsed).toMatchObject({ family: 2, address: { w1: 0, w2: 0, w3: 0 } });
        if (parsed) expect(formatAddress(parsed.address, 2)).toBe(text);
      }),
    );
  });

  it.each([
    [{ w0: 0, w1: 0, w2: 0, w3: 0 }, '::'],
    [{ w0: 0, w1: 0, w2: 0, w3: 1 }, '::1'],
    [{ w0: 0x20010db8, w1: 0, w2: 0, w3: 0 }, '2001:db8::'],
    // RFC 5952, section 4.2.2: one group is not shortened; 4.2.3: the longest run is, the first of equals.
    [{ w0: 0x20010db8, w1: 0x00000001, w2: 0x00010001, w3: 0x00010001 }, '2001:db8:0:1:1:1:1:1'],
    [{ w0: 0x20010000, w1: 0x00010000, w2: 0x00000000, w3: 0x00000001 }, '2001:0:1::1'],
    [{ w0: 0x20010db8, w1: 0x00000000, w2: 0x00010000, w3: 0x00000001 }, '2001:db8::1:0:0:1'],
  ])('%j is %s', (value, text) => {
    expect(formatAddress(value, 10)).toBe(text);
    expect(parseAddress(text)?.address).toEqual(value);
  });

  it('refuses what is no address', () => {
    for (const text of [
      '',
      '10.0.0',
      '10.0.0.256',
      '010.0.0.1',
      'fe80::1%eth0',
      '1::2::3',
      'example.org',
      '10.0.0.1/24',
    ]) {
      expect([text, parseAddress(text)]).toEqual([text, undefined]);
    }
  });

  it('ignores the unused words of an IPv4 address', () => {
    const junk = { w0: 1, w1: 2, w2: 3, w3: 4 };
    expect(sameAddress(junk, { w0: 1, w1: 0, w2: 0, w3: 0 }, 2)).toBe(true);
    expect(sameAddress(junk, { w0: 1, w1: 0, w2: 0, w3: 0 }, 10)).toBe(false);
    expect(formatAddress(junk, 2)).toBe('0.0.0.1');
    expect(formatAddress(junk)).toBe('0:1:0:2:0:3:0:4');
    expect(formatAddress({ w0: 0x0a000001, w1: 0, w2: 0, w3: 0 })).toBe('10.0.0.1');
  });
});
