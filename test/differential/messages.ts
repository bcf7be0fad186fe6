import { NlmF } from '../../src/netlink/index.ts';
import { IpProto, XfrmMsg } from '../../src/xfrm/index.ts';
import {
  addressFilter,
  aeventId,
  type Selector,
  selector,
  userAcquire,
  userExpire,
  userKmaddress,
  userMigrate,
  userPolexpire,
  userpolicyId,
  userpolicyInfo,
  userpolicyType,
  usersaId,
  usersaInfo,
  userspiInfo,
  userTmpl,
} from '../../src/xfrm/structs.ts';
import type { Random } from '../fuzz/random.ts';
import { type Attribute, concat, packed, request, words } from './bytes.ts';
import {
  A,
  ACQUIRE_SEQS,
  addressOf,
  algorithms,
  chance,
  encapAttribute,
  HOSTS,
  INFINITE,
  indexOf,
  lifetime,
  lifetimeVal,
  markAttribute,
  REQIDS,
  replayEsn,
  replayVal,
  type SaName,
  saFlags,
  saMode,
  saName,
  weighted,
  ZERO,
} from './pool.ts';

/** Sound requests of every type. What they ask for may still be refused: the kernel knows, not this file. */

/** What all requests of a sequence have in common. */
export interface Asker {
  readonly random: Random;
  /** The few SAs and selectors that the requests of the sequence are about. */
  readonly names: readonly SaName[];
  readonly selectors: readonly Selector[];
  /** The next `nlmsg_seq`. */
  seq(): number;
}

type Make = (asker: Asker) => Uint8Array;

/** One of the sequence's, sometimes with something else about it, rarely any. */
function nameOf({ random, names }: Asker): SaName {
  const name = random.pick(names);
  const other = saName(random);
  switch (random.below(20)) {
    case 0:
      return other;
    case 1:
      return { ...name, mark: other.mark };
    case 2:
      return { ...name, spi: other.spi };
    case 3:
      return { ...name, proto: other.proto };
    default:
      return name;
  }
}

const selectorFor = (asker: Asker, family: number): Selector =>
  chance(asker.random, 80) ? asker.random.pick(asker.selectors) : selectorOf(asker.random, family);

/** nlmsg_pid is only echoed: any number will do. */
const PIDS = [0, 0, 0, 777];

function header({ random, seq }: Asker, type: number, more = 0) {
  const ack = chance(random, 85) ? NlmF.ACK : 0;
  return { type, flags: NlmF.REQUEST | ack | more, seq: seq(), pid: random.pick(PIDS) };
}

const u32 = (type: number, value: number): Attribute => [type, words(value)];
const maybe = (random: Random, percent: number, make: () => Attribute): Attribute[] =>
  chance(random, percent) ? [make()] : [];
const some = (random: Random, most: number): number => random.below(most + 1);

/** An address in an SA's selector, with a prefix that is sound for the family most of the time. */
export function selectorOf(random: Random, family: number): Selector {
  const zero = selector.zero();
  if (chance(random, 50))
    return {
      ...zero,
      family: weighted(random, [
        [8, family],
        [3, 0],
        [1, 12 - family],
        [1, 5],
      ]),
    };
  const { local, remote } = HOSTS[family === 10 ? 10 : 2];
  const width = family === 10 ? 128 : 32;
  return {
    ...zero,
    daddr: addressOf(chance(random, 50) ? local : remote),
    saddr: addressOf(chance(random, 50) ? local : remote),
    dport: random.pick([0, 9]),
    dportMask: random.pick([0, 0xffff]),
    family,
    prefixlenD: random.pick([width, width, 0, 24, width + 1 - random.below(3)]),
    prefixlenS: random.pick([width, 0, 24]),
    proto: random.pick([0, IpProto.UDP, IpProto.TCP]),
    ifindex: random.pick([0, 0, 0, 2]),
    user: random.pick([0, 0, 1000]),
  };
}

