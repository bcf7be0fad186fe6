import { hostLittleEndian } from '../../netlink/index.ts';
import { announcePolicyExpire } from './key-managers.ts';
import type { Namespace } from './namespace.ts';
import type { Policy } from './policy.ts';
import { Pol } from './requests/policy-construct.ts';
import { HIGH, LOW } from './row.ts';
import { Timer } from './timers.ts';

/** Limits of policies in time (xfrm_policy.c:xfrm_policy_timer). */

const little = hostLittleEndian;
const FIRST_RUN_MS = 1000;
/** How long until a soft limit that has passed is told again (XFRM_KM_TIMEOUT). */
const REMIND_SECONDS = 30;
/** Byte offsets of the limits in xfrm_userpolicy_info: the last four numbers of its xfrm_lifetime_cfg. */
const Limit = {
  SOFT_ADD: Pol.LFT + 32,
  HARD_ADD: Pol.LFT + 40,
  SOFT_USE: Pol.LFT + 48,
  HARD_USE: Pol.LFT + 56,
} as const;

/** Takes a policy out of the database, without a word to anybody. */
export function deletePolicy(ns: Namespace, policy: Policy): void {
  if (policy.timer !== undefined) ns.host.timers.cancel(policy.timer);
  ns.spd.remove(policy);
}

const seconds = ({ view }: Policy, at: number): number => Number(view.getBigInt64(at, little));

function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at + 4 * LOW, value % 0x1_0000_0000, little);
  view.setUint32(at + 4 * HIGH, Math.floor(value / 0x1_0000_0000), little);
}

/** A packet has met the policy. */
export function touchPolicy(ns: Namespace, policy: Policy): void {
  setUint64(policy.view, Pol.USE_TIME, ns.host.seconds());
}

/** Starts the timer of a policy that has a limit in time: its first run comes after one second. */
export function startPolicyTimer(ns: Namespace, policy: Policy): void {
  policy.firstRunMs = ns.host.clock.monotonicMs() + FIRST_RUN_MS;
  if (Object.values(Limit).every((at) => seconds(policy, at) === 0)) return;
  policy.timer = new Timer(() => onTimer(ns, policy));
  ns.host.timers.arm(policy.timer, policy.firstRunMs);
}

function onTimer(ns: Namespace, policy: Policy): void {
  const { host } = ns;
  const now = host.seconds();
  const added = seconds(policy, Pol.ADD_TIME);
  const used = seconds(policy, Pol.USE_TIME) || added;
  let next = Number.POSITIVE_INFINITY;
  for (const [at, since] of [
    [Limit.HARD_ADD, added],
    [Limit.HARD_USE, used],
  ] as const) {
    if (seconds(policy, at) === 0) continue;
    const left = seconds(policy, at) + since - now;
    if (left <= 0) {
      deletePolicy(ns, policy);
      announcePolicyExpire(ns, policy, true);
      return;
    }
    next = Math.min(next, left);
  }
  let warn = false;
  for (const [at, since] of [
    [Limit.SOFT_ADD, added],
    [Limit.SOFT_USE, used],
  ] as const) {
    if (seconds(policy, at) === 0) continue;
    const left = seconds(policy, at) + since - now;
    warn ||= left <= 0;
    next = Math.min(next, left <= 0 ? REMIND_SECONDS : left);
  }
  if (warn) announcePolicyExpire(ns, policy, false);
  if (policy.timer !== undefined && next !== Number.POSITIVE_INFINITY) {
    host.timers.arm(policy.timer, host.clock.monotonicMs() + next * 1000);
  }
}
