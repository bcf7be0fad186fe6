import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  EspError,
  type EspSa,
  type EspVerdict,
  espTransform,
  newEspFacts,
  newOpened,
  parseEsp,
} from '../../src/esp/index.ts';
import { SaExtraFlag, SaFlag, type XfrmAttributes } from '../../src/xfrm/index.ts';
import { hex } from '../xfrm/hex.ts';
import { aead, algorithms, ends, espSa, ipPacket, key, sum } from './sas.ts';

const buffer = (): Uint8Array => new Uint8Array(70_000);
const encap = { type: 2, sport: 4500, dport: 4500, oa: { w0: 0, w1: 0, w2: 0, w3: 0 } };

function sealed(sa: EspSa, packet: Uint8Array, seq = 1, seqHi = 0): Uint8Array {
  const into = buffer();
  return into.slice(0, espTransform(sa).seal(packet, seq, seqHi, into));
}

function opened(sa: EspSa, outer: Uint8Array, seqHi = 0): { verdict: EspVerdict; bytes: number; packet: Uint8Array } {
  const facts = newEspFacts();
  expect(parseEsp(outer, 0, outer.length, facts)).toBeUndefined();
  const into = buffer();
  const { verdict, length, bytes } = espTransform(sa).open(outer, 0, facts, seqHi, into, newOpened());
  return { verdict, bytes, packet: into.slice(0, length) };
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof EspError) return error.code;
    throw error;
  }
  return 'no error';
}

/** The checksums of an IP packet, judged by a sum of the tests' own. */
function sumsGood(packet: Uint8Array): boolean {
  if ((packet[0] as number) >>> 4 === 4) return sum(packet.subarray(0, 4 * ((packet[0] as number) & 15))) === 0;
  if (packet[6] !== 17) return true;
  const udp = packet.subarray(40);
  return sum(Buffer.concat([packet.subarray(8, 40), Uint8Array.of(udp[4] ?? 0, udp[5] ?? 0, 0, 17), udp])) === 0;
}

describe('seal and open', () => {
  describe.each(Object.entries(algorithms))('%s', (_, attributes) => {
    it.each([
      ['transport', 4, 4],
      ['transport', 6, 6],
      ['tunnel', 4, 4],
      ['tunnel', 6, 6],
      ['tunnel', 4, 6],
      ['tunnel', 6, 4],
    ] as const)('%s, outer IPv%i, inner IPv%i, all paddings, with and without UDP and ESN', (name, outer, inner) => {
      for (const esn of [false, true]) {
        for (const more of [{}, { encap }]) {
          const sa = espSa({ mode: name === 'tunnel' ? 1 : 0, family: outer, esn }, { ...attributes, ...more });
          const overhead = espTransform(sa).overheadBytesMax;
          for (let bytes = 0; bytes < 33; bytes++) {
            const packet = ipPacket({ family: inner, bytes });
            const wire = sealed(sa, packet, 0xffff_ffff, esn ? 7 : 0);
            expect(wire.length).toBeLessThanOrEqual(packet.length + overhead);
            expect(sumsGood(wire)).toBe(true);
            const { verdict, packet: back, bytes: counted } = opened(sa, wire, esn ? 7 : 0);
            expect(verdict).toBe('OK');
            expect(hex(back)).toBe(hex(packet));
            expect(counted).toBe(name === 'tunnel' ? packet.length : 8 + bytes);
            if (esn) expect(opened(sa, wire, 8).verdict).toBe('INTEGRITY');
          }
        }
      }
    });
  });

  it('of a wrong key, window or altered byte nothing comes out', () => {
    const sa = espSa();
    const wire = sealed(sa, ipPacket());
    const other = espSa({}, { algAead: aead('rfc4106(gcm(aes))', key(20, 99)) });
    expect(opened(other, wire)).toMatchObject({ verdict: 'INTEGRITY', packet: new Uint8Array(0) });
    for (let i = 20; i < wire.length; i++) {
      const altered = Uint8Array.from(wire);
      altered[i] = (altered[i] as number) ^ 0x80;
      expect(opened(sa, altered).verdict).toBe('INTEGRITY');
    }
  });

  it('every packet on a CBC SA has another IV; on a GCM SA the IV is the number', () => {
    const cbc = espSa({}, algorithms['cbc-128-sha256']);
    const ivs = new Set(Array.from({ length: 600 }, (_, i) => hex(sealed(cbc, ipPacket(), i + 1).subarray(28, 44))));
    expect(ivs.size).toBe(600);
    const gcm = espSa({ esn: true });
    expect(hex(sealed(gcm, ipPacket(), 0x01020304, 0x05060708).subarray(20, 36))).toBe(
      '00000100010203040506070801020304',
    );
  });

  it('numbers that may wrap would repeat IVs: refused where the number is the IV', () => {
    const saExtraFlags = SaExtraFlag.OSEQ_MAY_WRAP;
    const gcm = espSa({}, { ...algorithms['gcm-128-16'], saExtraFlags });
    expect(codeOf(() => sealed(gcm, ipPacket()))).toBe('ERR_ESP_SEQUENCE');
    expect(opened(gcm, sealed(espSa(), ipPacket())).verdict).toBe('OK');
    const cbc = espSa({}, { ...algorithms['cbc-128-sha1'], saExtraFlags });
    expect(opened(cbc, sealed(cbc, ipPacket())).verdict).toBe('OK');
  });
});

