import { hostLittleEndian } from '../../src/netlink/index.ts';
import { AddressFamily, IpProto, parseAddress, SaFlag, XFRM_INF, XfrmMode } from '../../src/xfrm/index.ts';
import { algo, algoAead, algoAuth, encapTmpl, type LifetimeCfg, mark, replayState } from '../../src/xfrm/structs.ts';
import type { Random } from '../fuzz/random.ts';
import { type Attribute, concat, packed, words } from './bytes.ts';

/**
 * The values that requests are made of. There are few of each, so that the requests of a sequence speak of the same SAs and policies:
 * collisions, updates, deletions and lookups hit.
 */

/** XFRMA_* by number. */
export const A = {
  ALG_AUTH: 1,
  ALG_CRYPT: 2,
  ALG_COMP: 3,
  ENCAP: 4,
  TMPL: 5,
  LTIME_VAL: 9,
  REPLAY_VAL: 10,
  REPLAY_THRESH: 11,
  ETIMER_THRESH: 12,
  SRCADDR: 13,
  COADDR: 14,
  POLICY_TYPE: 16,
  MIGRATE: 17,
  ALG_AEAD: 18,
  KMADDRESS: 19,
  ALG_AUTH_TRUNC: 20,
  MARK: 21,
  TFCPAD: 22,
  REPLAY_ESN_VAL: 23,
  SA_EXTRA_FLAGS: 24,
  PROTO: 25,
  ADDRESS_FILTER: 26,
  OFFLOAD_DEV: 28,
  SET_MARK: 29,
  SET_MARK_MASK: 30,
  IF_ID: 31,
  MTIMER_THRESH: 32,
  SA_DIR: 33,
  NAT_KEEPALIVE_INTERVAL: 34,
  SA_PCPU: 35,
} as const;

/** True with the chance of `percent` in a hundred. */
export const chance = (random: Random, percent: number): boolean => random.below(100) < percent;

/** One of the values, each as likely as its weight says. */
export function weighted<T>(random: Random, choices: readonly (readonly [weight: number, value: T])[]): T {
  let left = random.below(choices.reduce((sum, [weight]) => sum + weight, 0));
  for (const [weight, value] of choices) {
    if (left < weight) return value;
    left -= weight;
  }
  throw new RangeError('no choices to pick from');
}

export type AddressWords = { w0: number; w1: number; w2: number; w3: number };

export function addressOf(text: string): AddressWords {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new RangeError(`${text} is no address`);
  return parsed.address;
}

export const ZERO: AddressWords = { w0: 0, w1: 0, w2: 0, w3: 0 };
export const HOSTS = {
  2: { local: '10.9.0.1', remote: '10.9.0.2', other: '10.9.0.3' },
  10: { local: 'fd09::1', remote: 'fd09::2', other: 'fd09::3' },
} as const;

/** What tells one SA from another. */
export interface SaName {
  readonly family: 2 | 10;
  readonly daddr: AddressWords;
  readonly saddr: AddressWords;
  readonly spi: number;
  readonly proto: number;
  readonly mark: readonly [value: number, mask: number] | undefined;
}

export const MARKS = [
  [1, 0xff],
  [1, 0xffff_ffff],
  [0x101, 0xff],
  [0, 0xff],
  [2, 3],
] as const;

export function saName(random: Random): SaName {
  const family = chance(random, 75) ? AddressFamily.INET : AddressFamily.INET6;
  const { local, remote, other } = HOSTS[family];
  const [saddr, daddr] = weighted(random, [
    [6, [local, remote]],
    [3, [remote, local]],
    [1, [local, other]],
  ] as const);
  return {
    family,
    daddr: addressOf(daddr),
    saddr: addressOf(saddr),
    spi: weighted(random, [
      [12, 0x100 + random.below(4)],
      [1, 0],
      [1, random.u32()],
    ]),
    proto: weighted(random, [
      [20, IpProto.ESP],
      [4, IpProto.AH],
      [2, IpProto.COMP],
      [1, random.pick([IpProto.ANY, IpProto.ROUTING, IpProto.DSTOPTS, IpProto.IPSEC_ANY, IpProto.UDP, 255])],
    ]),
    mark: chance(random, 20) ? random.pick(MARKS) : undefined,
  };
}

