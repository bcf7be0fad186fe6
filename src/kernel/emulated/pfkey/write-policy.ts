import { IpsecLevel, IpsecPolicy, PfkeyExt } from '../../../pfkey/index.ts';
import { XfrmMode } from '../../../xfrm/index.ts';
import type { Namespace } from '../namespace.ts';
import { type Policy, policyTimerIsPending } from '../policy.ts';
import { Pol, Tmpl } from '../requests/policy-construct.ts';
import { halfAt, netHalfAt, Sel, wordAt } from '../selector.ts';
import { Ext, ipsecModeOf, Lifetime, Msg, Policy as P, Rule, sockaddrOf, upperProtoOf, WORD } from './layout.ts';

/** A policy as PF_KEY shows it (af_key.c:pfkey_xfrm_policy2msg). */

const BLOCK = 1;
/** Offsets of limits in xfrm_userpolicy_info: of packets, bytes, and time since it was added and first used. */
const HARD = [Pol.LFT + 24, Pol.LFT + 8, Pol.LFT + 40, Pol.LFT + 56] as const;
const SOFT = [Pol.LFT + 16, Pol.LFT, Pol.LFT + 32, Pol.LFT + 48] as const;
const INFINITE = 0xffff_ffff_ffff_ffffn;

/** How many hold a policy: what PF_KEY shows in a field that is reserved. */
interface Holders {
  /** Beside its tables and its timer. */
  readonly others: number;
  /** It is in no table any more. */
  readonly isDeleted?: boolean;
}

/** Writes a whole message. False: a template has a mode that PF_KEY has no word for (EINVAL). */
export function writePolicyMessage(
  ns: Namespace,
  policy: Policy,
  type: number,
  seq: number,
  pid: number,
  { others, isDeleted = false }: Holders,
): boolean {
  const { pfkeyWriter: writer } = ns.host;
  const { info, templates } = policy;
  const family = halfAt(info, Sel.FAMILY);
  const proto = upperProtoOf(info[Sel.PROTO] as number);
  writer.begin(type, 0, seq, pid);
  const saddr = info.subarray(Sel.SADDR, Sel.SADDR + 16);
  const daddr = info.subarray(Sel.DADDR, Sel.DADDR + 16);
  const [prefixS, prefixD] = [info[Sel.PREFIX_S] as number, info[Sel.PREFIX_D] as number];
  writer.address(PfkeyExt.addressSrc, family, saddr, { proto, prefixlen: prefixS, port: netHalfAt(info, Sel.SPORT) });
  writer.address(PfkeyExt.addressDst, family, daddr, { proto, prefixlen: prefixD, port: netHalfAt(info, Sel.DPORT) });
  writeLimits(ns, policy, PfkeyExt.lifetimeHard, HARD);
  writeLimits(ns, policy, PfkeyExt.lifetimeSoft, SOFT);
  const current = writer.extension(PfkeyExt.lifetimeCurrent, Lifetime.SIZE);
  writer.bytes.set(info.subarray(Pol.ADD_TIME, Pol.ADD_TIME + 16), current + Lifetime.ADDTIME);
  const at = writer.extension(PfkeyExt.policy, P.SIZE);
  const allows = info[Pol.ACTION] !== BLOCK;
  const isIpsec = templates.length > 0;
  writer.u16(at + P.TYPE, allows ? (isIpsec ? IpsecPolicy.IPSEC : IpsecPolicy.NONE) : IpsecPolicy.DISCARD);
  writer.bytes[at + P.DIR] = policy.dir + 1;
  writer.u32(at + P.ID, policy.index);
  writer.u32(at + P.PRIORITY, policy.priority);
  // The kernel reckons the length before it writes, with two addresses for each template, and takes those back that it leaves out: with
  // templates of several families not always as many as it has added.
  let missing = 0;
  let pair = 2 * (sockaddrOf(family)?.SIZE ?? 0);
  let words = P.SIZE / WORD;
  for (let tmpl = 0; tmpl < templates.length; tmpl += Tmpl.SIZE) {
    const own = 2 * (sockaddrOf(halfAt(templates, tmpl + Tmpl.FAMILY))?.SIZE ?? 0);
    const isTunnel = templates[tmpl + Tmpl.MODE] === XfrmMode.TUNNEL;
    if (isTunnel) pair = own;
    else missing += own - pair;
    const size = writeRule(ns, templates, tmpl, isTunnel ? own : 0);
    if (size === 0) return false;
    words += size / WORD;
  }
  writer.u16(at + Ext.LEN, words);
  writer.u16(
    Msg.RESERVED,
    others + (isDeleted ? 0 : 1 + Number(policyTimerIsPending(policy, ns.host.clock.monotonicMs()))),
  );
  writer.end(writer.at + missing);
  return true;
}

function writeLimits(
  { host }: Namespace,
  { info, view }: Policy,
  type: number,
  [packets, bytes, added, used]: readonly [number, number, number, number],
): void {
  const { pfkeyWriter: writer } = host;
  const at = writer.extension(type, Lifetime.SIZE);
  if (view.getBigUint64(packets) !== INFINITE) writer.u32(at + Lifetime.ALLOCATIONS, wordAt(info, packets + LOW_AT));
  if (view.getBigUint64(bytes) !== INFINITE) writer.bytes.set(info.subarray(bytes, bytes + 8), at + Lifetime.BYTES);
  writer.bytes.set(info.subarray(added, added + 8), at + Lifetime.ADDTIME);
  writer.bytes.set(info.subarray(used, used + 8), at + Lifetime.USETIME);
}

/** Where in a 64-bit number its lower half is. */
const LOW_AT = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 0 : 4;

/** One sadb_x_ipsecrequest with room for addresses of `addresses` bytes; its size, or 0. */
function writeRule({ host }: Namespace, templates: Uint8Array, tmpl: number, addresses: number): number {
  const mode = ipsecModeOf(templates[tmpl + Tmpl.MODE] as number);
  if (mode < 0) return 0;
  const { pfkeyWriter: writer } = host;
  const size = Rule.SIZE + addresses;
  const at = writer.take(size);
  const reqid = wordAt(templates, tmpl + Tmpl.REQID);
  writer.u16(at + Rule.LEN, size);
  writer.u16(at + Rule.PROTO, templates[tmpl + Tmpl.PROTO] as number);
  writer.bytes[at + Rule.MODE] = mode;
  writer.bytes[at + Rule.LEVEL] = levelOf(templates[tmpl + Tmpl.OPTIONAL] !== 0, reqid);
  writer.u32(at + Rule.REQID, reqid);
  if (addresses === 0) return size;
  const family = halfAt(templates, tmpl + Tmpl.FAMILY);
  const end = (from: number): Uint8Array => templates.subarray(tmpl + from, tmpl + from + 16);
  writer.sockaddr(at + Rule.SIZE, family, end(Tmpl.SADDR));
  writer.sockaddr(at + Rule.SIZE + addresses / 2, family, end(Tmpl.DADDR));
  return size;
}

function levelOf(isOptional: boolean, reqid: number): number {
  if (isOptional) return IpsecLevel.USE;
  return reqid === 0 ? IpsecLevel.REQUIRE : IpsecLevel.UNIQUE;
}