export function saBody(random: Random, name: SaName, own: { window?: number; flags?: number } = {}) {
  return {
    ...usersaInfo.zero(),
    sel: selectorOf(random, name.family),
    id: { daddr: name.daddr, spi: name.spi, proto: name.proto },
    saddr: name.saddr,
    lft: lifetime(random),
    seq: random.pick(ACQUIRE_SEQS),
    reqid: random.pick(REQIDS),
    family: name.family,
    mode: saMode(random),
    replayWindow: own.window ?? random.pick([0, 32, 32, 4, 64, 255]),
    flags: own.flags ?? saFlags(random),
  };
}

const markOf = ({ mark }: SaName): Attribute[] => (mark === undefined ? [] : [markAttribute(mark)]);

const newOrUpdate =
  (type: number): Make =>
  (asker) => {
    const { random } = asker;
    const name = nameOf(asker);
    const esn = chance(random, 25) ? replayEsn(random) : undefined;
    const flags = esn !== undefined && chance(random, 60) ? 128 : saFlags(random);
    const window = esn !== undefined && chance(random, 90) ? 0 : random.pick([0, 32, 32, 4, 64, 255]);
    const attributes: Attribute[] = [
      ...algorithms(random, name.proto),
      ...(esn === undefined ? [] : [esn]),
      ...markOf(name),
      ...maybe(random, 15, () => replayVal(random)),
      ...maybe(random, 15, () => lifetimeVal(random)),
      // Most SAs have no timer, so that time has no part in what happens.
      ...maybe(random, 20, () => u32(A.ETIMER_THRESH, random.pick([0, 1_000_000, 0xffff_ffff]))),
      ...maybe(random, 30, () => u32(A.REPLAY_THRESH, random.pick([0, 1, 2, 3, 0xffff_ffff]))),
      ...maybe(random, 10, () => encapAttribute(random)),
      ...maybe(random, 10, () => u32(A.IF_ID, random.pick([0, 3, 7]))),
      ...maybe(random, 8, () => u32(A.SET_MARK, random.pick([0, 5]))),
      ...maybe(random, 8, () => u32(A.SET_MARK_MASK, random.pick([0, 0xff]))),
      ...maybe(random, 8, () => u32(A.SA_EXTRA_FLAGS, random.below(5))),
      ...maybe(random, 5, () => u32(A.TFCPAD, random.pick([0, 64, 1000]))),
      ...maybe(random, 5, () => u32(A.MTIMER_THRESH, random.pick([0, 10]))),
      ...maybe(random, 4, () => [A.COADDR, words(random.u32(), 0, 0, 0)]),
      ...maybe(random, 4, () => [A.SRCADDR, words(random.u32(), 0, 0, 0)]),
      ...maybe(random, 8, () => [A.SA_DIR, Uint8Array.of(random.pick([1, 2, 1, 2, 0, 3]))]),
      ...maybe(random, 3, () => u32(A.NAT_KEEPALIVE_INTERVAL, random.pick([0, 1000]))),
      ...maybe(random, 3, () => u32(A.SA_PCPU, random.pick([0, 1, 0xffff_ffff]))),
    ];
    return request(header(asker, type), packed(usersaInfo, saBody(random, name, { window, flags })), attributes);
  };

function idBody({ daddr, spi, family, proto }: SaName): Uint8Array {
  return packed(usersaId, { daddr, spi, family, proto });
}

const byId =
  (type: number): Make =>
  (asker) => {
    const { random } = asker;
    const name = nameOf(asker);
    const source = maybe(random, name.proto === IpProto.ESP ? 5 : 50, () => [A.SRCADDR, packedAddress(name.saddr)]);
    return request(header(asker, type), idBody(name), [...markOf(name), ...source]);
  };

function packedAddress({ w0, w1, w2, w3 }: SaName['daddr']): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  [w0, w1, w2, w3].forEach((word, i) => {
    view.setUint32(4 * i, word);
  });
  return bytes;
}

