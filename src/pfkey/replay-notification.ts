import { bitsOf, oneOf, reserved, struct, u8, u32, u64 } from '../wire/index.ts';

/**
 * The replay-notification extension of PF_KEY, after the proposal of 2004 ("IPSEC failover and replay detection sequence numbers"): a
 * notification when an SA's replay detection has moved, a request that sets its state, and an extension for the thresholds.
 *
 * THE NUMBERS IN THIS FILE ARE XFRMSYNC'S OWN. Linux never took the proposal and its patch is not to be had, so there are none to follow.
 * They are far from those of Linux (messages to 24, extensions to 26) and this is the one place where they stand. Linux answers EINVAL to
 * such messages and passes over such extensions.
 *
 * Nothing is notified of an SA until one of its thresholds N and T is explicitly set to a value that is not zero over PF_KEY: whoever does not
 * know of the extension never sees any of it.
 */

/**
 * - `X_REPLAY_NOTIFY`, kernel to listeners: sa, addressSrc, addressDst, lifetimeCurrent, replayState, replayReason. `seq` and `pid` are 0, but
 *   for SET: then they are those of the request.
 * - `X_REPLAY_SET`, request: sa, addressDst, and one or more of replayState, replayThreshold, lifetimeCurrent: sets these of an
 *   established SA. The answer is the same message, with errno.
 * - `X_REPLAY_GET`, request: sa, addressDst. The answer has what X_REPLAY_NOTIFY has, and replayThreshold instead of replayReason.
 *
 * The extension replayThreshold is also taken in ADD and UPDATE. The answer to GET has it if the SA was given thresholds that are not zero
 * over PF_KEY: those that netlink gives all its SAs do not show.
 */
export const replayMessageTypes = { X_REPLAY_NOTIFY: 200, X_REPLAY_SET: 201, X_REPLAY_GET: 202 } as const;

export const replayExtensionTypes = { replayThreshold: 0x8000, replayState: 0x8001, replayReason: 0x8002 } as const;

/** How a state is to be read; as XFRM has it. */
export const PfkeyReplayMode = {
  /** 32-bit numbers, and one bitmap word: bit i stands for number `seq` - i. */
  LEGACY: 0,
  /** 32-bit numbers, and the bitmap is a ring: number n has bit (n - 1) mod `window`. */
  BITMAP: 1,
  /** 64-bit numbers (ESN); the bitmap as in BITMAP. */
  ESN: 2,
} as const;

/** Why a notification was sent; more than one can be true. */
export const ReplayReason = {
  /** The number has moved by N or more since the last notification. */
  PACKETS: 1,
  /** T has passed since the last notification, and there was a change. */
  TIME: 2,
  /** Somebody has set the state. */
  SET: 4,
} as const;

const EXT = 4;

/** N: packets; T: milliseconds. 0: this threshold is off. 16 bytes. */
export const replayThreshold = struct(
  'replay_threshold',
  16,
  { packets: u32, milliseconds: u32, reserved: reserved(4) },
  EXT,
);

/**
 * 40 bytes, then `bmpLen` bitmap words of 32 bits. `oseq`: last number used outbound; `seq`: highest number accepted inbound; `window` in
 * packets, 0: no replay detection. `packetsHigh`: the upper half of the packets that the SA has carried, of which lifetimeCurrent has no more
 * than 32 bits (`allocations`); without lifetimeCurrent in the same message it says nothing.
 */
export const replayState = struct(
  'replay_state',
  40,
  {
    mode: oneOf(u8, PfkeyReplayMode),
    reserved: reserved(3),
    oseq: u64,
    seq: u64,
    window: u32,
    bmpLen: u32,
    packetsHigh: u32,
    reserved2: reserved(4),
  },
  EXT,
);

/** 8 bytes. */
export const replayReason = struct(
  'replay_reason',
  8,
  { reason: bitsOf(u8, ReplayReason), reserved: reserved(3) },
  EXT,
);
