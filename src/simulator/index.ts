/** Whole clusters on a virtual clock, from one seed: what happens to them, and whether a safety rule breaks. */
export type { Violation } from './checks.ts';
export { shrink } from './shrink.ts';
export { type Failure, planOfWorld, type RuleSwitch, type SimulateOptions, simulate, type Totals } from './simulate.ts';
export { describePlan, formatLine, type StoryLine, storyOf } from './story.ts';