const dump =
  (type: number): Make =>
  (asker) => {
    const { random } = asker;
    const filter = (): Attribute => [
      A.ADDRESS_FILTER,
      packed(addressFilter, {
        saddr: random.pick([ZERO, addressOf(HOSTS[2].local)]),
        daddr: random.pick([ZERO, addressOf(HOSTS[2].remote), addressOf(HOSTS[10].remote)]),
        family: random.pick([0, 2, 10, 5]),
        splen: random.pick([0, 8, 32, 128, 129]),
        dplen: random.pick([0, 24, 31, 32, 128]),
      }),
    ];
    const attributes = [
      ...maybe(random, 30, () => [A.PROTO, Uint8Array.of(random.pick([0, 50, 51, 108, 255, 17]))]),
      ...maybe(random, 30, filter),
    ];
    const flags = random.pick([NlmF.DUMP, NlmF.DUMP, 0x100, 0x200]);
    return request(header(asker, type, flags), new Uint8Array(chance(random, 10) ? 24 : 0), attributes);
  };

export function aevent(random: Random, name: SaName, flags: number): Uint8Array {
  const { daddr, spi, family, proto, saddr } = name;
  return packed(aeventId, { saId: { daddr, spi, family, proto }, saddr, flags, reqid: random.pick(REQIDS) });
}

/** What NEWAE can set, at least one of them mostly. */
export function aeventAttributes(random: Random): Attribute[] {
  const chosen = [
    ...maybe(random, 45, () => replayVal(random)),
    ...maybe(random, 35, () => replayEsn(random)),
    ...maybe(random, 30, () => lifetimeVal(random)),
    ...maybe(random, 30, () => u32(A.REPLAY_THRESH, random.pick([0, 1, 2, 3, 100]))),
    ...maybe(random, 20, () => u32(A.ETIMER_THRESH, random.pick([0, 1_000_000, 0xffff_ffff]))),
    ...maybe(random, 5, () => u32(A.MTIMER_THRESH, random.pick([0, 10]))),
    ...maybe(random, 5, () => u32(A.IF_ID, 3)),
  ];
  return chosen;
}

const newAe: Make = (asker) => {
  const { random } = asker;
  const name = nameOf(asker);
  const replace = chance(random, 92) ? NlmF.ROOT : 0;
  const body = aevent(random, name, random.pick([0, 0, 0xff, random.u32()]));
  return request(header(asker, XfrmMsg.NEWAE, replace), body, [...markOf(name), ...aeventAttributes(random)]);
};

const getAe: Make = (asker) => {
  const { random } = asker;
  const name = nameOf(asker);
  return request(
    header(asker, XfrmMsg.GETAE),
    aevent(random, name, random.pick([0, 1, 8, 9, 15, random.u32()])),
    markOf(name),
  );
};

const expire: Make = (asker) => {
  const { random } = asker;
  const name = nameOf(asker);
  const state = saBody(random, name);
  return request(
    header(asker, XfrmMsg.EXPIRE),
    packed(userExpire, { state, hard: random.pick([0, 0, 1, 2]) }),
    markOf(name),
  );
};

const flushSa: Make = (asker) => {
  const { random } = asker;
  return request(header(asker, XfrmMsg.FLUSHSA), Uint8Array.of(random.pick([0, 255, 50, 51, 108, 17]), 0, 0, 0));
};

/** One SPI, or a range that no other request touches: what is picked out of it counts as random. */
const allocSpi: Make = (asker) => {
  const { random } = asker;
  const name = nameOf(asker);
  const info = { ...saBody(random, name), seq: random.pick([0, 0, ...ACQUIRE_SEQS]) };
  const spi = 0x100 + random.below(4);
  const [min, max] = weighted(random, [
    [8, [spi, spi]],
    [3, [0x1000, 0xffff]],
    [2, [0x7000_0000, 0x7fff_ffff]],
    [1, [5, 4]],
    [1, [0, 0]],
  ] as const);
  return request(header(asker, XfrmMsg.ALLOCSPI), packed(userspiInfo, { info, min, max }), [
    ...markOf(name),
    ...maybe(random, 10, () => u32(A.IF_ID, random.pick([0, 3]))),
    ...maybe(random, 10, () => [A.SA_DIR, Uint8Array.of(random.pick([1, 2, 0]))]),
    ...maybe(random, 3, () => u32(A.SA_PCPU, random.pick([0, 1, 77]))),
  ]);
};

