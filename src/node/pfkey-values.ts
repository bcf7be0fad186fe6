import { type AeventValues, type SaId, usersaId } from '../client/index.ts';
import { EncodeError } from '../netlink/index.ts';
import { type PfkeyExtension, type PfkeyExtensions, type PfkeyMessage, PfkeyReplayMode } from '../pfkey/index.ts';
import type { XfrmMessage } from '../xfrm/index.ts';

/** The values of NEWAE and GETAE in the words of the replay-notification extension of PF_KEY, and back. */

/** What PF_KEY wants repeated when the state of an SA is set: `PfkeyReplayMode`, and the window of a state of one bitmap word. */
export interface ReplayForm {
  readonly mode: number;
  readonly window: number;
}

/** N packets and T milliseconds; 0: off. */
export type ReplayThreshold = PfkeyExtension<'replayThreshold'>;

/** XFRMA_ETIMER_THRESH is read in units of this. */
const TIMER_UNIT_MS = 100;
const LOW_BITS = 32n;
const U32 = 0xffff_ffffn;

/**
 * What sets the replay state and the lifetime in `values`; thresholds go by themselves, as PF_KEY sets both at once.
 *
 * @throws EncodeError for a packet count of more than 32 bits without a replay state, which has the upper half
 */
export function stateExtensions(values: AeventValues, { mode, window }: ReplayForm): PfkeyExtensions {
  const { replayVal, replayEsnVal, ltimeVal } = values;
  const packetsHigh = Number((ltimeVal?.packets ?? 0n) >> LOW_BITS);
  const whole = (high: number, low: number): bigint => (BigInt(high) << LOW_BITS) | BigInt(low);
  const state = ((): PfkeyExtension<'replayState'> | undefined => {
    if (replayEsnVal !== undefined) {
      const { oseq, oseqHi, seq, seqHi, replayWindow, bmpLen, bmp } = replayEsnVal;
      const numbers = { oseq: whole(oseqHi, oseq), seq: whole(seqHi, seq) };
      return { mode, ...numbers, window: replayWindow, bmpLen, packetsHigh, bitmap: bmp };
    }
    if (replayVal === undefined) return undefined;
    const { oseq, seq, bitmap } = replayVal;
    return { mode, oseq: BigInt(oseq), seq: BigInt(seq), window, bmpLen: 1, packetsHigh, bitmap: [bitmap] };
  })();
  if (state === undefined && packetsHigh > 0)
    throw new EncodeError('ltimeVal.packets', 'PF_KEY takes more than 32 bits only together with a replay state');
  return {
    ...(state === undefined ? {} : { replayState: state }),
    ...(ltimeVal === undefined
      ? {}
      : {
          lifetimeCurrent: {
            allocations: Number(ltimeVal.packets & U32),
            bytes: ltimeVal.bytes,
            addtime: ltimeVal.addTime,
            usetime: ltimeVal.useTime,
          },
        }),
  };
}

/**
 * Thresholds as `values` set them, what they do not set as it is `now`. The unit of `etimerThresh` is a millisecond here, as jiffies would be
 * with an HZ of 1000. It is rounded down to what can be read back, as a kernel rounds T up to its own jiffies.
 */
export function thresholdOf({ replayThresh, etimerThresh }: AeventValues, now: ReplayThreshold): ReplayThreshold {
  const wanted = etimerThresh ?? now.milliseconds;
  const milliseconds =
    etimerThresh === undefined || wanted < TIMER_UNIT_MS ? wanted : wanted - (wanted % TIMER_UNIT_MS);
  return { packets: replayThresh ?? now.packets, milliseconds };
}

/** The answer to X_REPLAY_GET as an answer to GETAE, with both thresholds. Undefined if it lacks what it must have. */
export function aeventOf(id: SaId, { extensions }: PfkeyMessage<'X_REPLAY_GET'>): XfrmMessage<'NEWAE'> | undefined {
  const { replayState: state, lifetimeCurrent: lifetime, replayThreshold: threshold } = extensions;
  if (state === undefined || lifetime === undefined || threshold === undefined) return undefined;
  const { oseq, seq, bmpLen, bitmap, window, packetsHigh } = state;
  const low = (n: bigint): number => Number(n & U32);
  const high = (n: bigint): number => Number(n >> LOW_BITS);
  const numbers = { oseq: low(oseq), seq: low(seq) };
  const replay =
    state.mode === PfkeyReplayMode.LEGACY
      ? { replayVal: { ...numbers, bitmap: bitmap[0] ?? 0 } }
      : {
          replayEsnVal: { ...numbers, oseqHi: high(oseq), seqHi: high(seq), bmpLen, bmp: bitmap, replayWindow: window },
        };
  return {
    kind: 'NEWAE',
    flags: 0,
    seq: 0,
    pid: 0,
    body: { saId: usersaId(id), saddr: { w0: 0, w1: 0, w2: 0, w3: 0 }, flags: 0, reqid: 0 },
    attributes: {
      ...replay,
      ltimeVal: {
        bytes: lifetime.bytes,
        packets: (BigInt(packetsHigh) << LOW_BITS) | BigInt(lifetime.allocations),
        addTime: lifetime.addtime,
        useTime: lifetime.usetime,
      },
      replayThresh: threshold.packets,
      etimerThresh: Math.floor(threshold.milliseconds / TIMER_UNIT_MS),
    },
  };
}
