/** What decides: SA records, roles and terms, the plan of a takeover. Pure logic; everything it wants done is an effect. */
export type { DryRun } from './dry-run.ts';
export type { Durable, Effect, Reading, TakeoverReport, Write } from './effects.ts';
export type { CountersEntry, Frame, FrameBody, Role } from './frames.ts';
export type { GrantEntry } from './grants.ts';
export type { PlanSettings } from './plan.ts';
export { packetsPerSecond } from './rate.ts';
export { Replica } from './replica.ts';
export type { Counters, SaRecord } from './sa.ts';
export type { ReplicaSettings, State } from './state.ts';
