import type { Step } from '../../src/conformance/scenario.ts';
import { NlmF } from '../../src/netlink/index.ts';
import { AddressFamily, IpProto, SaFlag, XfrmMode, XfrmMsg } from '../../src/xfrm/index.ts';
import { encapTmpl, selector, userpolicyInfo, usersaInfo, userTmpl } from '../../src/xfrm/structs.ts';
import type { Random } from '../fuzz/random.ts';
import { type Attribute, concat, hexOf, packed, request, words } from './bytes.ts';
import {
  aeventStep,
  type Draft,
  eventsOf,
  LISTENER,
  quietTimers,
  requestStep,
  send,
  sideStep,
  textOf,
} from './draft.ts';
import { saBody } from './messages.ts';
import { inboundPacket } from './packets.ts';
import {
  A,
  AH_ALGORITHM,
  addressOf,
  chance,
  HOSTS,
  INFINITE,
  lifetime,
  MARKS,
  markAttribute,
  NULL_ENCRYPTION,
  type SaName,
  sequence,
  weighted,
  ZERO,
} from './pool.ts';

/** Sequences with packets: one SA in each direction between the hosts of a pair, in one of the replay modes. */

const IN_SPI = 0x200;
const OUT_SPI = 0x300;
const REQID = 7;
const DISCARD_PORT = 9;
const ENCAP_PORT = 4500;
const MARK_OF_PACKETS = 1;

type ReplayMode = 'legacy' | 'bitmap' | 'esn';

interface Traffic {
  readonly family: 2 | 10;
  readonly inbound: SaName;
  readonly outbound: SaName;
  readonly mode: number;
  readonly replay: ReplayMode;
  readonly encap: boolean;
  /** The highest number that was sent towards us; with ESN of 64 bits. */
  top: number;
}

const U32 = 0x1_0000_0000;

function newTraffic(random: Random): Traffic {
  const family = chance(random, 70) ? AddressFamily.INET : AddressFamily.INET6;
  const local = addressOf(HOSTS[family].local);
  const remote = addressOf(HOSTS[family].remote);
  const proto = chance(random, 85) ? IpProto.ESP : IpProto.AH;
  const common = { family, proto };
  const outMark = chance(random, 15) ? random.pick(MARKS) : undefined;
  return {
    family,
    inbound: { ...common, daddr: local, saddr: remote, spi: IN_SPI, mark: chance(random, 10) ? [0, 0xff] : undefined },
    outbound: { ...common, daddr: remote, saddr: local, spi: OUT_SPI, mark: outMark },
    mode: chance(random, 65) ? XfrmMode.TRANSPORT : XfrmMode.TUNNEL,
    replay: random.pick(['legacy', 'bitmap', 'esn'] as const),
    encap: family === 2 && proto === IpProto.ESP && chance(random, 15),
    top: 0,
  };
}

/** The replay state of a new SA, some way on already, perhaps. */
function replayState(random: Random, traffic: Traffic, inbound: boolean): Attribute[] {
  const seq = chance(random, 50) ? 0 : sequence(random);
  const oseq = inbound || chance(random, 60) ? 0 : sequence(random);
  const high = traffic.replay === 'esn' && chance(random, 40) ? random.below(3) : 0;
  if (inbound) traffic.top = traffic.replay === 'esn' ? high * U32 + seq : seq;
  if (traffic.replay === 'legacy') {
    return seq === 0 && oseq === 0 ? [] : [[A.REPLAY_VAL, words(oseq, seq, chance(random, 50) ? 0 : random.u32())]];
  }
  const bmpLen = random.pick([1, 1, 2, 2, 3, 7, 8]);
  const window = chance(random, 60) ? 32 * bmpLen : 1 + random.below(32 * bmpLen);
  const bitmap = words(...Array.from({ length: bmpLen }, () => (chance(random, 70) ? 0 : random.u32())));
  return [
    [A.REPLAY_ESN_VAL, concat([words(bmpLen, oseq, seq, inbound ? 0 : high, inbound ? high : 0, window), bitmap])],
  ];
}

export interface Limits {
  readonly lft: ReturnType<typeof lifetime>;
  readonly thresholds: readonly Attribute[];
}

