import { describe, expect, it } from 'vitest';
import { EspDataPlane, type EspSa } from '../../src/esp/index.ts';
import {
  AeFlag,
  PolicyDir,
  SaExtraFlag,
  SaFlag,
  type XfrmAttributes,
  XfrmGroup,
  type XfrmMessage,
} from '../../src/xfrm/index.ts';
import { hex } from '../xfrm/hex.ts';
import { between, connect, type Pair, pair, received, through } from './planes.ts';
import { aead, algorithms, ends, espSa, ipPacket, key, type PacketShape, type Shape } from './sas.ts';

const encap = { type: 2, sport: 4500, dport: 4500, oa: { w0: 0, w1: 0, w2: 0, w3: 0 } };
const inside = {
  4: { saddr: '10.1.0.5', daddr: '10.2.0.7' },
  6: { saddr: 'fd01::5', daddr: 'fd02::7' },
} as const;

type EsnState = NonNullable<XfrmAttributes['replayEsnVal']>;
const esnState = (words: number, more: Partial<EsnState> = {}): EsnState => ({
  bmpLen: words,
  oseq: 0,
  seq: 0,
  oseqHi: 0,
  seqHi: 0,
  replayWindow: 32 * words,
  bmp: new Array<number>(words).fill(0),
  ...more,
});

const windows: Readonly<Record<string, (sa: EspSa) => EspSa>> = {
  legacy: (sa) => ({ ...sa, body: { ...sa.body, replayWindow: 32 } }),
  bitmap: (sa) => ({ ...sa, attributes: { ...sa.attributes, replayEsnVal: esnState(4) } }),
  esn: (sa) => ({
    body: { ...sa.body, flags: sa.body.flags | SaFlag.ESN },
    attributes: { ...sa.attributes, replayEsnVal: esnState(4) },
  }),
};

/** Two machines with one SA in one of the modes; `packet` goes through it. */
function connected(shape: Shape, attributes: XfrmAttributes, inner: 4 | 6, window = 'legacy'): Pair & { sa: EspSa } {
  const made = pair({ hz: 250 });
  const sa = (windows[window] as (sa: EspSa) => EspSa)(espSa({ reqid: 7, ...shape }, attributes));
  // A tunnel takes both families unless its selector says one.
  if (shape.mode === 1 && inner !== (shape.family ?? 4)) sa.body.flags |= SaFlag.AF_UNSPEC;
  const { saddr, daddr } = shape.mode === 1 ? inside[inner] : ends[inner];
  connect(made, sa, between(saddr, daddr));
  return { ...made, sa };
}

const packetOf = (mode: number, inner: 4 | 6, more: PacketShape = {}): Uint8Array =>
  ipPacket({ family: inner, ...(mode === 1 ? inside[inner] : ends[inner]), ...more });