describe('headers', () => {
  const tunnel = (flags = 0, more: XfrmAttributes = {}, family: 4 | 6 = 4): EspSa =>
    espSa({ mode: 1, flags, family }, { ...algorithms['gcm-128-16'], ...more });

  it('outer IPv4: DSCP and ECN of the inner, CE as ECT(0), DF copied, identification where it may be fragmented', () => {
    const head = (sa: EspSa, shape: Parameters<typeof ipPacket>[0]): Buffer => Buffer.from(sealed(sa, ipPacket(shape)));
    expect(head(tunnel(), { tos: 0xb8 })[1]).toBe(0xb8);
    expect(head(tunnel(), { tos: 0xb9 })[1]).toBe(0xb9);
    expect(head(tunnel(), { tos: 0xbb })[1]).toBe(0xba);
    expect(head(tunnel(SaFlag.NOECN), { tos: 0xb9 })[1]).toBe(0xb8);
    expect(head(tunnel(0, { saExtraFlags: SaExtraFlag.DONT_ENCAP_DSCP }), { tos: 0xb9 })[1]).toBe(1);
    expect(head(tunnel(), { family: 6, tos: 0x2e })[1]).toBe(0x2e);
    expect(head(tunnel(), { dontFragment: true }).readUInt32BE(4)).toBe(0x4000);
    expect(head(tunnel(), { family: 6 }).readUInt32BE(4)).toBe(0x4000);
    expect(head(tunnel(), {}).readUInt32BE(4)).toBe(0x0001_0000);
    expect(head(tunnel(SaFlag.NOPMTUDISC), { dontFragment: true }).readUInt16BE(6)).toBe(0);
    expect(head(tunnel(), {})[8]).toBe(64);
  });

  it('outer IPv6: class and flow label of the inner, hop limit 64', () => {
    const wire = Buffer.from(sealed(tunnel(0, {}, 6), ipPacket({ family: 6, tos: 0xbb })));
    expect(wire.readUInt32BE(0).toString(16)).toBe('6ba54321');
    expect([wire[6], wire[7]]).toEqual([50, 64]);
    expect(
      Buffer.from(sealed(tunnel(0, {}, 6), ipPacket({ tos: 0xb8 })))
        .readUInt32BE(0)
        .toString(16),
    ).toBe('6b800000');
  });

  it('congestion met outside is told inside, to transports that know ECN; DSCP only with DECAP_DSCP', () => {
    const through = (flags: number, family: 4 | 6, inner: number, outer: number): number => {
      const sa = tunnel(flags);
      const wire = sealed(sa, ipPacket({ family, tos: inner }));
      wire[1] = outer;
      wire.set([0, 0], 10);
      const s = sum(wire.subarray(0, 20));
      wire.set([s >>> 8, s & 255], 10);
      const { packet } = opened(sa, wire);
      if (family === 4) expect(sumsGood(packet)).toBe(true);
      return family === 4 ? (packet[1] as number) : (((packet[0] as number) & 15) << 4) | ((packet[1] as number) >>> 4);
    };
    for (const family of [4, 6] as const) {
      expect(through(0, family, 0x02, 0x03)).toBe(0x03);
      expect(through(0, family, 0x00, 0x03)).toBe(0x00);
      expect(through(SaFlag.NOECN, family, 0x02, 0x03)).toBe(0x02);
      expect(through(0, family, 0x20, 0xb8)).toBe(0x20);
      expect(through(SaFlag.DECAP_DSCP, family, 0x21, 0xbb)).toBe(0xbb);
    }
  });

  it('transport mode: IPv4 options and IPv6 extension headers that routers read stay outside', () => {
    const options = Uint8Array.of(0x94, 4, 0, 0);
    const sa = espSa();
    const wire = sealed(sa, ipPacket({ options }));
    expect([wire[0], wire[9], hex(wire.subarray(20, 28))]).toEqual([0x46, 50, '9404000000000100']);
    expect(hex(opened(sa, wire).packet)).toBe(hex(ipPacket({ options })));

    const six = espSa({ family: 6 });
    // Hop-by-hop, destination options, routing, destination options: the last ones are the receiver's own.
    const chain = (...next: number[]): Uint8Array => Uint8Array.from(next.flatMap((n) => [n, 0, 1, 4, 0, 0, 0, 0]));
    const packet = ipPacket({ family: 6, extension: { first: 0, bytes: chain(60, 43, 60, 17) } });
    const protectedPart = sealed(six, packet);
    expect(protectedPart[40 + 16]).toBe(50);
    expect(Buffer.from(protectedPart).readUInt32BE(40 + 24)).toBe(0x100);
    expect(hex(opened(six, protectedPart).packet)).toBe(hex(packet));
    const many = ipPacket({ family: 6, extension: { first: 0, bytes: chain(...new Array(9).fill(0), 17) } });
    expect(codeOf(() => sealed(six, many))).toBe('ERR_ESP_PACKET');
  });

  it('UDP: ports of the SA, no checksum over IPv4, one over IPv6', () => {
    const attributes = { ...algorithms['gcm-128-16'], encap: { ...encap, sport: 4501 } };
    const four = Buffer.from(sealed(espSa({}, attributes), ipPacket()));
    expect([
      four[9],
      four.readUInt16BE(20),
      four.readUInt16BE(22),
      four.readUInt16BE(24),
      four.readUInt16BE(26),
    ]).toEqual([17, 4501, 4500, four.length - 20, 0]);
    const six = Buffer.from(sealed(espSa({ family: 6 }, attributes), ipPacket({ family: 6 })));
    expect(six.readUInt16BE(46)).not.toBe(0);
    six[46] = (six[46] as number) ^ 1;
    expect(parseEsp(six, 0, six.length, newEspFacts())).toBe('CHECKSUM');
  });

  it('TFC padding fills up to its length and is gone behind the tunnel', () => {
    const sa = tunnel(0, { tfcpad: 500 });
    const lengths = [10, 100, 300].map((bytes) => sealed(sa, ipPacket({ bytes })).length);
    expect(new Set(lengths)).toEqual(new Set([20 + 8 + 8 + 504 + 16]));
    expect(sealed(sa, ipPacket({ bytes: 600 })).length).toBeGreaterThan(628);
    const { packet, bytes } = opened(sa, sealed(sa, ipPacket({ bytes: 10 })));
    expect(hex(packet)).toBe(hex(ipPacket({ bytes: 10 })));
    // What the SA's lifetime counts on the way in (xfrm_input.c:xfrm_input): the padding is not cut off yet.
    expect(bytes).toBe(500);
  });

  it('what lies behind the end of a packet is padding of the link', () => {
    const sa = espSa({ mode: 1 });
    const padded = Uint8Array.from(Buffer.concat([ipPacket(), new Uint8Array(17)]));
    const wire = Uint8Array.from(Buffer.concat([sealed(sa, padded), new Uint8Array(9)]));
    expect(hex(opened(sa, wire).packet)).toBe(hex(ipPacket()));
  });
});

