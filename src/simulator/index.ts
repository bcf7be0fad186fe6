/** Whole clusters on a virtual clock, from one seed: what happens to them, and whether a safety rule breaks. */
export { shrink } from './shrink.ts';
export { type Failure, type RuleSwitch, simulate, type Totals } from './simulate.ts';
export { describePlan, formatLine, storyOf } from './story.ts';
