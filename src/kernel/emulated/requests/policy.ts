import { XfrmMsg } from '../../../xfrm/index.ts';
import { Errno } from '../errno.ts';
import { announcePolicy, announcePolicyDeleted, announcePolicyExpire, announcePolicyFlush } from '../key-managers.ts';
import type { Namespace } from '../namespace.ts';
import type { Policy } from '../policy.ts';
import { deletePolicy, startPolicyTimer } from '../policy-timer.ts';
import type { Request } from '../request.ts';
import { Sel } from '../selector.ts';
import { policyKey } from '../spd.ts';
import { POLICY_INFO, writePolicy } from '../write-policy.ts';
import { checkDirection, checkPolicy, checkType, constructPolicy, Pol, policyType } from './policy-construct.ts';
import { A } from './sa-check.ts';

/** NEWPOLICY, UPDPOLICY, GETPOLICY, DELPOLICY, FLUSHPOLICY, POLEXPIRE. */

/** Byte offsets in xfrm_userpolicy_id. */
const Id = { INDEX: 56, DIR: 60 } as const;

export function newPolicy(r: Request): number {
  return checkPolicy(r) || r.outOfMemory() || putPolicy(r);
}

/** Makes a policy of a checked request and puts it into the database. */
export function putPolicy(r: Request): number {
  const { ns } = r;
  const dir = r.u8(Pol.DIR);
  const key = policyKey(r.slice(0, Sel.SIZE), dir, policyType(r), r.mark(), r.markMask(), r.attributes.u32(A.IF_ID));
  const old = ns.spd.byKey(key);
  if (old !== undefined && r.type === XfrmMsg.NEWPOLICY) return Errno.EEXIST;
  const policy = constructPolicy(r, old?.index ?? newIndex(ns, dir, r.u32(Pol.INDEX)));
  if (old !== undefined) deletePolicy(ns, old);
  ns.spd.insert(policy, old);
  startPolicyTimer(ns, policy);
  if (old === undefined && ns.spd.isCrowded(dir)) ns.growPolicyTables();
  announcePolicy(ns, policy, r.type, r.seq, r.pid);
  return 0;
}

/** The wanted index if it is free, else the next one of the machine's counter. */
function newIndex(ns: Namespace, dir: number, wanted: number): number {
  if (wanted !== 0 && ns.spd.byIndex(wanted) === undefined) return wanted;
  for (;;) {
    const index = (ns.host.policyIndex | dir) >>> 0;
    ns.host.policyIndex = (ns.host.policyIndex + 8) >>> 0;
    if (index !== 0 && ns.spd.byIndex(index) === undefined) return index;
  }
}

/** The policy that xfrm_userpolicy_id at `base` names; or a positive errno. */
function find(r: Request, index: number, dir: number): Policy | number {
  const wrong = checkType(r) || checkDirection(r, dir);
  if (wrong !== 0) return wrong;
  const { spd } = r.ns;
  const [mark, mask, ifId] = [r.markValue(), r.markMask(), r.attributes.u32(A.IF_ID)];
  if (index === 0) {
    return spd.byKey(policyKey(r.slice(0, Sel.SIZE), dir, policyType(r), mark, mask, ifId)) ?? Errno.ENOENT;
  }
  const policy = spd.byIndex(index);
  if (policy === undefined || policy.dir !== dir || policy.type !== policyType(r)) return Errno.ENOENT;
  return policy.mark === mark && policy.markMask === mask && policy.ifId === ifId ? policy : Errno.ENOENT;
}

export function getPolicy(r: Request): number {
  const policy = find(r, r.u32(Id.INDEX), r.u8(Id.DIR));
  if (typeof policy === 'number') return policy;
  if (r.outOfMemory() !== 0) return Errno.ENOMEM;
  r.ns.host.writer.reset();
  writePolicy(r.ns, policy, XfrmMsg.NEWPOLICY, 0, r.seq, r.requester.portId);
  r.requester.replyOfPage();
  return 0;
}

export function delPolicy(r: Request): number {
  const { ns } = r;
  const index = r.u32(Id.INDEX);
  const policy = find(r, index, r.u8(Id.DIR));
  if (typeof policy === 'number') return policy;
  deletePolicy(ns, policy);
  announcePolicyDeleted(ns, policy, index !== 0, r.seq, r.pid);
  return 0;
}

export function flushPolicy(r: Request): number {
  const wrong = checkType(r);
  if (wrong !== 0) return wrong;
  const { ns } = r;
  const type = policyType(r);
  if (flushPolicies(ns, type) > 0) announcePolicyFlush(ns, type, r.seq, r.pid);
  return 0;
}

/** Deletes all policies of a type, without a word; how many there were. */
export function flushPolicies(ns: Namespace, type: number): number {
  let deleted = 0;
  for (let policy = ns.spd.newest; policy !== undefined; policy = policy.older) {
    if (policy.type !== type) continue;
    deletePolicy(ns, policy);
    deleted++;
  }
  return deleted;
}

/** POLEXPIRE from user space (xfrm_user.c:xfrm_add_pol_expire). */
export function expirePolicy(r: Request): number {
  const { ns } = r;
  const policy = find(r, r.u32(Pol.INDEX), r.u8(Pol.DIR));
  if (typeof policy === 'number') return policy;
  const hard = r.u8(POLICY_INFO) !== 0;
  if (hard) deletePolicy(ns, policy);
  announcePolicyExpire(ns, policy, hard, r.pid);
  return 0;
}
