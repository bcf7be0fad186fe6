import type { Namespace } from './namespace.ts';
import type { Policy } from './policy.ts';
import { writeMark } from './write-sa.ts';

/** Policies as the kernel shows them (xfrm_user.c: copy_to_user_tmpl, copy_to_user_policy_type). */

const TMPL = 5;
const POLICY_TYPE = 16;
const IF_ID = 31;
export const POLICY_INFO = 168;

export function writePolicyType(ns: Namespace, type: number): void {
  const { writer } = ns.host;
  const at = writer.attribute(POLICY_TYPE, 6);
  writer.bytes[at] = type;
}

export function writePolicyExtras(ns: Namespace, policy: Policy): void {
  const { writer } = ns.host;
  if (policy.templates.length > 0) writer.copy(TMPL, policy.templates);
  writePolicyType(ns, policy.type);
  writeMark(writer, policy.mark, policy.markMask);
  if (policy.ifId !== 0) writer.u32(IF_ID, policy.ifId);
}

export function writePolicy(
  ns: Namespace,
  policy: Policy,
  type: number,
  flags: number,
  seq: number,
  pid: number,
): void {
  const { writer } = ns.host;
  const at = writer.begin(type, flags, seq, pid, POLICY_INFO);
  writer.bytes.set(policy.info, at);
  writePolicyExtras(ns, policy);
  writer.end();
}
