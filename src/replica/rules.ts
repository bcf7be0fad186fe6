/** The safety rules, each of which the simulator can switch off to see that its checks notice. A daemon has them all. */
export interface Rules {
  /** An outbound number moves up at a takeover by what may have been sent unseen (S1). */
  readonly skip: boolean;
  /** A takeover goes on above what the standby has acknowledged (S1). */
  readonly grants: boolean;
  /** The kernel keeps to it, in mode `safe` (S1). */
  readonly ceiling: boolean;
  /** An inbound window starts closed above what may have been accepted unseen (S2). */
  readonly strict: boolean;
  /** A frame of an older term has no effect (S4). */
  readonly terms: boolean;
  /** A reading or a handle that is older than a deletion does not bring an SA back (S3). */
  readonly generations: boolean;
  /** An SA in a standby's kernel cannot send (S1). */
  readonly parked: boolean;
  /** A new term counts once it is on disk (S4). */
  readonly durable: boolean;
  /** A standby without a whole account is not promoted (S5). */
  readonly complete: boolean;
  /** Counters that are behind what is known are not followed (S3). */
  readonly monotonic: boolean;
  /** Of three nodes or more, a majority has to agree to a takeover (S1). */
  readonly votes: boolean;
  /** In a handover, what was sent until the SAs were shut counts (S1). */
  readonly drain: boolean;
}

export const allRules: Rules = {
  skip: true,
  grants: true,
  ceiling: true,
  strict: true,
  terms: true,
  generations: true,
  parked: true,
  durable: true,
  complete: true,
  monotonic: true,
  votes: true,
  drain: true,
};
