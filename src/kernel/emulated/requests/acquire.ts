import { hostLittleEndian } from '../../../netlink/index.ts';
import { XfrmGroup, XfrmMsg } from '../../../xfrm/index.ts';
import type { Request } from '../request.ts';
import { writePolicyExtras } from '../write-policy.ts';
import { checkPolicy, constructPolicy, Pol, Tmpl } from './policy-construct.ts';

/** ACQUIRE from user space: one for each template of its policy goes to all key managers (xfrm_user.c:xfrm_add_acquire). */

const little = hostLittleEndian;
/** Byte offsets in xfrm_user_acquire. */
const Acq = { SADDR: 24, POLICY: 96, AALGOS: 264, SEQ: 276, SIZE: 280 } as const;
/** Bytes of xfrm_id, and of the three sets of algorithms. */
const ID = 24;
const ALGOS = 12;
const OUT = 1;

export function acquire(r: Request): number {
  const wrong = checkPolicy(r, Acq.POLICY) || r.outOfMemory();
  if (wrong !== 0) return wrong;
  const { ns } = r;
  // Its mark is shown as it was given: only a database ANDs it with its mask.
  const policy = { ...constructPolicy(r, r.u32(Acq.POLICY + Pol.INDEX), Acq.POLICY), mark: r.markValue() };
  const { templates } = policy;
  // It is in no database: nobody has set the time at which it was added.
  policy.info.fill(0, Pol.ADD_TIME, Pol.USE_TIME);
  const { writer } = ns.host;
  for (let from = 0; from < templates.length; from += Tmpl.SIZE) {
    // The templates of a policy show the algorithms that the request allows, one after the other as they are asked for.
    templates.set(r.slice(Acq.AALGOS, ALGOS), from + Tmpl.AALGOS);
    const at = writer.reset().begin(XfrmMsg.ACQUIRE, 0, 0, 0, Acq.SIZE);
    writer.bytes.set(r.slice(0, Acq.SIZE), at);
    writer.bytes.set(templates.subarray(from, from + ID), at);
    writer.bytes.set(policy.info, at + Acq.POLICY);
    writer.bytes[at + Acq.POLICY + Pol.DIR] = OUT;
    ns.host.acquireSeq = (ns.host.acquireSeq + 1) >>> 0 || 1;
    writer.view.setUint32(at + Acq.SEQ, ns.host.acquireSeq, little);
    writePolicyExtras(ns, policy);
    writer.end();
    ns.multicast(XfrmGroup.ACQUIRE);
  }
  return 0;
}