describe('refusals', () => {
  /** A signed packet with a plaintext of the test's own, on a NULL cipher. */
  function signed(plaintext: Uint8Array, mode = 1): { sa: EspSa; wire: Uint8Array } {
    const sa = espSa({ mode }, algorithms['null-sha1']);
    const esp = Buffer.concat([Uint8Array.of(0, 0, 1, 0, 0, 0, 0, 1), plaintext]);
    const icv = createHmac('sha1', sa.attributes.algAuthTrunc?.key ?? '')
      .update(esp)
      .digest()
      .subarray(0, 12);
    const head = ipPacket({ proto: 50, bytes: esp.length + 12 - 8 }).subarray(0, 20);
    return { sa, wire: Uint8Array.from(Buffer.concat([head, esp, icv])) };
  }
  const verdict = (plaintext: Uint8Array, mode = 1): EspVerdict => {
    const { sa, wire } = signed(plaintext, mode);
    return opened(sa, wire).verdict;
  };

  it('signed nonsense', () => {
    expect(verdict(Uint8Array.of(1, 2, 2, 4))).toBe('INNER');
    expect(verdict(Uint8Array.of(1, 2, 3, 4))).toBe('PADDING');
    expect(verdict(Uint8Array.of(1, 2, 255, 4))).toBe('PADDING');
    expect(verdict(Uint8Array.of(1, 2, 2, 59))).toBe('DUMMY');
    expect(verdict(Uint8Array.of(1, 2, 2, 6), 0)).toBe('OK');
    const inner = ipPacket({ bytes: 0 });
    const trailer = (n: number): Uint8Array => Uint8Array.of(1, 2, 2, n);
    expect(verdict(Uint8Array.from([...inner, ...trailer(4)]))).toBe('OK');
    expect(verdict(Uint8Array.from([...inner, ...trailer(41)]))).toBe('INNER');
    expect(verdict(Uint8Array.from([...inner, ...trailer(17)]))).toBe('INNER');
    expect(verdict(Uint8Array.from([...inner.subarray(0, 24), ...trailer(4)]))).toBe('INNER');
  });

  it('lengths that no packet of the SA has', () => {
    const sa = espSa({}, algorithms['cbc-128-sha1']);
    const wire = sealed(sa, ipPacket());
    for (const cut of [1, 4, 15, 40, 60]) {
      const shorter = ipPacket({ proto: 50, bytes: wire.length - 20 - cut - 8 });
      shorter.set(wire.subarray(20, wire.length - cut), 20);
      expect(opened(sa, shorter).verdict).toBe('TRUNCATED');
    }
    const facts = newEspFacts();
    expect(parseEsp(wire, 0, wire.length, facts)).toBeUndefined();
    const small = new Uint8Array(ipPacket().length - 1);
    expect(espTransform(sa).open(wire, 0, facts, 0, small, newOpened()).verdict).toBe('TOO_LONG');
  });

  it('packets without ESP to open', () => {
    const parse = (packet: Uint8Array): string | undefined => parseEsp(packet, 0, packet.length, newEspFacts());
    expect(parse(ipPacket())).toBe('NOT_ESP');
    expect(parse(ipPacket({ family: 6 }))).toBe('NOT_ESP');
    expect(parse(ipPacket({ proto: 50, fragment: 0x2000 }))).toBe('FRAGMENT');
    expect(parse(ipPacket({ proto: 50, fragment: 3 }))).toBe('FRAGMENT');
    expect(parse(ipPacket({ proto: 6, fragment: 3 }))).toBe('NOT_ESP');
    const extension = { first: 44, bytes: Uint8Array.of(50, 0, 0, 1, 0, 0, 0, 1) };
    expect(parse(ipPacket({ family: 6, extension }))).toBe('FRAGMENT');
    expect(parse(new Uint8Array(19))).toBe('TRUNCATED');
    expect(parse(new Uint8Array(20))).toBe('VERSION');
    expect(parse(ipPacket({ proto: 50 }).subarray(0, 40))).toBe('TRUNCATED');
    const altered = ipPacket({ proto: 50 });
    altered[8] = 1;
    expect(parse(altered)).toBe('CHECKSUM');
    const short = ipPacket();
    short[0] = 0x44;
    expect(parse(short)).toBe('LENGTH');
    const udp = (payload: Uint8Array): string | undefined => {
      const packet = ipPacket({ dport: 4500, bytes: payload.length });
      packet.set(payload, 28);
      return parse(packet);
    };
    expect(udp(Uint8Array.of(0xff))).toBe('KEEPALIVE');
    expect(udp(new Uint8Array(40))).toBe('IKE');
    expect(udp(Uint8Array.of(0, 0, 1))).toBe('TRUNCATED');
    expect(udp(new Uint8Array(40).fill(1))).toBeUndefined();
  });

  it('packets that cannot be protected', () => {
    const transport = espSa();
    expect(codeOf(() => sealed(transport, ipPacket({ family: 6 })))).toBe('ERR_ESP_TRANSPORT');
    expect(codeOf(() => sealed(transport, ipPacket({ fragment: 0x2000 })))).toBe('ERR_ESP_TRANSPORT');
    expect(codeOf(() => sealed(transport, ipPacket().subarray(0, 30)))).toBe('ERR_ESP_PACKET');
    expect(codeOf(() => sealed(espSa({ mode: 1 }), ipPacket({ bytes: 65_500 })))).toBe('ERR_ESP_TOO_LONG');
    expect(codeOf(() => espTransform(transport).seal(ipPacket(), 1, 0, new Uint8Array(80)))).toBe('ERR_ESP_TOO_LONG');
    expect(opened(espSa({ mode: 1 }), sealed(espSa({ mode: 1 }), ipPacket({ fragment: 0x2000 }))).verdict).toBe('OK');
  });

  const gcm = algorithms['gcm-128-16'] as XfrmAttributes;
  const cbc = algorithms['cbc-128-sha1'] as XfrmAttributes;
  const keyOf = (bytes: number, name = 'rfc4106(gcm(aes))', icvLen = 128): XfrmAttributes => ({
    algAead: { name, keyLen: 8 * bytes, icvLen, key: key(bytes, 1) },
  });
  it.each<[string, EspSa]>([
    ['ERR_ESP_ALGORITHM', espSa({}, {})],
    ['ERR_ESP_ALGORITHM', espSa({}, keyOf(19, 'rfc4309(ccm(aes))'))],
    ['ERR_ESP_ALGORITHM', espSa({}, keyOf(20, 'toString'))],
    ['ERR_ESP_KEY', espSa({}, keyOf(21))],
    ['ERR_ESP_KEY', espSa({}, keyOf(20, 'rfc4106(gcm(aes))', 32))],
    ['ERR_ESP_KEY', espSa({}, { ...cbc, algCrypt: { name: 'cbc(aes)', keyLen: 64, key: key(8, 1) } })],
    ['ERR_ESP_ALGORITHM', espSa({}, { ...cbc, algCrypt: { name: 'cbc(des3_ede)', keyLen: 192, key: key(24, 1) } })],
    ['ERR_ESP_UNAUTHENTICATED', espSa({}, { algCrypt: { name: 'cbc(aes)', keyLen: 128, key: key(16, 1) } })],
    [
      'ERR_ESP_UNAUTHENTICATED',
      espSa({}, { ...cbc, algAuthTrunc: { name: 'digest_null', keyLen: 0, truncLen: 0, key: key(0, 1) } }),
    ],
    [
      'ERR_ESP_ALGORITHM',
      espSa({}, { ...cbc, algAuthTrunc: { name: 'hmac(md5)', keyLen: 128, truncLen: 96, key: key(16, 1) } }),
    ],
    [
      'ERR_ESP_KEY',
      espSa({}, { ...cbc, algAuthTrunc: { name: 'hmac(sha1)', keyLen: 160, truncLen: 32, key: key(20, 1) } }),
    ],
    ['ERR_ESP_MODE', espSa({ mode: 4 }, gcm)],
    ['ERR_ESP_MODE', ((sa) => ({ ...sa, body: { ...sa.body, id: { ...sa.body.id, proto: 51 } } }))(espSa())],
    ['ERR_ESP_ENCAP', espSa({}, { ...gcm, encap: { ...encap, type: 1 } })],
  ])('%s: SAs that are not done here', (code, sa) => {
    expect(codeOf(() => espTransform(sa))).toBe(code);
  });

  it('without a length of its own the check value has the kernel’s: 96 bits of SHA-256', () => {
    const algAuth = { name: 'sha256', keyLen: 256, key: key(32, 9) };
    const algCrypt = { name: 'cipher_null', keyLen: 0, key: new Uint8Array(0) };
    const wire = sealed(espSa({}, { algAuth, algCrypt }), ipPacket({ bytes: 2 }));
    expect(wire.length).toBe(20 + 8 + 10 + 2 + 12);
    const expected = createHmac('sha256', algAuth.key).update(wire.subarray(20, -12)).digest('hex').slice(0, 24);
    expect(hex(wire.subarray(-12))).toBe(expected);
  });

  it('no error says a key', () => {
    const secret = Buffer.from('this key must not be shown anywhere in the text');
    const bad = { name: 'rfc4106(gcm(aes))', keyLen: 8 * secret.length, icvLen: 128, key: secret };
    try {
      espTransform(espSa({}, { algAead: bad }));
      expect.unreachable();
    } catch (error) {
      const text = `${(error as Error).stack} ${JSON.stringify(error)}`;
      expect(text).not.toContain('this key');
      expect(text).not.toContain(secret.toString('hex').slice(0, 16));
    }
  });

  it('the addresses of the ends are those of the SA', () => {
    const wire = Buffer.from(sealed(espSa({ mode: 1 }), ipPacket({ saddr: '10.0.0.1', daddr: '10.0.0.2' })));
    expect([...wire.subarray(12, 20)].join('.')).toBe(`${ends[4].saddr}.${ends[4].daddr}`);
  });
});
