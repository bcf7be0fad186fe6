import type { GatewayCounts } from '../gateway/index.ts';
import {
  type Exposure,
  exposureOf,
  heldSas,
  type Peer,
  packetsPerSecond,
  type Role,
  type SaRecord,
  type State,
  type TotalExposure,
} from '../replica/index.ts';
import { formatAddress, formatSpi } from '../xfrm/index.ts';

/** What `xfrmsync status` shows. No key material is anywhere near it (S6). */
export interface Status {
  readonly node: string;
  readonly cluster: string;
  readonly version: string;
  readonly kernel: string;
  /** How this node speaks with it: netlink or pfkey. */
  readonly via: string;
  readonly role: string;
  readonly term: number;
  readonly phase: string;
  /** An active is; a standby is once it has a whole account of the active (S5). */
  readonly complete: boolean;
  /** Active: outbound numbers are used only as far as a standby knows; see docs/safety.md, grants. */
  readonly bound: boolean;
  readonly peers: readonly PeerStatus[];
  readonly sas: number;
  readonly installed: number;
  readonly policies: number;
  /** Standby: SAs that the active has deleted all at once: `promote --restore` brings them back. */
  readonly held: number;
  /** Standby: for how long nothing is known of the active. What a takeover now would have to assume it sent meanwhile. */
  readonly unseenMs: number | null;
  /** Progress that no standby has seen (docs/safety.md, exposure); null: no standby has a whole account. */
  readonly exposure: ExposureStatus | null;
  /** SAs that are known to be silent. */
  readonly quiet: number;
  readonly counts: State['counts'];
  /** What became of the packets of the user-space gateway, by verdict; absent where the kernel forwards. */
  readonly gateway?: GatewayCounts;
  readonly list?: readonly SaStatus[];
}

interface PeerStatus {
  readonly name: string;
  readonly connected: boolean;
  readonly role?: string;
  readonly term?: number;
  /** Active: it may take over, so that outbound numbers are used only as far as it, or enough others, know. */
  readonly bound: boolean;
  /** Active: how old what this standby surely has of the account is; null: it has no whole account. */
  readonly behindMs: number | null;
  /** Its time of day less this node's, and how far off that can be; null: not measured yet. */
  readonly clockOffsetMs: number | null;
  readonly clockUncertaintyMs: number | null;
}

interface ExposureStatus {
  readonly packets: number;
  /** Null: an SA without a timer has no bound in time. */
  readonly ms: number | null;
  readonly worst: {
    readonly daddr: string;
    readonly spi: string;
    readonly packets: number;
    readonly ms: number | null;
  } | null;
}

interface SaStatus {
  readonly daddr: string;
  readonly spi: string;
  readonly oseq: number;
  readonly seq: number;
  readonly packets: number;
  readonly bytes: number;
  readonly thresholdPackets: number;
  readonly thresholdTimerMs: number;
  readonly peakPps: number;
  /** The highest outbound number that may be used; 0: nothing was agreed on. */
  readonly granted: number;
  readonly quiet: boolean;
  /** Null: no standby has a whole account; of ms also: the SA has no timer. */
  readonly exposurePackets: number | null;
  readonly exposureMs: number | null;
  readonly installed: boolean;
}

const tenth = (ms: number): number => Math.round(ms * 10) / 10;

export function statusOf(
  state: State,
  about: {
    readonly kernel: string;
    readonly via: string;
    readonly nowMs: number;
    readonly sas: boolean;
    readonly gateway?: GatewayCounts | undefined;
  },
): Status {
  const { settings, role, term, phase, complete, provenMs, counts } = state;
  const records = [...state.sas];
  const exposure = exposureOf(state, about.nowMs);
  const listed = (record: SaRecord): SaStatus => {
    const { id, counters, thresholds, rate, granted, quiet, installed } = record;
    const exposed = exposure?.of.get(record);
    return {
      daddr: formatAddress(id.daddr, id.family),
      spi: formatSpi(id.spi),
      oseq: counters.oseqHi * 2 ** 32 + counters.oseq,
      seq: counters.seqHi * 2 ** 32 + counters.seq,
      packets: counters.packets,
      bytes: counters.bytes,
      thresholdPackets: thresholds.packets,
      thresholdTimerMs: thresholds.timerMs,
      peakPps: Math.round(packetsPerSecond(rate)),
      granted,
      quiet,
      exposurePackets: exposed?.packets ?? null,
      exposureMs: wholeMs(exposed),
      installed,
    };
  };
  return {
    node: settings.node,
    cluster: settings.cluster,
    version: settings.version,
    kernel: about.kernel,
    via: about.via,
    role,
    term,
    phase,
    complete: role === 'active' || complete,
    bound: state.bound.length > 0,
    peers: [...state.peers.values()].map((peer) => peerStatus(peer, role, about.nowMs)),
    sas: records.length,
    installed: records.filter((r) => r.installed).length,
    policies: state.policies.size,
    held: heldSas(state),
    unseenMs: role === 'standby' && provenMs !== undefined ? Math.round(about.nowMs - provenMs) : null,
    exposure: exposure === undefined ? null : exposureStatus(exposure),
    quiet: records.filter((r) => r.quiet).length,
    counts,
    ...(about.gateway === undefined ? {} : { gateway: about.gateway }),
    ...(about.sas ? { list: records.map(listed) } : {}),
  };
}

function peerStatus({ name, hello, bound, rounds, clock }: Peer, role: Role, nowMs: number): PeerStatus {
  const { offset } = clock;
  return {
    name,
    connected: hello !== undefined,
    ...(hello ? { role: hello.role, term: hello.term } : {}),
    bound,
    behindMs: role === 'active' && rounds.provenMs !== undefined ? Math.round(nowMs - rounds.provenMs) : null,
    clockOffsetMs: offset === undefined ? null : tenth(offset.ms),
    clockUncertaintyMs: offset === undefined ? null : tenth(offset.uncertaintyMs),
  };
}

const wholeMs = (exposure: Exposure | undefined): number | null =>
  exposure !== undefined && Number.isFinite(exposure.ms) ? Math.ceil(exposure.ms) : null;

function exposureStatus(total: TotalExposure): ExposureStatus {
  const { packets, worst, of } = total;
  const most = worst && of.get(worst);
  return {
    packets,
    ms: wholeMs(total),
    worst:
      worst === undefined || most === undefined
        ? null
        : {
            daddr: formatAddress(worst.id.daddr, worst.id.family),
            spi: formatSpi(worst.id.spi),
            packets: most.packets,
            ms: wholeMs(most),
          },
  };
}