export function template(random: Random, name: SaName, own: Partial<ReturnType<typeof userTmpl.zero>> = {}) {
  return {
    id: { daddr: random.pick([name.daddr, name.daddr, ZERO]), spi: random.pick([0, 0, name.spi]), proto: name.proto },
    family: random.pick([name.family, name.family, name.family, 0, 5]),
    saddr: random.pick([name.saddr, name.saddr, ZERO]),
    reqid: random.pick(REQIDS),
    mode: saMode(random),
    share: random.below(4),
    optional: random.pick([0, 0, 0, 1]),
    aalgos: 0xffff_ffff,
    ealgos: 0xffff_ffff,
    calgos: 0xffff_ffff,
    ...own,
  };
}

function policyBody(asker: Asker, family: number) {
  const { random } = asker;
  const dir = random.pick([0, 1, 2, 1, 0, 3]);
  return {
    ...userpolicyInfo.zero(),
    sel: selectorFor(asker, family),
    lft: chance(random, 80) ? INFINITE : lifetime(random),
    priority: random.pick([0, 10, 20]),
    index: chance(random, 50) ? 0 : indexOf(random, chance(random, 95) ? dir : random.below(8)),
    dir,
    action: random.pick([0, 0, 0, 1, random.below(4)]),
    flags: random.pick([0, 0, 1, 2, 255]),
    share: random.pick([0, 0, 0, 1, 3, 4]),
  };
}

const policyType = (random: Random): Attribute[] =>
  maybe(random, 15, () => [A.POLICY_TYPE, packed(userpolicyType, { type: random.pick([0, 0, 1, 2, 255]) })]);

function policyAttributes(random: Random, name: SaName): Attribute[] {
  const count = weighted(random, [
    [3, 0],
    [8, 1],
    [2, 2],
    [1, some(random, 7)],
  ]);
  const templates = Array.from({ length: count }, () => packed(userTmpl, template(random, name)));
  return [
    ...(templates.length > 0 ? [[A.TMPL, concat(templates)] as Attribute] : []),
    ...markOf(name),
    ...policyType(random),
    ...maybe(random, 10, () => u32(A.IF_ID, random.pick([0, 3]))),
  ];
}

const newPolicy =
  (type: number): Make =>
  (asker) => {
    const { random } = asker;
    const name = nameOf(asker);
    return request(
      header(asker, type),
      packed(userpolicyInfo, policyBody(asker, name.family)),
      policyAttributes(random, name),
    );
  };

const policyById =
  (type: number): Make =>
  (asker) => {
    const { random } = asker;
    const name = nameOf(asker);
    const { sel, dir } = policyBody(asker, name.family);
    const index = chance(random, 60) ? 0 : indexOf(random, dir);
    return request(header(asker, type), packed(userpolicyId, { sel, index, dir }), [
      ...markOf(name),
      ...policyType(random),
      ...maybe(random, 10, () => u32(A.IF_ID, random.pick([0, 3]))),
    ]);
  };

const expirePolicy: Make = (asker) => {
  const { random } = asker;
  const name = nameOf(asker);
  const pol = policyBody(asker, name.family);
  return request(header(asker, XfrmMsg.POLEXPIRE), packed(userPolexpire, { pol, hard: random.pick([0, 1]) }), [
    ...markOf(name),
    ...policyType(random),
  ]);
};

const flushPolicy: Make = (asker) =>
  request(header(asker, XfrmMsg.FLUSHPOLICY), new Uint8Array(0), policyType(asker.random));

const acquire: Make = (asker) => {
  const { random } = asker;
  const name = nameOf(asker);
  const body = packed(userAcquire, {
    id: { daddr: name.daddr, spi: name.spi, proto: name.proto },
    saddr: name.saddr,
    sel: selectorOf(random, name.family),
    policy: policyBody(asker, name.family),
    aalgos: random.u32(),
    ealgos: random.u32(),
    calgos: random.u32(),
    seq: random.pick(ACQUIRE_SEQS),
  });
  return request(header(asker, XfrmMsg.ACQUIRE), body, policyAttributes(random, name));
};

