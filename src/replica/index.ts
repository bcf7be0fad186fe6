/** What decides: SA records, roles and terms, the plan of a takeover. Pure logic; everything it wants done is an effect. */

export type { DryRun } from './dry-run.ts';
export { type Exposure, exposureOf, type TotalExposure } from './exposure.ts';
export { termAfter } from './reign/course.ts';
export { Replica } from './replica.ts';
export { allRules, type Rules } from './rules.ts';
export type { Counters } from './sa/counters.ts';
export { policyKey } from './sa/install.ts';
export type { PlanSettings } from './sa/plan.ts';
export { packetsPerSecond } from './sa/rate.ts';
export type { SaRecord, Thresholds } from './sa/record.ts';
export { saKey } from './sa/table.ts';
export { heldSas } from './standby/held.ts';
export {
  type CountersRead,
  type Durable,
  type Effect,
  joined,
  type Reading,
  type TakeoverReport,
  type Write,
} from './state/effects.ts';
export type { CountersEntry, Frame, FrameBody, GrantEntry, Role } from './state/frames.ts';
export type { Peer } from './state/peer.ts';
export type { ReplicaSettings } from './state/settings.ts';
export type { State } from './state/state.ts';
