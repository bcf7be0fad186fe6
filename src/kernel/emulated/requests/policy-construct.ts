import { hostLittleEndian } from '../../../netlink/index.ts';
import { IpProto, XfrmMode } from '../../../xfrm/index.ts';
import { Errno } from '../errno.ts';
import type { Policy } from '../policy.ts';
import type { Request } from '../request.ts';
import { Sel } from '../selector.ts';
import { DIRECTIONS, policyKey } from '../spd.ts';
import { POLICY_INFO } from '../write-policy.ts';
import { A, checkSecCtx } from './sa-check.ts';

/** Checks of NEWPOLICY, UPDPOLICY and ACQUIRE in the kernel's order, and the policy made of it (xfrm_user.c:xfrm_policy_construct). */

const little = hostLittleEndian;
const INET = 2;
const INET6 = 10;

/** Byte offsets in xfrm_userpolicy_info. */
export const Pol = {
  LFT: 56,
  CURLFT: 120,
  ADD_TIME: 136,
  USE_TIME: 144,
  PRIORITY: 152,
  INDEX: 156,
  DIR: 160,
  ACTION: 161,
  FLAGS: 162,
  SHARE: 163,
} as const;

/** Byte offsets in xfrm_user_tmpl. */
export const Tmpl = {
  DADDR: 0,
  SPI: 16,
  PROTO: 20,
  FAMILY: 24,
  SADDR: 28,
  REQID: 44,
  MODE: 48,
  SHARE: 49,
  OPTIONAL: 50,
  AALGOS: 52,
  SIZE: 64,
} as const;

const TMPL = 5;
const POLICY_TYPE = 16;
/** XFRM_MAX_DEPTH. */
export const TEMPLATES_MAX = 6;
const MODE_MAX = 5;
const ACTION_MAX = 1;
const SHARE_MAX = 3;
const TYPE_MAX = 1;
const OUT = 1;

/** `base`: where xfrm_userpolicy_info starts in the fixed part (in ACQUIRE it is further behind). */
export function checkPolicy(r: Request, base = 0): number {
  if (r.u8(base + Pol.SHARE) > SHARE_MAX) return r.fail(Errno.EINVAL, 'Invalid policy share');
  if (r.u8(base + Pol.ACTION) > ACTION_MAX) return r.fail(Errno.EINVAL, 'Invalid policy action');
  const prefix = Math.max(r.u8(base + Sel.PREFIX_D), r.u8(base + Sel.PREFIX_S));
  switch (r.u16(base + Sel.FAMILY)) {
    case INET:
      if (prefix > 32) return r.fail(Errno.EINVAL, 'Invalid prefix length in selector (must be <= 32 for IPv4)');
      break;
    case INET6:
      if (prefix > 128) return r.fail(Errno.EINVAL, 'Invalid prefix length in selector (must be <= 128 for IPv6)');
      break;
    default:
      return r.fail(Errno.EINVAL, 'Invalid selector family');
  }
  const dir = r.u8(base + Pol.DIR);
  const wrong = checkDirection(r, dir);
  if (wrong !== 0) return wrong;
  const index = r.u32(base + Pol.INDEX);
  if (index !== 0 && (index & 7) !== dir) return r.fail(Errno.EINVAL, "Policy index doesn't match direction");
  return checkSecCtx(r) || checkType(r) || checkTemplates(r, dir, r.u16(base + Sel.FAMILY));
}

export function checkDirection(r: Request, dir: number): number {
  return dir < DIRECTIONS ? 0 : r.fail(Errno.EINVAL, 'Invalid policy direction');
}

/** The type that a request asks for; main if it does not say. */
export const policyType = (r: Request): number => r.attributes.u8(POLICY_TYPE);

export function checkType(r: Request): number {
  return policyType(r) > TYPE_MAX ? r.fail(Errno.EINVAL, 'Invalid policy type') : 0;
}

/** Of templates (xfrm.h:xfrm_id_proto_valid). */
export const templateProtocols: readonly number[] = [
  IpProto.ESP,
  IpProto.AH,
  IpProto.COMP,
  IpProto.ROUTING,
  IpProto.DSTOPTS,
];