const nearLimits = (random: Random): Limits => ({
  lft: chance(random, 70) ? INFINITE : lifetime(random),
  thresholds: [
    ...(chance(random, 60) ? [[A.REPLAY_THRESH, words(random.pick([0, 1, 1, 2, 3, 5]))] as Attribute] : []),
    ...(chance(random, 30) ? [[A.ETIMER_THRESH, words(random.pick([0, 1_000_000]))] as Attribute] : []),
  ],
});

export function newSa(draft: Draft, traffic: Traffic, name: SaName, inbound: boolean, limits: Limits): Uint8Array {
  const { random } = draft;
  const isEsn = traffic.replay === 'esn';
  const body = {
    ...saBody(random, name),
    sel: selector.zero(),
    mode: traffic.mode,
    reqid: REQID,
    seq: 0,
    lft: limits.lft,
    replayWindow: traffic.replay === 'legacy' ? random.pick([32, 32, 8, 1, 0]) : 0,
    flags: isEsn ? SaFlag.ESN : 0,
  };
  const encap: Attribute[] = traffic.encap
    ? [[A.ENCAP, packed(encapTmpl, { type: 2, sport: ENCAP_PORT, dport: ENCAP_PORT, oa: ZERO })]]
    : [];
  return request(
    { type: XfrmMsg.NEWSA, flags: NlmF.REQUEST | NlmF.ACK, seq: draft.seq(), pid: 0 },
    packed(usersaInfo, body),
    [
      ...(name.proto === IpProto.AH ? AH_ALGORITHM : NULL_ENCRYPTION),
      ...encap,
      ...(name.mark === undefined ? [] : [markAttribute(name.mark)]),
      ...replayState(random, traffic, inbound),
      ...limits.thresholds,
      ...(chance(random, 10) ? [[A.SA_EXTRA_FLAGS, words(2)] as Attribute] : []),
      ...(chance(random, 5) ? [[A.IF_ID, words(3)] as Attribute] : []),
    ],
  );
}

/** Leads UDP between the hosts into the SAs. */
export function newPolicy(draft: Draft, traffic: Traffic, outbound: boolean): Uint8Array {
  const name = outbound ? traffic.outbound : traffic.inbound;
  const width = traffic.family === 2 ? 32 : 128;
  const sel = {
    ...selector.zero(),
    daddr: name.daddr,
    saddr: name.saddr,
    prefixlenD: width,
    prefixlenS: width,
    family: traffic.family,
    proto: IpProto.UDP,
  };
  const tmpl = packed(userTmpl, {
    id: { daddr: name.daddr, spi: 0, proto: name.proto },
    family: traffic.family,
    saddr: name.saddr,
    reqid: REQID,
    mode: traffic.mode,
    aalgos: 0xffff_ffff,
    ealgos: 0xffff_ffff,
    calgos: 0xffff_ffff,
  });
  return request(
    { type: XfrmMsg.NEWPOLICY, flags: NlmF.REQUEST | NlmF.ACK, seq: draft.seq(), pid: 0 },
    packed(userpolicyInfo, {
      ...userpolicyInfo.zero(),
      sel,
      lft: INFINITE,
      priority: 10,
      index: 0x4000_0100 + (outbound ? 1 : 0),
      dir: outbound ? 1 : 0,
    }),
    [[A.TMPL, tmpl]],
  );
}

type SaOfStep = Extract<Step, { op: 'packet' }>['sa'];

const saOf = (name: SaName): SaOfStep => ({
  daddr: textOf(name).daddr,
  spi: name.spi,
  proto: name.proto,
  family: name.family,
  ...(name.mark !== undefined && { mark: [name.mark[0], name.mark[1]] as [number, number] }),
});

export function packetOut({ random, steps }: Draft, { outbound }: Traffic): void {
  const { daddr, saddr } = textOf(outbound);
  steps.push({
    op: 'packet',
    dir: 'out',
    t: 0,
    sa: saOf(outbound),
    ns: 'a',
    src: saddr,
    dst: daddr,
    dport: DISCARD_PORT,
    ...(outbound.mark !== undefined && chance(random, 90) && { mark: MARK_OF_PACKETS }),
    payload: random.pick([0, 1, 56, 100]),
    count: 1 + random.below(3),
  });
}

/** The next number, or one that a replay window has an opinion about. */
function numberAfter(random: Random, top: number): number {
  return weighted(random, [
    [10, top + 1],
    [3, top + 2 + random.below(40)],
    [3, top - random.below(70)],
    [2, top],
    [1, top + random.below(U32)],
    [1, top - random.below(U32)],
    [1, 0],
  ]);
}