describe('two data planes back to back', () => {
  describe.each(Object.entries(algorithms))('%s', (_, attributes) => {
    it.each(Object.keys(windows))(
      '%s window: modes, families, UDP: through once, counted, replays refused',
      (window) => {
        for (const [mode, outer, inner] of [
          [0, 4, 4],
          [0, 6, 6],
          [1, 4, 4],
          [1, 6, 6],
          [1, 4, 6],
          [1, 6, 4],
        ] as const) {
          for (const more of [{}, { encap }]) {
            const here = connected({ mode, family: outer }, { ...attributes, ...more }, inner, window);
            const packets = [10, 100, 1000].map((bytes) => packetOf(mode, inner, { bytes }));
            const wires = packets.map((packet) => {
              const { wire, inbound } = through(here, packet);
              expect(inbound.verdict).toBe('OPENED');
              expect(hex(inbound.packet)).toBe(hex(packet));
              return wire;
            });
            for (const wire of wires) expect(here.b.plane.inbound(wire).verdict).toBe('REPLAY');
            const bytes = BigInt(
              packets.reduce((n, p) => n + p.length, 0) - (mode === 1 ? 0 : 3 * (inner === 4 ? 20 : 40)),
            );
            for (const machine of [here.a, here.b]) {
              const { curlft } = machine.sa(here.sa).body;
              expect([curlft.packets, curlft.bytes]).toEqual([3n, bytes]);
            }
            const { attributes: of, body } = here.b.sa(here.sa);
            expect((of.replayEsnVal ?? of.replayVal)?.seq).toBe(3);
            expect(body.stats).toEqual({ replayWindow: 0, replay: 3, integrityFailed: 0 });
            expect(here.b.kernel.stats()).toEqual({ XfrmInStateSeqError: 3 });
          }
        }
      },
    );
  });

  it('an altered packet is refused and counted, and its number can still come', () => {
    const here = connected({ mode: 1 }, algorithms['gcm-128-16'] ?? {}, 4);
    const { packet } = here.a.plane.outbound(packetOf(1, 4));
    const good = Uint8Array.from(packet);
    const bad = Uint8Array.from(good);
    bad[40] = (bad[40] as number) ^ 1;
    expect(here.b.plane.inbound(bad).verdict).toBe('INTEGRITY');
    expect(here.b.sa(here.sa).body.stats.integrityFailed).toBe(1);
    expect(here.b.sa(here.sa).attributes.replayVal?.seq).toBe(0);
    expect(here.b.kernel.stats()).toEqual({ XfrmInStateProtoError: 1 });
    expect(here.b.plane.inbound(good).verdict).toBe('OPENED');
  });

  it('behind the window', () => {
    const here = connected({}, algorithms['cbc-128-sha256'] ?? {}, 4);
    const first = through(here, packetOf(0, 4)).wire;
    const lost = Uint8Array.from(here.a.plane.outbound(packetOf(0, 4)).packet);
    for (let i = 0; i < 40; i++) through(here, packetOf(0, 4));
    expect(here.b.plane.inbound(first)).toMatchObject({ verdict: 'LATE', spi: 0x100, seq: 1 });
    expect(here.b.plane.inbound(lost).verdict).toBe('LATE');
    expect(here.b.sa(here.sa).body.stats).toEqual({ replayWindow: 2, replay: 0, integrityFailed: 0 });
  });

  it.each(['gcm-128-16', 'chacha20poly1305', 'cbc-256-sha512', 'null-sha1'])(
    '%s: ESN across 2^32, late packets and replays on either side',
    (name) => {
      const here = connected({ mode: 1 }, algorithms[name] ?? {}, 4, 'esn');
      const id = { daddr: here.sa.body.id.daddr, spi: 0x100, family: 2, proto: 50 };
      const body = { saId: id, saddr: here.sa.body.saddr, flags: 0, reqid: 7 };
      const near = esnState(4, { oseq: 0xffff_fff0, oseqHi: 1, seq: 0xffff_fff0, seqHi: 1 });
      for (const machine of [here.a, here.b]) machine.ask({ kind: 'NEWAE', body, attributes: { replayEsnVal: near } });
      const wires: Uint8Array[] = [];
      let held: Uint8Array | undefined;
      for (let i = 1; i <= 64; i++) {
        const wire = Uint8Array.from(here.a.plane.outbound(packetOf(1, 4, { bytes: i })).packet);
        wires.push(wire);
        // One packet of the old epoch arrives when the window is in the new one.
        if (i === 10) held = wire;
        else expect(here.b.plane.inbound(wire).verdict).toBe('OPENED');
      }
      expect(here.b.plane.inbound(held as Uint8Array).verdict).toBe('OPENED');
      for (const wire of wires) expect(here.b.plane.inbound(wire).verdict).toBe('REPLAY');
      expect(here.a.sa(here.sa).attributes.replayEsnVal).toMatchObject({ oseq: 48, oseqHi: 2 });
      expect(here.b.sa(here.sa).attributes.replayEsnVal).toMatchObject({ seq: 48, seqHi: 2 });
    },
  );

  it('without ESN the last number is the last one', () => {
    const here = connected({}, algorithms['gcm-128-16'] ?? {}, 4);
    const id = { daddr: here.sa.body.id.daddr, spi: 0x100, family: 2, proto: 50 };
    const body = { saId: id, saddr: here.sa.body.saddr, flags: 0, reqid: 7 };
    const replayVal = { oseq: 0xffff_fffe, seq: 0, bitmap: 0 };
    here.a.ask({ kind: 'NEWAE', body, attributes: { replayVal } });
    expect(through(here, packetOf(0, 4)).inbound).toMatchObject({ verdict: 'OPENED', seq: 0xffff_ffff });
    expect(here.a.plane.outbound(packetOf(0, 4))).toMatchObject({ verdict: 'EXHAUSTED', packet: new Uint8Array(0) });
    expect(here.a.stat('XfrmOutStateSeqError')).toBe(1);
  });

  it('lifetimes: soft and hard expiry by packets, then there is no SA, and key managers are asked', () => {
    const here = pair();
    const expiries = here.a.kernel.openNow({ groups: [XfrmGroup.EXPIRE, XfrmGroup.ACQUIRE] });
    const sa = espSa({ mode: 1, reqid: 7 });
    sa.body.lft.softPacketLimit = 2n;
    sa.body.lft.hardPacketLimit = 4n;
    connect(here, sa, between('10.1.0.5', '10.2.0.7'));
    const verdicts = Array.from({ length: 6 }, () => here.a.plane.outbound(packetOf(1, 4)).verdict);
    expect(verdicts).toEqual(['SEALED', 'SEALED', 'SEALED', 'SEALED', 'STATE', 'NO_SA']);
    const events = received(expiries).map((m) => [m.kind, m.kind === 'EXPIRE' ? m.body.hard : undefined]);
    expect(events).toEqual([
      ['EXPIRE', 0],
      ['EXPIRE', 1],
      ['ACQUIRE', undefined],
    ]);
    expect(here.a.kernel.stats()).toEqual({ XfrmOutStateExpired: 1, XfrmOutNoStates: 1 });
  });

  it('a hard limit of bytes ends an inbound SA', () => {
    const here = pair();
    const sa = espSa({ mode: 1, reqid: 7 });
    connect(here, sa, between('10.1.0.5', '10.2.0.7'));
    const packet = packetOf(1, 4);
    here.b.ask({
      kind: 'UPDSA',
      ...sa,
      body: { ...sa.body, lft: { ...sa.body.lft, hardByteLimit: BigInt(2 * packet.length) } },
    });
    expect([1, 2, 3, 4].map(() => through(here, packet).inbound.verdict)).toEqual([
      'OPENED',
      'OPENED',
      'STATE',
      'NO_SA',
    ]);
    expect(here.b.kernel.stats()).toEqual({ XfrmInStateExpired: 1, XfrmInNoStates: 1 });
  });

  it('events say the numbers that packets carry', () => {
    const here = connected({ mode: 1 }, algorithms['gcm-128-16'] ?? {}, 4);
    const [out, into] = [here.a, here.b].map(({ kernel }) => kernel.openNow({ groups: [XfrmGroup.AEVENTS] }));
    const seqs = Array.from({ length: 5 }, () => {
      const { wire } = through(here, packetOf(1, 4));
      return Buffer.from(wire).readUInt32BE(24);
    });
    expect(seqs).toEqual([1, 2, 3, 4, 5]);
    here.clock.advance(2000);
    const told = (socket: typeof out): unknown[] =>
      received(socket as NonNullable<typeof out>).map((message) => {
        const { body, attributes } = message as XfrmMessage<'NEWAE'>;
        return [body.flags, attributes.replayVal?.oseq, attributes.replayVal?.seq];
      });
    expect(told(out)).toEqual([
      [AeFlag.CR, 2, 0],
      [AeFlag.CR, 4, 0],
      [AeFlag.CE, 5, 0],
    ]);
    expect(told(into)).toEqual([
      [AeFlag.CR, 0, 2],
      [AeFlag.CR, 0, 4],
      [AeFlag.CE, 0, 5],
    ]);
  });

  it('many SAs: each packet goes through its own', () => {
    const here = pair();
    const count = 1000;
    const hosts = Array.from({ length: count }, (_, i) => `10.1.${i >> 8}.${i & 255}`);
    const sas = hosts.map((saddr, i) => {
      const keyed = { algAead: aead('rfc4106(gcm(aes))', key(20, i)), replayEsnVal: esnState(2) };
      const sa = espSa({ mode: 1, reqid: i + 1, spi: 0x1000 + i }, keyed);
      connect(here, sa, between(saddr, '10.2.0.7'));
      return sa;
    });
    for (let round = 1; round <= 2; round++) {
      hosts.forEach((saddr, i) => {
        const { inbound } = through(here, packetOf(1, 4, { saddr }));
        expect(inbound).toMatchObject({ verdict: 'OPENED', spi: 0x1000 + i, seq: round });
      });
    }
    for (const sa of sas) expect(here.b.sa(sa).body.curlft.packets).toBe(2n);
  });

  it('payloads of UDP sockets: ESP, IKE, keepalives; a new port raises MAPPING', () => {
    const here = connected({ mode: 1 }, { ...algorithms['gcm-128-16'], encap }, 4);
    const mappings = here.b.kernel.openNow({ groups: [XfrmGroup.MAPPING] });
    const at = { family: 2, saddr: here.sa.body.saddr, daddr: here.sa.body.id.daddr, sport: 4500, dport: 4500 };
    const payload = (): Uint8Array => Uint8Array.from(here.a.plane.outbound(packetOf(1, 4)).packet.subarray(28));
    expect(here.b.plane.inboundUdp(payload(), at)).toMatchObject({ verdict: 'OPENED', spi: 0x100, seq: 1 });
    expect(received(mappings)).toEqual([]);
    expect(here.b.plane.inboundUdp(payload(), { ...at, sport: 1025 }).verdict).toBe('OPENED');
    expect(received(mappings)).toMatchObject([{ kind: 'MAPPING', body: { oldSport: 4500, newSport: 1025 } }]);
    expect(here.b.plane.inboundUdp(Uint8Array.of(0xff), at)).toMatchObject({ verdict: 'KEEPALIVE', spi: 0 });
    expect(here.b.plane.inboundUdp(new Uint8Array(30), at).verdict).toBe('IKE');
    expect(here.b.plane.inboundUdp(new Uint8Array(3), at).verdict).toBe('TRUNCATED');
    expect(here.b.plane.inboundUdp(new Uint8Array(65_530).fill(1), at).verdict).toBe('LENGTH');
    const six = connected({ family: 6 }, { ...algorithms['gcm-128-16'], encap }, 6);
    const wire = six.a.plane.outbound(packetOf(0, 6)).packet.subarray(48);
    const end = { ...at, family: 10, saddr: six.sa.body.saddr, daddr: six.sa.body.id.daddr };
    const { verdict, packet } = six.b.plane.inboundUdp(wire, end);
    expect(verdict).toBe('OPENED');
    expect(hex(packet.subarray(40))).toBe(hex(packetOf(0, 6).subarray(40)));
  });
});

