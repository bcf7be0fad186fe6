import { IpsecDir, IpsecLevel, IpsecPolicy, PfkeyExt, PfkeyMsg } from '../../../pfkey/index.ts';
import { XfrmMode, XfrmMsg } from '../../../xfrm/index.ts';
import { Errno } from '../errno.ts';
import type { Namespace } from '../namespace.ts';
import type { Request } from '../request.ts';
import { Pol, TEMPLATES_MAX, Tmpl, templateProtocols } from '../requests/policy-construct.ts';
import { Sel, wordAt } from '../selector.ts';
import { POLICY_INFO } from '../write-policy.ts';
import { netlinkRequest } from './as-netlink.ts';
import { Address, Lifetime, Policy, Rule, xfrmModeOf, xfrmProtoOf } from './layout.ts';
import type { PfkeyRequest } from './request.ts';

/** The policy that X_SPDADD and its like ask for, as netlink would ask for it (af_key.c: pfkey_spdadd, parse_ipsecrequests). */

const TMPL = 5;
const ALLOW = 0;
const BLOCK = 1;
/** The highest reqid that user space may choose for LEVEL_UNIQUE (IPSEC_MANUAL_REQID_MAX). */
const MANUAL_REQID_MAX = 0x3fff;
/** How many reqids are tried: the kernel goes on until it has been all the way around. */
const REQID_TRIES_MAX = 1 << 20;

/** The request for netlink's half, or a positive errno. */
export function policyRequest(r: PfkeyRequest): Request | number {
  const at = r.at(PfkeyExt.policy);
  if (!r.hasAddresses() || at < 0) return Errno.EINVAL;
  const type = r.u16(at + Policy.TYPE);
  const dir = r.u8(at + Policy.DIR);
  if (type > IpsecPolicy.IPSEC || dir === 0 || dir > IpsecDir.FWD) return Errno.EINVAL;
  const templates = type === IpsecPolicy.IPSEC ? templatesOf(r, at) : [];
  if (typeof templates === 'number') return templates;
  const kind = r.type === PfkeyMsg.X_SPDUPDATE ? XfrmMsg.UPDPOLICY : XfrmMsg.NEWPOLICY;
  return netlinkRequest(r.ns, kind, POLICY_INFO, r, (writer, body) => {
    writer.bytes.set(selectorOf(r), body);
    writeLimits(r, writer.bytes, body, PfkeyExt.lifetimeHard, [24, 8, 40, 56]);
    writeLimits(r, writer.bytes, body, PfkeyExt.lifetimeSoft, [16, 0, 32, 48]);
    const { bytes } = writer;
    bytes.set(r.bytes.subarray(at + Policy.PRIORITY, at + Policy.PRIORITY + 4), body + Pol.PRIORITY);
    bytes[body + Pol.DIR] = dir - 1;
    bytes[body + Pol.ACTION] = type === IpsecPolicy.DISCARD ? BLOCK : ALLOW;
    if (templates.length > 0) writer.copy(TMPL, Uint8Array.from(Buffer.concat(templates)));
  });
}

/** The xfrm_selector of the two addresses: that of the destination says which protocol. */
export function selectorOf(r: PfkeyRequest): Uint8Array {
  const selector = new Uint8Array(Sel.SIZE);
  const view = new DataView(selector.buffer);
  const src = r.at(PfkeyExt.addressSrc);
  const dst = r.at(PfkeyExt.addressDst);
  selector.set(r.addressAt(src), Sel.SADDR);
  selector.set(r.addressAt(dst), Sel.DADDR);
  selector.set(new Uint8Array(Uint16Array.of(r.familyAt(src)).buffer), Sel.FAMILY);
  selector[Sel.PREFIX_S] = r.u8(src + Address.PREFIXLEN);
  selector[Sel.PREFIX_D] = r.u8(dst + Address.PREFIXLEN);
  selector[Sel.PROTO] = xfrmProtoOf(r.u8(dst + Address.PROTO));
  for (const [from, port, mask] of [
    [src, Sel.SPORT, Sel.SPORT_MASK],
    [dst, Sel.DPORT, Sel.DPORT_MASK],
  ] as const) {
    view.setUint16(port, r.portAt(from));
    if (r.portAt(from) !== 0) view.setUint16(mask, 0xffff);
  }
  return selector;
}

