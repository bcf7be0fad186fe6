/** What a demo reports; `xfrmsync demo --json` prints it as its last line. Names are those of the lab's drill where it has them. */

export interface DemoResult {
  /** Every expectation was met. */
  readonly ok: boolean;
  readonly seed: number;
  /** How the gateways' daemons spoke with their kernels, as their `status` says. */
  readonly via: string;
  readonly sas: number;
  readonly packetsSent: number;
  readonly packetsLost: number;
  readonly replaysTried: number;
  readonly replaysAccepted: number;
  readonly outboundNumbersReused: number;
  readonly spisKept: number;
  /** From the crash until the watcher was sure of it. */
  readonly detectMs: number;
  /** As the daemon that took over reports it. */
  readonly takeoverMs: number;
  /** The longest time without a delivery around the crash, in the direction that was silent for longer. */
  readonly outageMs: number;
  readonly framesRecorded: number;
  readonly seconds: number;
  readonly exposure: Exposure;
  readonly takeover: Takeover;
  readonly switchover: Switchover;
  readonly phases: readonly Phase[];
  readonly replays: readonly Replay[];
  readonly expectations: readonly Expectation[];
}

/** What the standby had not seen when the active died. */
export interface Exposure {
  /** The standby's `status` just before the crash: for how long nothing was known of the active. */
  readonly unseenMs: number;
  /** The most packets of an SA that this status made possible: its threshold, and its peak rate in the unseen time. */
  readonly packetsPerSaBound: number;
  /** What it was, by the attacker's recording: outbound packets beyond the numbers in that status, up to the crash. */
  readonly sas: number;
  readonly packets: number;
  readonly packetsPerSaMax: number;
  /** Inbound packets that were refused after the takeover, as the closed windows allowed for what may have been accepted unseen. */
  readonly lostToClosedWindows: number;
}

export interface Silence {
  /** The longer one of the two directions. */
  readonly outageMs: number;
  readonly outageOutMs: number;
  /** With closed windows until they are open again. */
  readonly outageInMs: number;
  /** The longest silence of single flows, which send every `intervalMs` or more often. */
  readonly flowSilenceMs: { readonly median: number; readonly max: number };
}

export interface Change extends Silence {
  /** The `promote` command from its start to its answer. */
  readonly commandMs: number;
  readonly takeoverMs: number;
  readonly intervalMs: number;
}

export interface Takeover extends Change {
  readonly detectMs: number;
  /** What the daemon took as unseen, and how far it moved numbers and windows for that. */
  readonly unseenMs: number;
  readonly skipMax: number;
  readonly closedMax: number;
  /** Outbound numbers that no gateway used, by the recording; over the SAs. */
  readonly skipped: { readonly min: number; readonly max: number };
  /** Packets sent while nobody held the address, and after that. */
  readonly lostInOutage: number;
  readonly lostAfterwards: number;
  /** Packets sent beside the usual traffic to get past closed windows. */
  readonly packetsPushed: number;
}

export type Switchover = Change;

/** A time of the demo; each packet belongs to the phase in which it was sent. */
export interface Phase {
  readonly name: string;
  readonly seconds: number;
  readonly packetsSent: number;
  readonly packetsLost: number;
}

export interface Replay {
  readonly name: string;
  readonly sent: number;
  /** By the replay counters of the target's SAs; null where live packets were refused at the same time. */
  readonly refused: number | null;
  /** Delivered to a host a second time: the attack worked. */
  readonly accepted: number;
  /** Delivered for the first time: packets of the outage that nobody had got. Not a replay. */
  readonly late: number;
}

export interface Expectation {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** Those that reached the target: a packet that a full socket buffer swallowed tries nothing. */
export const triedOf = ({ sent, refused, accepted, late }: Replay): number =>
  refused === null ? sent : refused + accepted + late;

export const sum = (numbers: Iterable<number>): number => {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
};