describe('policies', () => {
  const gcm = algorithms['gcm-128-16'] ?? {};

  it('outbound: none, allow without SA, block, another mark', () => {
    const { a } = pair();
    expect(a.plane.outbound(packetOf(1, 4)).verdict).toBe('CLEAR');
    const sa = espSa({ mode: 1, reqid: 7 });
    a.addPolicy(PolicyDir.OUT, between('10.1.0.5', '10.2.0.7'), sa, { action: 1 });
    expect(a.plane.outbound(packetOf(1, 4)).verdict).toBe('BLOCKED');
    expect(a.plane.outbound(packetOf(1, 4, { daddr: '10.2.0.8' })).verdict).toBe('CLEAR');
    expect(a.plane.outbound(packetOf(1, 4).subarray(0, 30))).toMatchObject({
      verdict: 'MALFORMED',
      refusal: 'TRUNCATED',
    });
    expect(a.stat('XfrmOutPolBlock')).toBe(1);
  });

  it('ports and ICMP types select; later fragments have none', () => {
    const { a } = pair();
    const sa = espSa({ mode: 1, reqid: 7 });
    a.addSa(sa);
    const sel = { ...between('10.1.0.0/16', '10.2.0.0/16'), proto: 17, dport: 53, dportMask: 0xffff };
    a.addPolicy(PolicyDir.OUT, sel, sa);
    a.addPolicy(PolicyDir.OUT, { ...between('10.1.0.0/16', '10.2.0.0/16'), proto: 1, sport: 8, sportMask: 0xffff }, sa);
    const verdict = (shape: PacketShape): string => a.plane.outbound(packetOf(1, 4, shape)).verdict;
    expect(verdict({ dport: 53 })).toBe('SEALED');
    expect(verdict({ dport: 54 })).toBe('CLEAR');
    expect(verdict({ dport: 53, fragment: 0x2000 })).toBe('SEALED');
    expect(verdict({ dport: 53, fragment: 5 })).toBe('CLEAR');
    // An echo request: type 8, code 0.
    expect(verdict({ proto: 1, sport: 0x0800 })).toBe('SEALED');
    expect(verdict({ proto: 1, sport: 0x0000 })).toBe('CLEAR');
  });

  it('ports behind IPv6 extension headers', () => {
    const { a } = pair();
    const sa = espSa({ mode: 1, reqid: 7, family: 6 });
    a.addSa(sa);
    a.addPolicy(PolicyDir.OUT, { ...between('fd01::/16', 'fd02::/16'), proto: 17, dport: 53, dportMask: 0xffff }, sa);
    const verdict = (first: number, bytes: number[]): string =>
      a.plane.outbound(packetOf(1, 6, { dport: 53, extension: { first, bytes: Uint8Array.from(bytes) } })).verdict;
    expect(verdict(0, [17, 0, 1, 4, 0, 0, 0, 0])).toBe('SEALED');
    expect(verdict(44, [17, 0, 0, 1, 0, 0, 0, 1])).toBe('SEALED');
    expect(verdict(44, [17, 0, 0, 9, 0, 0, 0, 1])).toBe('CLEAR');
    expect(verdict(51, [17, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0])).toBe('SEALED');
    expect(verdict(60, [44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 1])).toBe('SEALED');
  });

  it('inbound: a tunnel needs a policy, an SA keeps to its selector', () => {
    const here = pair();
    const sa = espSa({ mode: 1, reqid: 7 }, gcm);
    here.a.addSa(sa);
    here.b.addSa({ ...sa, body: { ...sa.body, sel: between('10.1.0.0/16', '10.2.0.0/16') } });
    here.a.addPolicy(PolicyDir.OUT, between('0.0.0.0/0', '10.0.0.0/8'), sa);
    expect(through(here, packetOf(1, 4)).inbound.verdict).toBe('POLICY');
    expect(here.b.kernel.stats()).toEqual({ XfrmInNoPols: 1 });
    here.b.addPolicy(PolicyDir.IN, between('0.0.0.0/0', '10.0.0.0/8'), sa);
    expect(through(here, packetOf(1, 4)).inbound.verdict).toBe('OPENED');
    expect(through(here, packetOf(1, 4, { daddr: '10.3.0.1' })).inbound.verdict).toBe('POLICY');
    expect(here.b.stat('XfrmInStateMismatch')).toBe(1);
    // Counted all the same, as the kernel counts before it looks (xfrm_input.c).
    expect(here.b.sa(sa).body.curlft.packets).toBe(3n);
  });

  it('forwarding: the policies of FWD instead of IN', () => {
    const here = pair();
    const sa = espSa({ mode: 1, reqid: 7 }, gcm);
    connect(here, sa, between('10.1.0.5', '10.2.0.7'));
    using gateway = new EspDataPlane(here.b.kernel, { policyDir: PolicyDir.FWD });
    const next = (): Uint8Array => Uint8Array.from(here.a.plane.outbound(packetOf(1, 4)).packet);
    expect(gateway.inbound(next()).verdict).toBe('POLICY');
    here.b.addPolicy(PolicyDir.FWD, between('10.1.0.5', '10.2.0.7'), sa);
    expect(gateway.inbound(next()).verdict).toBe('OPENED');
  });

  it('several SAs around one packet are refused, not half done', () => {
    const { a } = pair();
    const tunnel = espSa({ mode: 1, reqid: 7, spi: 0x100 });
    const transport = espSa({ mode: 0, reqid: 8, spi: 0x101 });
    a.addSa(tunnel);
    a.addSa(transport);
    a.addPolicy(PolicyDir.OUT, between(ends[4].saddr, ends[4].daddr), tunnel);
    const policy = a.kernel.engine.spd.newest;
    expect(policy).toBeDefined();
    const body = (
      a.ask({
        kind: 'GETPOLICY',
        body: { sel: between(ends[4].saddr, ends[4].daddr), index: 0, dir: 1 },
        attributes: {},
      }) as XfrmMessage<'NEWPOLICY'>[]
    )[0];
    const [tmpl] = body?.attributes.tmpl ?? [];
    if (body === undefined || tmpl === undefined) throw new Error('no policy');
    a.ask({
      kind: 'UPDPOLICY',
      body: { ...body.body, index: 0 },
      attributes: { tmpl: [tmpl, { ...tmpl, reqid: 8, mode: 0 }] },
    });
    expect(a.plane.outbound(packetOf(0, 4))).toMatchObject({ verdict: 'BUNDLE', packet: new Uint8Array(0) });
  });
});

