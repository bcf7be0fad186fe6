import { hostLittleEndian } from '../../netlink/index.ts';

/**
 * One SA is one row of 32-bit words, in the order of the host like all of netlink. A row starts with the xfrm_usersa_info that is shown to
 * user space, kept as it was sent (its padding and the unused words of IPv4 addresses come back verbatim), limits and counters included;
 * behind it stands what is never shown as a structure. Offsets are in words unless they say bytes.
 */
export const Row = {
  SEL: 0,
  /** xfrm_id: address, SPI (network order), protocol. */
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
  /** 56 words are xfrm_usersa_info. */
  INFO_WORDS: 56,

  /** xfrm_replay_state: live, and as last notified. */
  REPLAY: 56,
  SENT: 59,
  MAXDIFF: 62,
  /** Jiffies. */
  MAXAGE: 63,
  STATE: 64,
  /** Bits of `RowBit`. */
  BITS: 65,
  MARK: 66,
  MARK_MASK: 67,
  IF_ID: 68,
  /** Seconds, XFRMA_MTIMER_THRESH. */
  MAPPING_MAXAGE: 70,
  /** Seconds of the last MAPPING event, and the port that it showed. */
  MAPPING_TIME: 71,
  MAPPING_PORT: 72,
  /** Seconds of the last packet. */
  LASTUSED: 73,
  /** Remaining seconds of soft_add when the lifetime timer last ran; for jumps of the clock. */
  SAVED_SOFT: 74,
  /** The encoded attributes: where, where their body and their tail start (in words), how many bytes. */
  ATTRIBUTES_AT: 75,
  ATTRIBUTES_ENDS: 76,
  ATTRIBUTES_SIZE: 69,
  /** Chains: slot + 1, or 0 at the end. */
  NEXT_SPI: 77,
  NEXT_DST: 78,
  NEXT_ALL: 79,
  PREVIOUS_ALL: 80,
  /** Where the replay state with a bitmap is, in words of the arena; 0: legacy mode. */
  ESN_AT: 81,
  WORDS: 82,
} as const;

/** Byte offsets in xfrm_usersa_info. */
export const InfoByte = {
  SEL_FAMILY: 40,
  SEL_PREFIX_D: 42,
  SEL_PREFIX_S: 43,
  SEL_PROTO: 44,
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
  /** The aevent timer ran out with nothing to say (XFRM_TIME_DEFER). */
  DEFERRED: 1,
  /** The soft limit was announced. */
  DYING: 2,
  /** The next soft expiry was scheduled by time (XFRM_SOFT_EXPIRE). */
  SOFT_SCHEDULED: 4,
  /** XFRM_SA_XFLAG_OSEQ_MAY_WRAP. */
  OSEQ_MAY_WRAP: 8,
  /** It has an ENCAP attribute. */
  ENCAP: 16,
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
