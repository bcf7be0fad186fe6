import { XfrmGroup, XfrmMsg } from '../../../xfrm/index.ts';
import { Errno } from '../errno.ts';
import type { Namespace } from '../namespace.ts';
import type { Request } from '../request.ts';
import { HASH_MAX } from '../sad.ts';

/** GETSADINFO, GETSPDINFO, NEWSPDINFO, SETDEFAULT, GETDEFAULT: short questions about a namespace. */

const SAD = { CNT: 1, HINFO: 2 } as const;
const SPD = { INFO: 1, HINFO: 2, IPV4_HTHRESH: 3, IPV6_HTHRESH: 4 } as const;

export function getSadInfo(r: Request): number {
  if (r.outOfMemory() !== 0) return Errno.ENOMEM;
  const { ns, requester } = r;
  const { writer } = ns.host;
  const at = writer.reset().begin(XfrmMsg.NEWSADINFO, 0, r.seq, requester.portId, 4);
  writer.bytes.set(r.slice(0, 4), at);
  writer.u32(SAD.CNT, ns.sad.count);
  words(ns, SAD.HINFO, [ns.sad.hashSize, HASH_MAX]);
  writer.end();
  requester.reply();
  return 0;
}

function words(ns: Namespace, type: number, values: readonly number[]): void {
  const { writer } = ns.host;
  writer.words(writer.attribute(type, 4 * values.length), Uint32Array.from(values), 0, values.length);
}

export function getSpdInfo(r: Request): number {
  if (r.outOfMemory() !== 0) return Errno.ENOMEM;
  const { ns, requester } = r;
  const { writer } = ns.host;
  const at = writer.reset().begin(XfrmMsg.NEWSPDINFO, 0, r.seq, requester.portId, 4);
  writer.bytes.set(r.slice(0, 4), at);
  words(ns, SPD.INFO, [...ns.spd.counts, 0, 0, 0]);
  words(ns, SPD.HINFO, [ns.spd.indexMask, HASH_MAX]);
  writer.copy(SPD.IPV4_HTHRESH, ns.spd.thresholds.subarray(0, 2));
  writer.copy(SPD.IPV6_HTHRESH, ns.spd.thresholds.subarray(2, 4));
  writer.end();
  requester.reply();
  return 0;
}

export function setSpdInfo(r: Request): number {
  for (const [type, max, name] of [
    [SPD.IPV4_HTHRESH, 32, 'IPv4'],
    [SPD.IPV6_HTHRESH, 128, 'IPv6'],
  ] as const) {
    const at = r.attributes.at(type);
    if (at < 0) continue;
    if (r.view.getUint8(at) > max || r.view.getUint8(at + 1) > max) {
      return r.failSince62(Errno.EINVAL, `Invalid hash threshold (must be <= ${max} for ${name})`);
    }
  }
  if (r.attributes.has(SPD.IPV4_HTHRESH))
    r.ns.spd.setThresholds(r.attributes.payload(SPD.IPV4_HTHRESH).subarray(0, 2), 0);
  if (r.attributes.has(SPD.IPV6_HTHRESH))
    r.ns.spd.setThresholds(r.attributes.payload(SPD.IPV6_HTHRESH).subarray(0, 2), 2);
  return 0;
}

const BLOCK = 1;
const ACCEPT = 2;
/** xfrm_userpolicy_default has the order in, fwd, out; policies count directions in, out, fwd. */
const directionOf = [0, 2, 1] as const;

function writeDefaults(ns: Namespace, seq: number, pid: number): void {
  const { writer } = ns.host;
  const at = writer.reset().begin(XfrmMsg.GETDEFAULT, 0, seq, pid, 3);
  directionOf.forEach((dir, i) => {
    writer.bytes[at + i] = ns.spd.defaults[dir] as number;
  });
  // The structure is 3 bytes, the message is counted with its padding.
  writer.end();
}

export function setDefault(r: Request): number {
  const { ns } = r;
  directionOf.forEach((dir, i) => {
    const action = r.u8(i);
    if (action === BLOCK || action === ACCEPT) ns.spd.defaults[dir] = action;
  });
  writeDefaults(ns, 0, 0);
  ns.multicast(XfrmGroup.POLICY);
  return 0;
}

export function getDefault(r: Request): number {
  if (r.outOfMemory() !== 0) return Errno.ENOMEM;
  writeDefaults(r.ns, r.seq, r.requester.portId);
  r.requester.reply();
  return 0;
}
