import { XfrmGroup, XfrmMsg } from '../../xfrm/index.ts';
import { sendAeventUpdate } from './aevent.ts';
import type { AcquireFacts, MigrateFacts, NewMapping } from './facts.ts';
import type { Namespace } from './namespace.ts';
import * as netlink from './netlink-events.ts';
import * as pfkey from './pfkey/events.ts';
import { sendReplaySet } from './pfkey/replay-notify.ts';
import type { Policy } from './policy.ts';
import { Row, SaState } from './row.ts';

/**
 * Who is told of what happens to SAs and policies, by whatever request, packet or timer it happened (xfrm_state.c and xfrm_policy.c: km_*).
 * `seq` and `pid` are those of the request, in the sender's words.
 */

/** An SA was added (NEWSA) or updated (UPDSA). */
export function announceSa(ns: Namespace, slot: number, type: number, seq: number, pid: number): void {
  netlink.sendSa(ns, slot, type, seq, pid);
  pfkey.sendSa(ns, slot, type, seq, pid);
}

/** An SA that is about to leave its tables was deleted by a request. */
export function announceSaDeleted(ns: Namespace, slot: number, seq: number, pid: number): void {
  ns.sad.words[ns.sad.row(slot) + Row.STATE] = SaState.DEAD;
  netlink.sendSaDeleted(ns, slot, seq, pid);
  pfkey.sendSa(ns, slot, XfrmMsg.DELSA, seq, pid);
}

/** SAs of a protocol, or of all (0, 255), were deleted. */
export function announceSaFlush(ns: Namespace, proto: number, seq: number, pid: number): void {
  netlink.sendSaFlush(ns, proto, seq, pid);
  pfkey.sendSaFlush(ns, proto, seq, pid);
}

/** An SA has reached a limit; `pid` is 0 unless user space says that it has. */
export function announceExpire(ns: Namespace, slot: number, hard: boolean, pid = 0): void {
  netlink.sendExpire(ns, slot, hard, pid);
  pfkey.sendExpire(ns, slot, hard);
}

/** Whether anybody would hear of an SA that is wanted. */
export function hearsAcquire({ host, pfkey }: Namespace): boolean {
  return host.listeners[XfrmGroup.ACQUIRE] !== 0 || pfkey.hasRegistered;
}

/** Asks for an SA. The number under which it was asked for; 0: nobody has heard it. */
export function announceAcquire(ns: Namespace, facts: AcquireFacts): number {
  ns.host.acquireSeq = (ns.host.acquireSeq + 1) >>> 0 || 1;
  const byNetlink = netlink.sendAcquire(ns, facts);
  const byPfkey = pfkey.sendAcquire(ns, facts);
  return byNetlink || byPfkey ? ns.host.acquireSeq : 0;
}

/** What a request has set of an SA's replay state, lifetime or thresholds. */
interface ReplaySet {
  readonly seq: number;
  readonly pid: number;
  /** Not the thresholds alone. */
  readonly hasState: boolean;
}

export function announceReplaySet(ns: Namespace, slot: number, { seq, pid, hasState }: ReplaySet): void {
  sendAeventUpdate(ns, slot, seq, pid);
  if (hasState) sendReplaySet(ns, slot, seq, pid);
}

/** The peer of an SA has another address or port. */
export function announceMapping(ns: Namespace, slot: number, mapping: NewMapping): void {
  netlink.sendMapping(ns, slot, mapping);
  pfkey.sendMapping(ns, slot, mapping);
}

/** A policy was added (NEWPOLICY) or updated (UPDPOLICY). */
export function announcePolicy(ns: Namespace, policy: Policy, type: number, seq: number, pid: number): void {
  netlink.sendPolicy(ns, policy, type, seq, pid);
  pfkey.sendPolicy(ns, policy, type, seq, pid);
}

/** A policy was deleted, by its index or by its selector. */
export function announcePolicyDeleted(ns: Namespace, policy: Policy, byIndex: boolean, seq: number, pid: number): void {
  netlink.sendPolicyDeleted(ns, policy, byIndex, seq, pid);
  pfkey.sendPolicyDeleted(ns, policy, byIndex, seq, pid);
}

/** All policies of a type were deleted. */
export function announcePolicyFlush(ns: Namespace, type: number, seq: number, pid: number): void {
  netlink.sendPolicyFlush(ns, type, seq, pid);
  pfkey.sendPolicyFlush(ns, type, seq, pid);
}

/** A policy has reached a limit in time. PF_KEY is not told (af_key.c:key_notify_policy_expire). */
export function announcePolicyExpire(ns: Namespace, policy: Policy, hard: boolean, pid = 0): void {
  netlink.sendPolicyExpire(ns, policy, hard, pid);
}

export function announceMigrate(ns: Namespace, facts: MigrateFacts): void {
  netlink.sendMigrate(ns, facts);
  pfkey.sendMigrate(ns, facts);
}
