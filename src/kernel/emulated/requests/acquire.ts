import { announceAcquire } from '../key-managers.ts';
import type { Request } from '../request.ts';
import { halfAt, Sel } from '../selector.ts';
import { checkPolicy, constructPolicy, Pol, Tmpl } from './policy-construct.ts';

/** ACQUIRE from user space: one for each template of its policy goes to all key managers (xfrm_user.c:xfrm_add_acquire). */

/** Byte offsets in xfrm_user_acquire. */
const Acq = { SADDR: 24, SEL: 40, POLICY: 96, AALGOS: 264 } as const;
/** Bytes of xfrm_id, and of the three sets of algorithms. */
const ID = 24;
const ALGOS = 12;

export function acquire(r: Request): number {
  const wrong = checkPolicy(r, Acq.POLICY) || r.outOfMemory();
  if (wrong !== 0) return wrong;
  const { ns } = r;
  // Its mark is shown as it was given: only a database ANDs it with its mask.
  const policy = { ...constructPolicy(r, r.u32(Acq.POLICY + Pol.INDEX), Acq.POLICY), mark: r.markValue() };
  const { templates } = policy;
  // It is in no database: nobody has set the time at which it was added.
  policy.info.fill(0, Pol.ADD_TIME, Pol.USE_TIME);
  for (let template = 0; template < templates.length; template += Tmpl.SIZE) {
    // The templates of a policy show the algorithms that the request allows, one after the other as they are asked for.
    templates.set(r.slice(Acq.AALGOS, ALGOS), template + Tmpl.AALGOS);
    announceAcquire(ns, {
      family: halfAt(templates, template + Tmpl.FAMILY),
      proto: templates[template + Tmpl.PROTO] as number,
      id: templates.subarray(template, template + ID),
      saddr: r.slice(Acq.SADDR, 16),
      selector: r.slice(Acq.SEL, Sel.SIZE),
      policy,
      template,
    });
  }
  return 0;
}
