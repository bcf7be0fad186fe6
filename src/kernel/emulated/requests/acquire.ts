import { XfrmGroup, XfrmMsg } from '../../../xfrm/index.ts';
import type { Request } from '../request.ts';
import { writePolicyExtras } from '../write-policy.ts';
import { checkPolicy, constructPolicy, Pol } from './policy-construct.ts';

/** ACQUIRE from user space: sent on to all key managers (xfrm_user.c:xfrm_add_acquire). */

/** Bytes of xfrm_user_acquire, and where its policy starts. */
const SIZE = 280;
const POLICY = 96;

export function acquire(r: Request): number {
  const wrong = checkPolicy(r, POLICY) || r.outOfMemory();
  if (wrong !== 0) return wrong;
  const { ns } = r;
  const policy = constructPolicy(r, r.u32(POLICY + Pol.INDEX), POLICY);
  const { writer } = ns.host;
  const at = writer.reset().begin(XfrmMsg.ACQUIRE, 0, 0, 0, SIZE);
  writer.bytes.set(r.slice(0, SIZE), at);
  writePolicyExtras(ns, policy);
  writer.end();
  ns.multicast(XfrmGroup.ACQUIRE);
  return 0;
}