export function packetsIn({ random, steps }: Draft, traffic: Traffic): void {
  const { inbound, family } = traffic;
  const isEsn = traffic.replay === 'esn';
  const packets = Array.from({ length: 1 + random.below(4) }, () => {
    const number = Math.max(0, numberAfter(random, traffic.top));
    if (isEsn ? number > traffic.top : number > traffic.top && number < U32) traffic.top = number;
    const seq = number % U32;
    const seqHi = isEsn ? Math.floor(number / U32) % U32 : undefined;
    const badIcv = chance(random, 6);
    const packet = inboundPacket({
      family,
      saddr: inbound.saddr,
      daddr: inbound.daddr,
      proto: inbound.proto,
      spi: chance(random, 97) ? inbound.spi : inbound.spi + 1,
      seq,
      seqHi,
      badIcv,
      tunnel: traffic.mode === XfrmMode.TUNNEL,
      encapSport: traffic.encap ? random.pick([4500, 4500, 4500, 4501]) : undefined,
      payloadBytes: random.pick([8, 8, 20, 61]),
    });
    return { hex: hexOf(packet), seq, ...(isEsn && { seq_hi: seqHi as number }), ...(badIcv && { bad_icv: true }) };
  });
  steps.push({ op: 'packet', dir: 'in', t: 0, ns: 'a', sa: saOf(inbound), packets });
}

function start(draft: Draft, limits: (random: Random, inbound: boolean) => Limits): Traffic {
  const { random, steps } = draft;
  const traffic = newTraffic(random);
  draft.names.splice(0, draft.names.length, traffic.inbound, traffic.outbound, draft.names[0] as SaName);
  if (traffic.encap) steps.push({ op: 'udp_encap', t: 0, ns: 'a', port: ENCAP_PORT });
  send(draft, newSa(draft, traffic, traffic.inbound, true, limits(random, true)));
  send(draft, newSa(draft, traffic, traffic.outbound, false, limits(random, false)));
  send(draft, newPolicy(draft, traffic, true));
  if (chance(random, 40)) send(draft, newPolicy(draft, traffic, false));
  return traffic;
}

export function trafficSteps(draft: Draft): void {
  const { random, steps } = draft;
  quietTimers(draft);
  const traffic = start(draft, nearLimits);
  const end = steps.length + 15 + random.below(25);
  while (steps.length < end) {
    const step = weighted(random, [
      [5, () => packetsIn(draft, traffic)],
      [4, () => packetOut(draft, traffic)],
      [4, () => aeventStep(draft, random.pick([traffic.inbound, traffic.outbound]))],
      [3, () => eventsOf(draft, LISTENER)],
      [2, () => requestStep(draft, IN_SPI)],
      [1, () => sideStep(draft)],
    ]);
    step();
  }
}

/** Time that is longer than any of the timers. */
const IDLE_MS = 1000;
/** In ticks, for the aevent timer. Of two that run out in one tick the later comes first: whether they do is a matter of luck. */
const MAX_AGES = { inbound: [10, 30], outbound: [20, 40] } as const;

const timed = (random: Random, inbound: boolean): Limits => ({
  lft: chance(random, 60)
    ? INFINITE
    : { ...INFINITE, softAddExpiresSeconds: random.pick([0n, 1n]), hardAddExpiresSeconds: random.pick([0n, 3n]) },
  thresholds: [
    [A.REPLAY_THRESH, words(random.below(4))],
    [A.ETIMER_THRESH, words(random.pick(inbound ? MAX_AGES.inbound : MAX_AGES.outbound))],
  ],
});

/** Packets, then nothing for a while: what the timers say, and what the first packet after it says. */
export function timerSteps(draft: Draft): void {
  const { random, steps } = draft;
  const traffic = start(draft, timed);
  for (let n = 3 + random.below(3); n > 0; n--) {
    if (chance(random, 70)) packetsIn(draft, traffic);
    if (chance(random, 50)) packetOut(draft, traffic);
    if (chance(random, 40)) aeventStep(draft, random.pick([traffic.inbound, traffic.outbound]));
    eventsOf(draft, LISTENER);
    steps.push({ op: 'sleep', t: 0, ms: IDLE_MS });
    eventsOf(draft, LISTENER);
  }
}