export const REQIDS = [0, 7, 7, 8];
export const ACQUIRE_SEQS = [0, 0, 0, 0x5a00_0001, 0x5a00_0002];
/** Of policies: far above what the machine's counter gives. The low three bits are the direction. */
export const indexOf = (random: Random, dir: number): number => 0x4000_0000 + 8 * random.below(3) + dir;

export const saMode = (random: Random): number =>
  weighted(random, [
    [12, XfrmMode.TRANSPORT],
    [6, XfrmMode.TUNNEL],
    [2, XfrmMode.BEET],
    [1, random.below(7)],
  ]);

export const saFlags = (random: Random): number =>
  chance(random, 75) ? 0 : chance(random, 60) ? SaFlag.AF_UNSPEC : random.below(256);

export const INFINITE: LifetimeCfg = {
  softByteLimit: XFRM_INF,
  hardByteLimit: XFRM_INF,
  softPacketLimit: XFRM_INF,
  hardPacketLimit: XFRM_INF,
  softAddExpiresSeconds: 0n,
  hardAddExpiresSeconds: 0n,
  softUseExpiresSeconds: 0n,
  hardUseExpiresSeconds: 0n,
};

/** Time limits are too far away to be reached: sequences about time choose their own. */
export function lifetime(random: Random): LifetimeCfg {
  if (chance(random, 65)) return INFINITE;
  const few = (): bigint => (chance(random, 50) ? XFRM_INF : BigInt(random.below(6)));
  const bytes = (): bigint => (chance(random, 70) ? XFRM_INF : BigInt(32 * random.below(10)));
  const seconds = (): bigint => (chance(random, 70) ? 0n : BigInt(100_000_000_000 + random.below(1000)));
  return {
    softByteLimit: bytes(),
    hardByteLimit: bytes(),
    softPacketLimit: few(),
    hardPacketLimit: few(),
    softAddExpiresSeconds: seconds(),
    hardAddExpiresSeconds: seconds(),
    softUseExpiresSeconds: seconds(),
    hardUseExpiresSeconds: seconds(),
  };
}

export const AUTH_KEY = Uint8Array.from({ length: 20 }, (_, i) => 0x40 + i);
const keyOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (0x11 * i) & 0xff);

const authAlgorithm = (name: string, key: Uint8Array): Uint8Array =>
  concat([packed(algo, { name, keyLen: 8 * key.length }), key]);
export const authTrunc = (name: string, key: Uint8Array, truncLen: number): Uint8Array =>
  concat([packed(algoAuth, { name, keyLen: 8 * key.length, truncLen }), key]);
const aead = (name: string, key: Uint8Array, icvLen: number): Uint8Array =>
  concat([packed(algoAead, { name, keyLen: 8 * key.length, icvLen }), key]);

const authAttribute = (random: Random): Attribute =>
  weighted<Attribute>(random, [
    [6, [A.ALG_AUTH_TRUNC, authTrunc('hmac(sha1)', AUTH_KEY, 96)]],
    [3, [A.ALG_AUTH, authAlgorithm('sha1', AUTH_KEY)]],
    [2, [A.ALG_AUTH_TRUNC, authTrunc('hmac(sha256)', keyOf(32), random.pick([0, 96, 128, 256]))]],
    [1, [A.ALG_AUTH, authAlgorithm('digest_null', keyOf(0))]],
    [1, [A.ALG_AUTH_TRUNC, authTrunc('hmac(sha1)', keyOf(random.below(40)), random.pick([0, 96, 160, 161, 80]))]],
    [1, [A.ALG_AUTH, authAlgorithm('no-such', AUTH_KEY)]],
  ]);

const cryptAttribute = (random: Random): Attribute =>
  weighted<Attribute>(random, [
    [8, [A.ALG_CRYPT, authAlgorithm('ecb(cipher_null)', keyOf(0))]],
    [4, [A.ALG_CRYPT, authAlgorithm(random.pick(['cbc(aes)', 'aes']), keyOf(random.pick([16, 24, 32])))]],
    [1, [A.ALG_CRYPT, authAlgorithm('cbc(aes)', keyOf(random.below(40)))]],
    [1, [A.ALG_CRYPT, authAlgorithm('no-such', keyOf(16))]],
  ]);