/** `offsets`: in xfrm_lifetime_cfg, of packets, bytes, and time since added and used. */
function writeLimits(
  r: PfkeyRequest,
  bytes: Uint8Array,
  body: number,
  type: number,
  [packets, octets, added, used]: readonly [number, number, number, number],
): void {
  const at = r.at(type);
  const lft = body + Pol.LFT;
  const put = (to: number, from: number, length: number): void => {
    const given = at < 0 ? nothing : r.bytes.subarray(at + from, at + from + length);
    if (given.every((byte) => byte === 0)) bytes.fill(0xff, lft + to, lft + to + 8);
    else bytes.set(given, lft + to + (length === 4 ? LOW_AT : 0));
  };
  put(packets, Lifetime.ALLOCATIONS, 4);
  put(octets, Lifetime.BYTES, 8);
  if (at < 0) return;
  bytes.set(r.bytes.subarray(at + Lifetime.ADDTIME, at + Lifetime.ADDTIME + 8), lft + added);
  bytes.set(r.bytes.subarray(at + Lifetime.USETIME, at + Lifetime.USETIME + 8), lft + used);
}

const nothing = new Uint8Array(0);
const LOW_AT = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 0 : 4;

/** The templates of the policy at `at`, or a positive errno. */
function templatesOf(r: PfkeyRequest, at: number): Uint8Array[] | number {
  const templates: Uint8Array[] = [];
  const end = at + r.lengthAt(at);
  for (let rule = at + Policy.SIZE; end - rule >= Rule.SIZE; ) {
    const length = r.u16(rule + Rule.LEN);
    if (length > end - rule || length < Rule.SIZE) return Errno.EINVAL;
    const template = templates.length >= TEMPLATES_MAX ? Errno.ELOOP : templateOf(r, at, rule, length);
    if (typeof template === 'number') return template;
    templates.push(template);
    rule += length;
  }
  return templates;
}

function templateOf(r: PfkeyRequest, policy: number, rule: number, length: number): Uint8Array | number {
  const proto = r.u16(rule + Rule.PROTO);
  const given = r.u8(rule + Rule.MODE);
  const mode = xfrmModeOf(given);
  if (given === 0 || !templateProtocols.includes(proto) || mode < 0) return Errno.EINVAL;
  const template = new Uint8Array(Tmpl.SIZE);
  template[Tmpl.PROTO] = proto;
  template[Tmpl.MODE] = mode;
  const level = r.u8(rule + Rule.LEVEL);
  if (level === IpsecLevel.USE) {
    const isTunnel = mode === XfrmMode.TUNNEL || mode === XfrmMode.BEET;
    if (isTunnel && r.u8(policy + Policy.DIR) === IpsecDir.OUTBOUND) return Errno.EINVAL;
    template[Tmpl.OPTIONAL] = 1;
  } else if (level === IpsecLevel.UNIQUE) {
    const wanted = r.u32(rule + Rule.REQID);
    const reqid = wanted === 0 || wanted > MANUAL_REQID_MAX ? newReqid(r.ns) : wanted;
    if (reqid === 0) return Errno.ENOBUFS;
    template.set(new Uint8Array(Uint32Array.of(reqid).buffer), Tmpl.REQID);
  }
  let family = r.familyAt(r.at(PfkeyExt.addressSrc));
  if (mode === XfrmMode.TUNNEL) {
    const ends = r.pairAt(rule + Rule.SIZE, rule + length);
    if (ends === undefined) return Errno.EINVAL;
    template.set(ends.first, Tmpl.SADDR);
    template.set(ends.second, Tmpl.DADDR);
    ({ family } = ends);
  }
  template.set(new Uint8Array(Uint16Array.of(family).buffer), Tmpl.FAMILY);
  return template;
}

/** A reqid that no policy of the namespace has; 0: there is none (gen_reqid). */
function newReqid({ host, spd }: Namespace): number {
  const taken = new Set<number>();
  for (let policy = spd.newest; policy !== undefined; policy = policy.older) {
    for (let at = 0; at < policy.templates.length; at += Tmpl.SIZE)
      taken.add(wordAt(policy.templates, at + Tmpl.REQID));
  }
  for (let i = 0; i < REQID_TRIES_MAX; i++) {
    host.pfkeyReqid = (host.pfkeyReqid + 1) >>> 0 || MANUAL_REQID_MAX + 1;
    if (!taken.has(host.pfkeyReqid)) return host.pfkeyReqid;
  }
  return 0;
}
