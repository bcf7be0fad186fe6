/** What the lab does beside strongSwan, one step after the other, in one world. */
import type { Expectation } from '../results.ts';
import { ceilings } from './ceilings.ts';
import { cutOff } from './cut-off.ts';
import { death } from './death.ts';
import type { Ground } from './ground.ts';
import { negotiate } from './negotiate.ts';
import { rekey } from './rekey.ts';
import { renegotiate } from './renegotiate.ts';
import { stop } from './stop.ts';
import { switchover } from './switchover.ts';
import { timed } from './timed.ts';
import { traps } from './traps.ts';
import { unanswered } from './unanswered.ts';

/** What a step has measured. */
export type Facts = Readonly<Record<string, number | string>>;

export interface Step {
  readonly name: string;
  readonly about: string;
  readonly run: (ground: Ground) => Promise<Facts>;
}

export interface StepResult {
  readonly name: string;
  readonly ok: boolean;
  readonly facts: Facts;
  readonly expectations: readonly Expectation[];
  readonly error?: string;
}

export interface StrongswanResult {
  readonly ok: boolean;
  readonly kernel: string;
  readonly version: string;
  readonly seconds: number;
  readonly steps: readonly StepResult[];
}

export const STEPS: readonly Step[] = [
  { name: 'negotiate', about: 'charon negotiates, the standby has it', run: negotiate },
  { name: 'ceilings', about: "ceilings and charon's own limits, under traffic", run: ceilings },
  { name: 'timed', about: 'a soft limit in seconds, beside ceilings', run: timed },
  { name: 'rekey', about: 're-keys that charon is told to do, under traffic', run: rekey },
  { name: 'switchover', about: 'to the standby and back, under traffic', run: switchover },
  { name: 'traps', about: 'a charon with policies of its own on the standby', run: traps },
  { name: 'death', about: 'the active dies with its charon, the standby takes over', run: death },
  { name: 'renegotiate', about: 'the charon of the new active negotiates anew', run: renegotiate },
  { name: 'cut-off', about: 'the active loses its standby and stops at its ceilings', run: cutOff },
  { name: 'unanswered', about: 'the peer wants to re-key, and nobody knows its IKE_SA', run: unanswered },
  { name: 'stop', about: "the active's charon is stopped", run: stop },
];
