import { timedBy } from './active/quiet.ts';
import { progressOf } from './sa/counters.ts';
import { heldBack, latestMs, unseenInbound } from './sa/plan.ts';
import { packetsWithin } from './sa/rate.ts';
import type { SaRecord } from './sa/record.ts';
import { arrived } from './sa/told.ts';
import type { Peer } from './state/peer.ts';
import type { State } from './state/state.ts';

/**
 * How much of an SA's progress no standby has seen (docs/safety.md, exposure). The active knows what it has sent and what of that has arrived;
 * a standby, what it would have to assume in a takeover now.
 */
export interface Exposure {
  readonly packets: number;
  /** How old the oldest of it can be; Infinity: the SA has no timer. */
  readonly ms: number;
}

export interface TotalExposure extends Exposure {
  /** The SA with the most packets. */
  readonly worst: SaRecord | undefined;
  readonly of: ReadonlyMap<SaRecord, Exposure>;
}

const NONE: Exposure = { packets: 0, ms: 0 };

/** Of all SAs; undefined: no standby has a whole account, so that everything is exposed. */
export function exposureOf(s: State, nowMs: number): TotalExposure | undefined {
  const each = s.role === 'active' ? ofActive(s, nowMs) : ofStandby(s, nowMs);
  if (each === undefined) return undefined;
  const of = new Map<SaRecord, Exposure>();
  let packets = 0;
  let ms = 0;
  let worst: SaRecord | undefined;
  let most = 0;
  for (const record of s.sas) {
    const one = each(record);
    of.set(record, one);
    packets += one.packets;
    ms = Math.max(ms, one.ms);
    if (one.packets <= most) continue;
    most = one.packets;
    worst = record;
  }
  return { packets, ms, worst, of };
}

type Each = (record: SaRecord) => Exposure;

/** The standby that knows most, as none of a node that is not there is asked to take over. */
function ofActive({ peers, unsure }: State, nowMs: number): Each | undefined {
  let best: Peer | undefined;
  for (const peer of peers.values()) if (provenOf(peer) > provenOf(best)) best = peer;
  if (best === undefined) return undefined;
  const peer = best;
  const unknownMs = Math.max(0, nowMs - provenOf(peer));
  return (record) => {
    const { quiet, rate } = record;
    const thresholds = timedBy(record);
    // Where there is a packet threshold it counts alone: the rate may have risen since the kernel spoke of the SA last.
    const held = quiet
      ? 0
      : thresholds.packets > 0
        ? thresholds.packets - 1
        : Math.ceil(heldBack(thresholds, (ms) => packetsWithin(rate, ms), unknownMs));
    const progress = Math.max(progressOf(record), unsure.get(record) ?? 0);
    const packets = Math.max(0, progress - arrived(peer, record)) + held;
    if (packets === 0) return NONE;
    return { packets, ms: unknownMs + (held > 0 ? latestMs(thresholds) : 0) };
  };
}

const provenOf = (peer: Peer | undefined): number => peer?.rounds.provenMs ?? Number.NEGATIVE_INFINITY;

function ofStandby({ provenMs, complete, settings }: State, nowMs: number): Each | undefined {
  if (!complete || provenMs === undefined) return undefined;
  const unseenMs = Math.max(0, nowMs - provenMs);
  return (record) => {
    const packets = unseenInbound(record, settings.plan, { unseenMs, complete, provenMs });
    if (packets === 0) return NONE;
    return { packets, ms: unseenMs + (record.quiet ? 0 : latestMs(record.thresholds)) };
  };
}
