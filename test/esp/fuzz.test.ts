import { expect, it } from 'vitest';
import { EspError, espTransform, newEspFacts, newOpened, parseEsp } from '../../src/esp/index.ts';
import { type Random, randomOf } from '../fuzz/random.ts';
import { hex } from '../xfrm/hex.ts';
import { between, connect, pair, through } from './planes.ts';
import { address, algorithms, ends, espSa, ipPacket } from './sas.ts';

/** Spoiled packets: nothing comes out of them but refusals, and nothing is thrown but EspError. */

const SEED = 20261121;
const INPUTS = 20_000;

const encap = { type: 2, sport: 4500, dport: 4500, oa: { w0: 0, w1: 0, w2: 0, w3: 0 } };
const esnState = { bmpLen: 1, oseq: 0, seq: 0, oseqHi: 0, seqHi: 0, replayWindow: 32, bmp: [0] };
const aevent = {
  saId: { daddr: address(ends[4].daddr), spi: 0x100, family: 2, proto: 50 },
  saddr: address(ends[4].saddr),
  flags: 0,
  reqid: 7,
};

const sas = Object.values(algorithms).flatMap((attributes) =>
  [0, 1].flatMap((mode) =>
    ([4, 6] as const).map((family) =>
      espSa({ mode, family, esn: mode === 1 }, family === 4 ? attributes : { ...attributes, encap }),
    ),
  ),
);

function mutate(packet: Uint8Array, random: Random): Uint8Array {
  const kind = random.below(4);
  if (kind === 0) return packet.subarray(0, random.below(packet.length));
  if (kind === 1) return Uint8Array.from({ length: random.below(120) }, () => random.u32() & 255);
  const altered = Uint8Array.from(packet);
  // Mostly the headers: that is where parsers branch.
  const end = kind === 2 ? Math.min(80, packet.length) : packet.length;
  for (let n = 1 + random.below(4); n > 0; n--) altered[random.below(end)] = random.u32() & 255;
  return altered;
}

it('mutated and random packets are refused, never thrown at', () => {
  const transforms = sas.map((sa) => espTransform(sa));
  const wires = transforms.map((transform, i) => {
    const into = new Uint8Array(400);
    const packet = ipPacket({ family: transform.family === 2 ? 4 : 6, bytes: i });
    return { packet, wire: into.slice(0, transform.seal(packet, 5, 3, into)) };
  });
  const facts = newEspFacts();
  const opened = newOpened();
  const into = new Uint8Array(400);
  const outcomes = new Map<string, number>();
  for (let i = 0; i < INPUTS; i++) {
    const random = randomOf(SEED, i);
    const at = random.below(transforms.length);
    const transform = transforms[at] as (typeof transforms)[number];
    const { wire } = wires[at] as (typeof wires)[number];
    const spoiled = mutate(wire, random);
    const refusal = parseEsp(spoiled, 0, spoiled.length, facts);
    let outcome: string = refusal ?? '';
    if (refusal === undefined) {
      expect(facts.espEnd).toBeLessThanOrEqual(spoiled.length);
      into.fill(0xaa);
      outcome = transform.open(spoiled, 0, facts, 3, into, opened).verdict;
      if (outcome === 'OK') {
        // Headers in front of ESP are not signed: what is behind them is as it was.
        expect(hex(spoiled.subarray(facts.espAt, facts.espEnd))).toBe(hex(wire.subarray(facts.espAt)));
      } else expect(into.every((byte) => byte === 0xaa)).toBe(true);
    }
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  for (const outcome of ['OK', 'INTEGRITY', 'TRUNCATED', 'VERSION', 'LENGTH', 'NOT_ESP', 'CHECKSUM', 'FRAGMENT']) {
    expect(outcomes.get(outcome), outcome).toBeGreaterThan(0);
  }
});

it('spoiled packets to protect are protected or refused', () => {
  const transforms = sas.map((sa) => espTransform(sa));
  const into = new Uint8Array(2048);
  let refused = 0;
  for (let i = 0; i < INPUTS; i++) {
    const random = randomOf(SEED + 1, i);
    const transform = random.pick(transforms);
    const family = random.pick([4, 6] as const);
    const extension = { first: random.pick([0, 43, 44, 60, 51]), bytes: new Uint8Array(8 * random.below(4)) };
    const packet = mutate(ipPacket({ family, bytes: random.below(200), extension }), random);
    try {
      const length = transform.seal(packet, i + 1, 0, into);
      const facts = newEspFacts();
      expect(parseEsp(into, 0, length, facts)).toBeUndefined();
      const back = new Uint8Array(2048);
      const { verdict, length: inner } = transform.open(into, 0, facts, 0, back, newOpened());
      expect(verdict).toBe('OK');
      expect(inner).toBeLessThanOrEqual(packet.length);
      if (transform.mode === 1) expect(hex(back.subarray(0, inner))).toBe(hex(packet.subarray(0, inner)));
    } catch (error) {
      if (!(error instanceof EspError)) throw error;
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(INPUTS / 4);
  expect(refused).toBeLessThan(INPUTS);
});

it('a data plane counts what it refuses, and lets nothing spoiled in', () => {
  const here = pair();
  const sa = espSa({ mode: 1, reqid: 7, esn: true }, { ...algorithms['cbc-128-sha256'], replayEsnVal: esnState });
  connect(here, sa, between('10.1.0.0/16', '10.2.0.0/16'));
  const packet = ipPacket({ saddr: '10.1.0.1', daddr: '10.2.0.1', bytes: 60 });
  const { wire } = through(here, packet);
  const next = Uint8Array.from(here.a.plane.outbound(packet).packet);
  const verdicts = new Set<string>();
  for (let i = 0; i < INPUTS; i++) {
    const random = randomOf(SEED + 2, i);
    const spoiled = mutate(random.pick([wire, next]), random);
    const { verdict } = here.b.plane.inbound(spoiled, random.below(3));
    verdicts.add(verdict);
    // Headers are not signed: what is opened is the packet itself under another one.
    if (verdict === 'OPENED') {
      expect(hex(spoiled.subarray(20, next.length))).toBe(hex(next.subarray(20)));
      here.b.ask({ kind: 'NEWAE', body: aevent, attributes: { replayEsnVal: { ...esnState, seq: 1, bmp: [1] } } });
    }
    const outbound = here.a.plane.outbound(mutate(packet, random)).verdict;
    expect(['SEALED', 'CLEAR', 'MALFORMED']).toContain(outbound);
    verdicts.add(outbound);
  }
  expect([...verdicts]).toEqual(
    expect.arrayContaining(['OPENED', 'REPLAY', 'INTEGRITY', 'NO_SA', 'CHECKSUM', 'SEALED', 'CLEAR', 'MALFORMED']),
  );
  expect(here.b.stat('XfrmInStateProtoError')).toBeGreaterThan(0);
});
