import { XfrmGroup, XfrmMsg } from '../../xfrm/index.ts';
import { sendAeventUpdate } from './aevent.ts';
import type { Namespace } from './namespace.ts';
import * as netlink from './netlink-events.ts';
import * as pfkey from './pfkey/events.ts';
import { sendReplaySet } from './pfkey/replay.ts';
import { Row, SaState } from './row.ts';
import type { Policy } from './spd.ts';

/**
 * Who is told of what happens to SAs and policies, by whatever request, packet or timer it happened (xfrm_state.c and xfrm_policy.c: km_*).
 * `seq` and `pid` are those of the request, in the sender's words.
 */

/** What key managers are asked for: an SA for one template of a policy. */
export interface AcquireFacts {
  readonly family: number;
  readonly proto: number;
  /** xfrm_id, 24 bytes. */
  readonly id: Uint8Array;
  /** 16 bytes. */
  readonly saddr: Uint8Array;
  /** xfrm_selector, 56 bytes. */
  readonly selector: Uint8Array;
  readonly policy: Policy;
  /** Where its template starts in `policy.templates`. */
  readonly template: number;
}

/** Where the peer of an SA behind a NAT is now. */
export interface NewMapping {
  /** 16 bytes. */
  readonly saddr: Uint8Array;
  readonly oldPort: number;
  readonly port: number;
}

/** SAs and templates that have moved. */
export interface MigrateFacts {
  /** xfrm_selector, 56 bytes. */
  readonly selector: Uint8Array;
  readonly dir: number;
  /** Of the policy. */
  readonly type: number;
  /** xfrm_user_migrate, 76 bytes each. */
  readonly moves: readonly Uint8Array[];
  /** xfrm_user_kmaddress, 40 bytes. */
  readonly kmAddress: Uint8Array | undefined;
  /** xfrm_encap_tmpl, 24 bytes. */
  readonly encap: Uint8Array | undefined;
}

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