const aeadAttribute = (random: Random): Attribute =>
  weighted<Attribute>(random, [
    [6, [A.ALG_AEAD, aead('rfc4106(gcm(aes))', keyOf(20), random.pick([64, 96, 128]))]],
    [1, [A.ALG_AEAD, aead('rfc4106(gcm(aes))', keyOf(random.below(40)), random.pick([0, 64, 100, 128]))]],
    [1, [A.ALG_AEAD, aead('no-such', keyOf(20), 128)]],
  ]);

/** The null cipher, signed with HMAC-SHA1-96: packets for it can be made without a cipher. */
export const NULL_ENCRYPTION: readonly Attribute[] = [
  [A.ALG_AUTH_TRUNC, authTrunc('hmac(sha1)', AUTH_KEY, 96)],
  [A.ALG_CRYPT, authAlgorithm('ecb(cipher_null)', keyOf(0))],
];
export const AH_ALGORITHM: readonly Attribute[] = [[A.ALG_AUTH_TRUNC, authTrunc('hmac(sha1)', AUTH_KEY, 96)]];

/** Mostly what the protocol asks for. */
export function algorithms(random: Random, proto: number): Attribute[] {
  if (chance(random, 5)) {
    return [authAttribute(random), cryptAttribute(random), aeadAttribute(random)].filter(() => chance(random, 50));
  }
  switch (proto) {
    case IpProto.ESP:
      if (chance(random, 25)) return [aeadAttribute(random)];
      return chance(random, 10) ? [cryptAttribute(random)] : [authAttribute(random), cryptAttribute(random)];
    case IpProto.AH:
      return [authAttribute(random)];
    case IpProto.COMP:
      return [[A.ALG_COMP, packed(algo, { name: random.pick(['deflate', 'deflate', 'lzjh', 'no-such']), keyLen: 0 })]];
    default:
      return chance(random, 70) ? [[A.COADDR, words(0x0109_000a, 0, 0, 0)]] : [];
  }
}

/** Sequence numbers: fresh, in the middle, next to a turn. */
export const sequence = (random: Random): number =>
  weighted(random, [
    [5, 0],
    [4, random.below(100)],
    [2, 0xffff_ffff - random.below(4)],
    [1, random.u32()],
  ]);

export const replayVal = (random: Random): Attribute => [
  A.REPLAY_VAL,
  packed(replayState, { oseq: sequence(random), seq: sequence(random), bitmap: random.pick([0, 1, random.u32()]) }),
];

/** Sizes that fit one another, mostly. */
export function replayEsn(random: Random): Attribute {
  const bmpLen = random.pick([1, 1, 2, 2, 4, 7, 8, 0, random.below(140)]);
  const window = weighted(random, [
    [5, 32 * bmpLen],
    [3, random.below(32 * bmpLen + 1)],
    [1, random.below(300)],
  ]);
  const head = words(bmpLen, sequence(random), sequence(random), random.below(3), random.below(3), window);
  if (chance(random, 15)) return [A.REPLAY_ESN_VAL, head];
  const bitmap = words(...Array.from({ length: bmpLen }, () => (chance(random, 60) ? 0 : random.u32())));
  return [A.REPLAY_ESN_VAL, concat([head, bitmap])];
}

/** Times of long ago and of far away: those near the clock are not compared. */
export const TIMES = [0, 1, 1_000_000_000, 1_600_000_000, 3_000_000_000];

export const lifetimeVal = (random: Random): Attribute => {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  const values = [random.pick([0, 64, 1000]), random.below(6), random.pick(TIMES), random.pick(TIMES)];
  values.forEach((value, i) => {
    view.setBigUint64(8 * i, BigInt(value), hostLittleEndian);
  });
  return [A.LTIME_VAL, bytes];
};

export const markAttribute = ([value, mask]: readonly [number, number]): Attribute => [
  A.MARK,
  packed(mark, { value, mask }),
];

export const encapAttribute = (random: Random): Attribute => [
  A.ENCAP,
  packed(encapTmpl, {
    type: random.pick([2, 2, 2, 2, 1, 7, 0]),
    sport: random.pick([4500, 4501]),
    dport: 4500,
    oa: random.pick([ZERO, addressOf('10.9.0.9')]),
  }),
];
