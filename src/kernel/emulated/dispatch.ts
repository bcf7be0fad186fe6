import { align4, hostLittleEndian, NLMSG_HDRLEN, NlmF } from '../../netlink/index.ts';
import { XfrmMsg } from '../../xfrm/index.ts';
import { newExtack, spdRules, xfrmaRules } from './attributes.ts';
import { Errno } from './errno.ts';
import type { Request } from './request.ts';
import { acquire } from './requests/acquire.ts';
import { getAe, newAe } from './requests/ae.ts';
import { getDefault, getSadInfo, getSpdInfo, setDefault, setSpdInfo } from './requests/info.ts';
import { migrate } from './requests/migrate.ts';
import { delPolicy, expirePolicy, flushPolicy, getPolicy, newPolicy } from './requests/policy.ts';
import { delSa, expireSa, flushSa, getSa, newOrUpdateSa } from './requests/sa.ts';
import { A } from './requests/sa-check.ts';
import { allocSpi } from './requests/spi.ts';

/** The way of a request in, check by check (af_netlink.c:netlink_rcv_skb, xfrm_user.c:xfrm_user_rcv_msg). */

const little = hostLittleEndian;
const TYPE_MIN = 0x10;
const TYPE_MAX = 0x28;
/** The size of xfrm_aevent_id as first published. */
const FIRST_AEVENT_ID = 28;

interface Entry {
  /** Bytes of the fixed part. */
  readonly size: number;
  /** Absent: the kernel only sends this type. */
  readonly handle?: (r: Request) => number;
  /** GETSA and GETPOLICY: any bit of NLM_F_DUMP starts a dump. */
  readonly dumps?: boolean;
  readonly rules?: typeof spdRules;
  /** SA_DIR may be given (6.10). */
  readonly takesDir?: boolean;
}

const table = new Map<number, Entry>([
  [XfrmMsg.NEWSA, { size: 224, handle: newOrUpdateSa, takesDir: true }],
  [XfrmMsg.DELSA, { size: 24, handle: delSa }],
  [XfrmMsg.GETSA, { size: 24, handle: getSa, dumps: true }],
  [XfrmMsg.NEWPOLICY, { size: 168, handle: newPolicy }],
  [XfrmMsg.DELPOLICY, { size: 64, handle: delPolicy }],
  [XfrmMsg.GETPOLICY, { size: 64, handle: getPolicy, dumps: true }],
  [XfrmMsg.ALLOCSPI, { size: 232, handle: allocSpi, takesDir: true }],
  [XfrmMsg.ACQUIRE, { size: 280, handle: acquire }],
  [XfrmMsg.EXPIRE, { size: 232, handle: expireSa }],
  [XfrmMsg.UPDPOLICY, { size: 168, handle: newPolicy }],
  [XfrmMsg.UPDSA, { size: 224, handle: newOrUpdateSa, takesDir: true }],
  [XfrmMsg.POLEXPIRE, { size: 176, handle: expirePolicy }],
  [XfrmMsg.FLUSHSA, { size: 1, handle: flushSa }],
  [XfrmMsg.FLUSHPOLICY, { size: 0, handle: flushPolicy }],
  [XfrmMsg.NEWAE, { size: 48, handle: newAe }],
  [XfrmMsg.GETAE, { size: 48, handle: getAe }],
  [XfrmMsg.REPORT, { size: 60 }],
  [XfrmMsg.MIGRATE, { size: 64, handle: migrate }],
  [XfrmMsg.NEWSADINFO, { size: 0 }],
  [XfrmMsg.GETSADINFO, { size: 4, handle: getSadInfo }],
  [XfrmMsg.NEWSPDINFO, { size: 4, handle: setSpdInfo, rules: spdRules }],
  [XfrmMsg.GETSPDINFO, { size: 4, handle: getSpdInfo }],
  [XfrmMsg.MAPPING, { size: 64 }],
  [XfrmMsg.SETDEFAULT, { size: 3, handle: setDefault }],
  [XfrmMsg.GETDEFAULT, { size: 3, handle: getDefault }],
]);

export interface Receiver {
  /** The sender has CAP_NET_ADMIN. */
  readonly privileged: boolean;
  /** Answers the request that `r` holds. */
  acknowledge(r: Request, errno: number): void;
  /** Starts a dump; 0, or EBUSY. */
  dump(r: Request): number;
}

/** What a handler says when there is nothing to acknowledge: a dump answers by itself. */
const NO_ACK = -1;

/** Carries out the messages of a datagram in order, then what they have left to kernel threads. */
export function receive(r: Request, datagram: Uint8Array, receiver: Receiver): void {
  carryOut(r, datagram, receiver);
  r.ns.runThreads();
}

/** An error in one message does not stop the next. */
function carryOut(r: Request, datagram: Uint8Array, receiver: Receiver): void {
  // A plain array: `slice` of a Buffer would share the sender's memory.
  r.bytes = new Uint8Array(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  r.view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  for (let at = 0; datagram.length - at >= NLMSG_HDRLEN; ) {
    const length = r.view.getUint32(at, little);
    if (length < NLMSG_HDRLEN || length > datagram.length - at) return;
    r.at = at;
    r.length = length;
    r.type = r.view.getUint16(at + 4, little);
    r.flags = r.view.getUint16(at + 6, little);
    r.seq = r.view.getUint32(at + 8, little);
    r.pid = r.view.getUint32(at + 12, little);
    r.body = at + NLMSG_HDRLEN;
    r.extack = newExtack();
    const isRequest = (r.flags & NlmF.REQUEST) !== 0 && r.type >= TYPE_MIN;
    const errno = isRequest ? handle(r, receiver) : 0;
    if (errno > 0 || (errno === 0 && (r.flags & NlmF.ACK) !== 0)) receiver.acknowledge(r, errno);
    at += align4(length);
  }
}

function handle(r: Request, receiver: Receiver): number {
  if (r.type > TYPE_MAX) return Errno.EINVAL;
  if (!receiver.privileged) return Errno.EPERM;
  const refusal = r.ns.refusals?.strike(r.bytes.subarray(r.at, r.at + r.length));
  if (refusal !== undefined) return refusal;
  const entry = table.get(r.type) as Entry;
  if (entry.dumps === true && (r.flags & NlmF.DUMP) !== 0) {
    // af_netlink.c:netlink_dump
    return r.ns.host.memoryPressure ? Errno.ENOBUFS : receiver.dump(r) || NO_ACK;
  }
  const { profile } = r.ns.host;
  const isAevent = r.type === XfrmMsg.NEWAE || r.type === XfrmMsg.GETAE;
  const size = isAevent && profile.firstAeventLayout ? FIRST_AEVENT_ID : entry.size;
  if (r.length - NLMSG_HDRLEN < size) return r.fail(Errno.EINVAL, 'Invalid header length');
  const rules = entry.rules ?? xfrmaRules;
  const typeMax = entry.rules === undefined ? profile.attributeMax : rules.length - 1;
  const start = r.body + align4(size);
  const end = r.at + r.length;
  const wrong = r.attributes.parse(r.bytes, r.view, start, end, r.at, rules, typeMax, r.extack);
  if (wrong !== 0) return wrong;
  if (entry.handle === undefined) return Errno.EINVAL;
  if (profile.saDir && entry.takesDir !== true && entry.rules === undefined && r.attributes.has(A.SA_DIR)) {
    return r.fail(Errno.EINVAL, 'Invalid attribute SA_DIR');
  }
  return entry.handle(r);
}