const migrate: Make = (asker) => {
  const { random } = asker;
  const name = nameOf(asker);
  const { sel, dir } = policyBody(asker, name.family);
  const entry = () => {
    const { local, remote, other } = HOSTS[name.family];
    const newFamily = weighted(random, [
      [9, name.family],
      [1, 12 - name.family],
    ]);
    return packed(userMigrate, {
      oldDaddr: name.daddr,
      oldSaddr: name.saddr,
      newDaddr: addressOf(random.pick([remote, other, local])),
      newSaddr: addressOf(random.pick([local, other, remote])),
      proto: name.proto,
      mode: saMode(random),
      reqid: random.pick(REQIDS),
      oldFamily: name.family,
      newFamily,
    });
  };
  const entries = Array.from(
    {
      length: weighted(random, [
        [8, 1],
        [3, 2],
        [1, some(random, 7)],
      ]),
    },
    entry,
  );
  return request(header(asker, XfrmMsg.MIGRATE), packed(userpolicyId, { sel, index: 0, dir }), [
    [A.MIGRATE, concat(entries)],
    ...policyType(random),
    ...maybe(random, 20, () => [A.KMADDRESS, packed(userKmaddress, { family: name.family, reserved: 5 })]),
    ...maybe(random, 10, () => encapAttribute(random)),
    ...maybe(random, 10, () => u32(A.IF_ID, random.pick([0, 3]))),
  ]);
};

const info =
  (type: number): Make =>
  (asker) =>
    request(header(asker, type), words(asker.random.pick([0, asker.random.u32()])));

const setSpdInfo: Make = (asker) => {
  const { random } = asker;
  const pair = (type: number, max: number): Attribute => [
    type,
    Uint8Array.of(random.pick([0, max, max - 8, max + 1]), random.pick([0, max, max - 8])),
  ];
  return request(header(asker, XfrmMsg.NEWSPDINFO), words(0), [
    ...maybe(random, 60, () => pair(3, 32)),
    ...maybe(random, 60, () => pair(4, 128)),
  ]);
};

const setDefault: Make = (asker) => {
  const { random } = asker;
  const action = (): number => random.pick([0, 2, 2, 1, 3]);
  return request(header(asker, XfrmMsg.SETDEFAULT), Uint8Array.of(action(), action(), action(), 0));
};

/** A type that the kernel only sends, or does not know. */
const strange: Make = (asker) => {
  const { random } = asker;
  const type = random.pick([XfrmMsg.REPORT, XfrmMsg.NEWSADINFO, XfrmMsg.MAPPING, 0x29, 0x40, 3, 0xf]);
  return request(header(asker, type), words(...Array.from({ length: random.below(20) }, () => random.u32())));
};

const makers: readonly (readonly [weight: number, make: Make])[] = [
  [22, newOrUpdate(XfrmMsg.NEWSA)],
  [10, newOrUpdate(XfrmMsg.UPDSA)],
  [8, byId(XfrmMsg.GETSA)],
  [5, byId(XfrmMsg.DELSA)],
  [4, dump(XfrmMsg.GETSA)],
  [10, newAe],
  [8, getAe],
  [3, expire],
  [1, flushSa],
  [8, allocSpi],
  [10, newPolicy(XfrmMsg.NEWPOLICY)],
  [4, newPolicy(XfrmMsg.UPDPOLICY)],
  [4, policyById(XfrmMsg.GETPOLICY)],
  [4, policyById(XfrmMsg.DELPOLICY)],
  [2, dump(XfrmMsg.GETPOLICY)],
  [2, expirePolicy],
  [1, flushPolicy],
  [2, acquire],
  [4, migrate],
  [1, info(XfrmMsg.GETSADINFO)],
  [1, info(XfrmMsg.GETSPDINFO)],
  [1, setSpdInfo],
  [1, setDefault],
  [1, info(XfrmMsg.GETDEFAULT)],
  [1, strange],
];

/** A request of any type. */
export const anyRequest: Make = (asker) => weighted(asker.random, makers)(asker);
