import type { Timer } from './timers.ts';

/** A policy: the structures as they are shown, and what lookups need. */
export interface Policy {
  /** xfrm_userpolicy_info, 168 bytes. */
  readonly info: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  /** Templates as they are shown, 64 bytes each. */
  readonly templates: Uint8Array<ArrayBuffer>;
  readonly type: number;
  readonly dir: number;
  readonly index: number;
  readonly priority: number;
  readonly mark: number;
  readonly markMask: number;
  readonly ifId: number;
  readonly key: string;
  /** When it was added: a number that grows. */
  born: number;
  /** Where it stands among those of its priority: behind all that there were, or where the one stood that it replaces. */
  place: number;
  newer: Policy | undefined;
  older: Policy | undefined;
  timer: Timer | undefined;
  /** When the kernel's timer of it runs first, whether or not it has a limit. */
  firstRunMs: number;
}

/** Whether the kernel's timer of a policy is pending: without limits it runs once. */
export function policyTimerIsPending({ timer, firstRunMs }: Policy, nowMs: number): boolean {
  return nowMs < firstRunMs || (timer !== undefined && timer.dueMs !== Number.POSITIVE_INFINITY);
}
