/** What decides: SA records, roles and terms, the plan of a takeover. Pure logic; everything it wants done is an effect. */
export { termAfter } from './course.ts';
export type { DryRun } from './dry-run.ts';
export {
  type CountersRead,
  type Durable,
  type Effect,
  joined,
  type Reading,
  type TakeoverReport,
  type Write,
} from './effects.ts';
export { type Exposure, exposureOf, type TotalExposure } from './exposure.ts';
export type { CountersEntry, Frame, FrameBody, Role } from './frames.ts';
export type { GrantEntry } from './grants.ts';
export { heldSas } from './held.ts';
export { policyKey } from './install.ts';
export type { Peer } from './peer.ts';
export type { PlanSettings } from './plan.ts';
export { packetsPerSecond } from './rate.ts';
export { Replica } from './replica.ts';
export { allRules, type Rules } from './rules.ts';
export { type Counters, type SaRecord, saKey, type Thresholds } from './sa.ts';
export type { ReplicaSettings, State } from './state.ts';