function checkTemplates(r: Request, dir: number, family: number): number {
  const start = r.attributes.at(TMPL);
  if (start < 0) return 0;
  const count = Math.floor(r.attributes.length(TMPL) / Tmpl.SIZE);
  if (count > TEMPLATES_MAX) return r.fail(Errno.EINVAL, 'Template count must be <= XFRM_MAX_DEPTH (6)');
  let before = family;
  for (let i = 0; i < count; i++) {
    const at = start - r.body + i * Tmpl.SIZE;
    if (r.u16(at + Tmpl.FAMILY) === 0) {
      // The kernel fills it in in place, so that an error quotes it filled in.
      r.own();
      r.view.setUint16(start + i * Tmpl.SIZE + Tmpl.FAMILY, family, little);
    }
    const own = r.u16(at + Tmpl.FAMILY);
    const mode = r.u8(at + Tmpl.MODE);
    if (mode === XfrmMode.TUNNEL || mode === XfrmMode.BEET) {
      if (r.u8(at + Tmpl.OPTIONAL) !== 0 && dir === OUT) {
        return r.fail(Errno.EINVAL, 'Mode in optional template not allowed in outbound policy');
      }
    } else if (own !== before) {
      return r.fail(Errno.EINVAL, "Mode in template doesn't support a family change");
    }
    if (mode >= MODE_MAX) return r.fail(Errno.EINVAL, 'Mode in template must be < XFRM_MODE_MAX (5)');
    before = own;
    if (own !== INET && own !== INET6) return r.fail(Errno.EINVAL, 'Invalid family in template');
    const proto = r.u8(at + Tmpl.PROTO);
    if (!templateProtocols.includes(proto)) return r.fail(Errno.EINVAL, 'Invalid XFRM protocol in template');
  }
  return 0;
}

/** Templates as the kernel shows them: a family where there was none, padding cleared. */
function templatesOf(r: Request, family: number): Uint8Array<ArrayBuffer> {
  const start = r.attributes.at(TMPL);
  if (start < 0) return new Uint8Array(0);
  const count = Math.floor(r.attributes.length(TMPL) / Tmpl.SIZE);
  const bytes = r.bytes.slice(start, start + count * Tmpl.SIZE) as Uint8Array<ArrayBuffer>;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let at = 0; at < bytes.length; at += Tmpl.SIZE) {
    if (view.getUint16(at + Tmpl.FAMILY, little) === 0) view.setUint16(at + Tmpl.FAMILY, family, little);
    view.setUint16(at + Tmpl.FAMILY + 2, 0);
    view.setUint8(at + Tmpl.OPTIONAL + 1, 0);
  }
  return bytes;
}

/** A checked policy that is in no database yet. `index` 0: to be chosen. */
export function constructPolicy(r: Request, index: number, base = 0): Policy {
  const info = new Uint8Array(POLICY_INFO);
  info.set(r.slice(base, Pol.CURLFT));
  info.set(r.slice(base + Pol.PRIORITY, Pol.SHARE - Pol.PRIORITY), Pol.PRIORITY);
  const view = new DataView(info.buffer);
  view.setUint32(Pol.INDEX, index, little);
  view.setBigUint64(Pol.ADD_TIME, BigInt(r.ns.host.seconds()), little);
  const dir = r.u8(base + Pol.DIR);
  const type = policyType(r);
  const ifId = r.attributes.u32(A.IF_ID);
  const mark = r.mark();
  const markMask = r.markMask();
  return {
    info,
    view,
    templates: templatesOf(r, r.u16(base + Sel.FAMILY)),
    type,
    dir,
    index,
    priority: r.u32(base + Pol.PRIORITY),
    mark,
    markMask,
    ifId,
    key: policyKey(info.subarray(0, Sel.SIZE), dir, type, mark, markMask, ifId),
    born: 0,
    place: 0,
    newer: undefined,
    older: undefined,
    timer: undefined,
    firstRunMs: 0,
  };
}
