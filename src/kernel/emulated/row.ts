import { hostLittleEndian } from '../../netlink/index.ts';

/**
 * One SA is one row of 32-bit words, in the order of the host like all of netlink. Most of it is the xfrm_usersa_info that is shown to user
 * space, kept as it was sent (its padding and the unused words of IPv4 addresses come back verbatim), limits and counters included; where
 * that structure has its selector, the row has what every packet needs. Offsets are in words unless they say bytes.
 */
export const Row = {
  /** The live replay state: xfrm_replay_state, or xfrm_replay_state_esn with a bitmap of up to REPLAY_BITMAP_WORDS. */
  REPLAY: 0,
  /** Where a longer xfrm_replay_state_esn is, in words of the arena; or one of `EsnAt`. */
  ESN_AT: 10,
  STATE: 11,
  /** Bits of `RowBit`. */
  BITS: 12,
  /** Chains: slot + 1, or 0 at the end. */
  NEXT_SPI: 13,
  /** From here to INFO_WORDS the words of xfrm_usersa_info. xfrm_id: address, SPI (network order), protocol. */
  DADDR: 14,
  SPI: 18,
  SADDR: 20,
  /** xfrm_lifetime_cfg: pairs of words. */
  LFT: 24,
  SOFT_BYTE: 24,
  HARD_BYTE: 26,
  SOFT_PACKET: 28,
  HARD_PACKET: 30,
  SOFT_ADD: 32,
  HARD_ADD: 34,
  SOFT_USE: 36,
  HARD_USE: 38,
  /** xfrm_lifetime_cur: pairs of words. */
  CURLFT: 40,
  BYTES: 40,
  PACKETS: 42,
  ADD_TIME: 44,
  USE_TIME: 46,
  STATS_WINDOW: 48,
  STATS_REPLAY: 49,
  STATS_INTEGRITY: 50,
  ACQ_SEQ: 51,
  REQID: 52,
  INFO_WORDS: 56,

  MARK: 56,
  MARK_MASK: 57,
  MAXDIFF: 58,
  /** Jiffies. */
  MAXAGE: 59,
  /** Seconds of the last packet. */
  LASTUSED: 60,
  /** What of the replay state was last notified, in the order of `Sent`. */
  SENT: 61,
  IF_ID: 69,
  /** The selector: where, in words of the arena. */
  SELECTOR_AT: 70,
  /** The encoded attributes: where, in words of the arena; 0: none. */
  ATTRIBUTES_AT: 71,
  /** Of XFRMA_ENCAP the type, in the upper half, and the source port. */
  ENCAP: 72,
  /** Seconds, XFRMA_MTIMER_THRESH. */
  MAPPING_MAXAGE: 73,
  /** Seconds of the last MAPPING event, and the port that it showed. */
  MAPPING_TIME: 74,
  MAPPING_PORT: 75,
  /** Remaining seconds of soft_add when the lifetime timer last ran; for jumps of the clock. */
  SAVED_SOFT: 76,
  /** Chains: slot + 1, or 0 at the end. */
  NEXT_DST: 77,
  NEXT_ALL: 78,
  PREVIOUS_ALL: 79,
  WORDS: 80,
} as const;

/** Values of Row.ESN_AT that are no place in the arena. */
export const EsnAt = { LEGACY: 0, ROW: 1 } as const;

/** The longest bitmap that fits into a row: 128 packets. */
export const REPLAY_BITMAP_WORDS = 4;

/** Byte offsets in xfrm_usersa_info; from DADDR on they are those in a row. */
export const InfoByte = {
  SEL_FAMILY: 40,
  SEL_PREFIX_D: 42,
  SEL_PREFIX_S: 43,
  DADDR: 56,
  SPI: 72,
  PROTO: 76,
  SADDR: 80,
  FAMILY: 212,
  MODE: 214,
  REPLAY_WINDOW: 215,
  FLAGS: 216,
  SIZE: 224,
} as const;

export const RowBit = {
  /** The replay timer ran out with nothing to say (XFRM_TIME_DEFER). */
  DEFERRED: 1,
  /** The soft limit was announced. */
  DYING: 2,
  /** The next soft expiry was scheduled by time (XFRM_SOFT_EXPIRE). */
  SOFT_SCHEDULED: 4,
  /** XFRM_SA_XFLAG_OSEQ_MAY_WRAP. */
  OSEQ_MAY_WRAP: 8,
  /** It has an ENCAP attribute. */
  ENCAP: 16,
  /** PF_KEY has given it a threshold that is not 0: replay notifications are told there. */
  TOLD_TO_PFKEY: 32,
  /** XFRMA_SA_DIR, two bits; 0: none. */
  DIR_SHIFT: 8,
} as const;

/** Internal states of an SA; they never show on the wire. */
export const SaState = { VOID: 0, ACQ: 1, VALID: 2, ERROR: 3, EXPIRED: 4, DEAD: 5 } as const;

/** Which word of a 64-bit number is the lower one. */
export const LOW = hostLittleEndian ? 0 : 1;
export const HIGH = 1 - LOW;

const word = (words: Uint32Array, at: number): number => words[at] as number;

/** Exact up to 2^53. */
export function number64(words: Uint32Array, at: number): number {
  return word(words, at + HIGH) * 0x1_0000_0000 + word(words, at + LOW);
}

export function setNumber64(words: Uint32Array, at: number, value: number): void {
  words[at + LOW] = value % 0x1_0000_0000;
  words[at + HIGH] = Math.floor(value / 0x1_0000_0000);
}

export function add64(words: Uint32Array, at: number, value: number): void {
  const low = word(words, at + LOW) + value;
  words[at + LOW] = low;
  if (low > 0xffff_ffff) words[at + HIGH] = word(words, at + HIGH) + Math.floor(low / 0x1_0000_0000);
}

/** Whether the unsigned number at `a` is at least the one at `b`. */
export function atLeast64(words: Uint32Array, a: number, b: number): boolean {
  const high = word(words, a + HIGH) - word(words, b + HIGH);
  return high > 0 || (high === 0 && word(words, a + LOW) >= word(words, b + LOW));
}