describe('SAs that change', () => {
  const gcm = algorithms['gcm-128-16'] ?? {};
  const idOf = (sa: EspSa) => ({ daddr: sa.body.id.daddr, spi: sa.body.id.spi, family: sa.body.family, proto: 50 });

  it('a deleted SA is gone, and one with another key in its place is another SA', () => {
    const here = connected({ mode: 1 }, gcm, 4);
    const { wire } = through(here, packetOf(1, 4));
    for (const { ask } of [here.a, here.b].map((m) => ({ ask: m.ask.bind(m) }))) {
      ask({ kind: 'DELSA', body: idOf(here.sa), attributes: {} });
    }
    expect(here.a.plane.outbound(packetOf(1, 4)).verdict).toBe('NO_SA');
    expect(here.b.plane.inbound(wire).verdict).toBe('NO_SA');
    const rekeyed = { ...here.sa, attributes: { algAead: aead('rfc4106(gcm(aes))', key(20, 77)) } };
    here.a.addSa(rekeyed);
    here.b.addSa(rekeyed);
    expect(here.b.plane.inbound(wire).verdict).toBe('INTEGRITY');
    expect(through(here, packetOf(1, 4)).inbound.verdict).toBe('OPENED');
  });

  it('a flush, and a hard expiry by time, drop what was made of the keys', () => {
    const here = connected({ mode: 1 }, gcm, 4);
    through(here, packetOf(1, 4));
    here.a.ask({ kind: 'FLUSHSA', body: { proto: 0 }, attributes: {} });
    expect(here.a.plane.outbound(packetOf(1, 4)).verdict).toBe('NO_SA');
    const timed = espSa({ mode: 1, reqid: 7, spi: 0x300 }, { algAead: aead('rfc4106(gcm(aes))', key(20, 55)) });
    timed.body.lft.hardAddExpiresSeconds = 5n;
    here.a.addSa(timed);
    here.b.addSa(timed);
    expect(through(here, packetOf(1, 4)).inbound.verdict).toBe('OPENED');
    here.clock.advance(7000);
    expect(here.a.plane.outbound(packetOf(1, 4)).verdict).toBe('NO_SA');
  });

  it('new ports by UPDSA are used at once', () => {
    const here = connected({ mode: 1 }, { ...gcm, encap }, 4);
    expect(Buffer.from(here.a.plane.outbound(packetOf(1, 4)).packet).readUInt16BE(22)).toBe(4500);
    here.a.ask({ kind: 'UPDSA', ...here.sa, attributes: { ...here.sa.attributes, encap: { ...encap, dport: 1025 } } });
    const outer = Buffer.from(here.a.plane.outbound(packetOf(1, 4)).packet);
    expect([outer.readUInt16BE(22), outer.readUInt32BE(32)]).toEqual([1025, 2]);
  });

  it('an SA that is not done here is refused with its error, and the packet is not counted', () => {
    const here = pair();
    const sa = espSa({ mode: 1, reqid: 7 }, { algAead: aead('rfc4309(ccm(aes))', key(19, 1)) });
    connect(here, sa, between('10.1.0.5', '10.2.0.7'));
    const { verdict, error } = here.a.plane.outbound(packetOf(1, 4));
    expect([verdict, error?.code]).toEqual(['UNSUPPORTED', 'ERR_ESP_ALGORITHM']);
    const outer = ipPacket({ proto: 50, bytes: 60 });
    outer.set([0, 0, 1, 0, 0, 0, 0, 9], 20);
    expect(here.b.plane.inbound(outer)).toMatchObject({
      verdict: 'UNSUPPORTED',
      seq: 9,
      error: { code: 'ERR_ESP_ALGORITHM' },
    });
    expect(here.b.sa(sa).body.curlft.packets).toBe(0n);
    const wrapping = espSa({ mode: 1, reqid: 9, spi: 0x101 }, { ...gcm, saExtraFlags: SaExtraFlag.OSEQ_MAY_WRAP });
    here.a.addSa(wrapping);
    here.a.addPolicy(PolicyDir.OUT, between('10.1.0.6', '10.2.0.7'), wrapping);
    expect(here.a.plane.outbound(packetOf(1, 4, { saddr: '10.1.0.6' })).error?.code).toBe('ERR_ESP_SEQUENCE');
  });

  it('a plane that was disposed of has no keys', () => {
    const here = connected({ mode: 1 }, gcm, 4);
    through(here, packetOf(1, 4));
    here.a.plane[Symbol.dispose]();
    expect(here.a.kernel.engine.sad.watchers.size).toBe(0);
    expect(here.a.plane.outbound(packetOf(1, 4))).toMatchObject({
      verdict: 'UNSUPPORTED',
      error: { code: 'ERR_ESP_CLOSED' },
    });
  });

  it('marks lead to their SAs', () => {
    const here = pair();
    const [one, two] = [5, 6].map((value) =>
      espSa(
        { mode: 1, reqid: value, spi: 0x100 },
        { algAead: aead('rfc4106(gcm(aes))', key(20, value)), mark: { value, mask: 0xff } },
      ),
    ) as [EspSa, EspSa];
    for (const sa of [one, two]) here.b.addSa(sa);
    here.a.addSa({ ...two, attributes: { algAead: two.attributes.algAead as never } });
    here.a.addPolicy(PolicyDir.OUT, between('10.1.0.5', '10.2.0.7'), two);
    here.b.addPolicy(PolicyDir.IN, between('10.1.0.5', '10.2.0.7'), two);
    const wire = Uint8Array.from(here.a.plane.outbound(packetOf(1, 4)).packet);
    expect(here.b.plane.inbound(wire).verdict).toBe('NO_SA');
    expect(here.b.plane.inbound(wire, 5).verdict).toBe('INTEGRITY');
    expect(here.b.plane.inbound(wire, 6).verdict).toBe('OPENED');
  });

  it('refusals in front of the SA', () => {
    const here = connected({ mode: 1 }, gcm, 4);
    const unknown = espSa({ mode: 1, reqid: 7, spi: 0x999 }, gcm);
    here.a.addSa(unknown);
    here.a.ask({ kind: 'DELSA', body: idOf(here.sa), attributes: {} });
    expect(through(here, packetOf(1, 4)).inbound).toMatchObject({ verdict: 'NO_SA', spi: 0x999 });
    expect(here.b.plane.inbound(ipPacket()).verdict).toBe('NOT_ESP');
    expect(here.b.plane.inbound(new Uint8Array(3)).verdict).toBe('TRUNCATED');
    const encapsulated = connected({ mode: 1 }, { ...gcm, encap }, 4);
    const wire = encapsulated.a.plane.outbound(packetOf(1, 4)).packet;
    expect(here.b.plane.inbound(wire).verdict).toBe('STATE');
    expect(here.b.stat('XfrmInStateMismatch')).toBe(1);
  });
});
