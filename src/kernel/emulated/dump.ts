import { hostLittleEndian, NLMSG_HDRLEN, NlmF, NlmsgType } from '../../netlink/index.ts';
import { XfrmMsg } from '../../xfrm/index.ts';
import { writeExtack } from './ack.ts';
import { type Extack, newExtack, RequestAttributes, xfrmaRules } from './attributes.ts';
import { Errno } from './errno.ts';
import type { Namespace } from './namespace.ts';
import { protoMatches } from './proto.ts';
import { InfoByte } from './row.ts';
import type { SadCursor } from './sad.ts';
import { prefixMatches } from './selector.ts';
import type { SpdCursor } from './spd.ts';
import { writePolicy } from './write-policy.ts';
import { writeSa } from './write-sa.ts';

/** Dumps of SAs and policies, part by part as the requester reads (af_netlink.c:netlink_dump). */

const little = hostLittleEndian;
const PROTO = 25;
const ADDRESS_FILTER = 26;
/** Byte offsets in xfrm_address_filter. */
const Filter = { SADDR: 0, DADDR: 16, FAMILY: 32, SPLEN: 34, DPLEN: 35, SIZE: 36 } as const;
const PREFIX_MAX = 128;

export interface Dump {
  /**
   * Writes the next datagram of at most `room` bytes, one message at least, into the host's writer. True: it was the last.
   */
  next(room: number): boolean;
  /** Lets go of what it holds, finished or not. */
  end(): void;
}

/** What a dump needs of its request. */
export interface DumpRequest {
  readonly ns: Namespace;
  readonly portId: number;
  readonly extAck: boolean;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly at: number;
  readonly length: number;
  readonly type: number;
  readonly seq: number;
}

export function startDump(request: DumpRequest): Dump {
  return request.type === XfrmMsg.GETSA ? dumpSas(request) : dumpPolicies(request);
}

function writeDone({ ns, portId, extAck, seq }: DumpRequest, errno: number, extack?: Extack): void {
  const { writer, profile } = ns.host;
  const explained = extack !== undefined && extAck && extack.message !== undefined;
  const flags = NlmF.MULTI | (explained ? NlmF.ACK_TLVS : 0);
  const at = writer.reset().begin(NlmsgType.DONE, flags, seq, portId, 4);
  writer.view.setInt32(at, -errno, little);
  if (explained)
    writeExtack(writer, profile.doneWithOffset ? extack : { ...extack, offset: -1, expected: undefined }, true);
  writer.end();
}

function dumpSas(request: DumpRequest): Dump {
  const { ns, portId, seq } = request;
  const { sad, host } = ns;
  const extack = newExtack();
  const attributes = new RequestAttributes();
  // The header of a dump has no fixed part: attributes follow it at once.
  let errno = attributes.parse(
    request.bytes,
    request.view,
    request.at + NLMSG_HDRLEN,
    request.at + request.length,
    request.at,
    xfrmaRules,
    host.profile.attributeMax,
    extack,
  );
  const proto = errno === 0 ? attributes.u8(PROTO) : 0;
  let filter: Uint8Array | undefined;
  if (errno === 0 && attributes.has(ADDRESS_FILTER)) {
    filter = attributes.payload(ADDRESS_FILTER).slice(0, Filter.SIZE);
    const longest = Math.max(filter[Filter.SPLEN] as number, filter[Filter.DPLEN] as number);
    if (longest > PREFIX_MAX) errno = Errno.EINVAL;
  }
  const cursor: SadCursor = { next: sad.newest() };
  sad.cursors.add(cursor);
  return {
    next(room) {
      if (errno !== 0) {
        writeDone(request, errno, extack);
        return true;
      }
      const { writer } = host;
      writer.reset();
      for (; cursor.next >= 0; cursor.next = sad.older(cursor.next)) {
        const slot = cursor.next;
        if (!protoMatches(sad.proto(slot), proto)) continue;
        if (filter !== undefined && !filterMatches(ns, slot, filter)) continue;
        writeSa(ns, slot, XfrmMsg.NEWSA, NlmF.MULTI, seq, portId);
        if (writer.at > room && writer.messages > 1) {
          writer.drop();
          extack.message = undefined;
          return false;
        }
      }
      if (writer.at > 0) {
        // The warning of the parser is forgotten after the first part.
        extack.message = undefined;
        return false;
      }
      writeDone(request, 0, extack);
      return true;
    },
    end: () => void sad.cursors.delete(cursor),
  };
}

/** Whether an SA passes an xfrm_address_filter. */
export function filterMatches({ sad }: Namespace, slot: number, filter: Uint8Array): boolean {
  const view = new DataView(filter.buffer, filter.byteOffset);
  const family = view.getUint16(Filter.FAMILY, little);
  if ((family === 2 || family === 10) && family !== sad.family(slot)) return false;
  const base = 4 * sad.row(slot);
  return (
    prefixMatches(sad.bytes, base + InfoByte.SADDR, filter, Filter.SADDR, filter[Filter.SPLEN] as number) &&
    prefixMatches(sad.bytes, base + InfoByte.DADDR, filter, Filter.DADDR, filter[Filter.DPLEN] as number)
  );
}

function dumpPolicies(request: DumpRequest): Dump {
  const { ns, portId, seq } = request;
  const cursor: SpdCursor = { next: ns.spd.newest };
  ns.spd.cursors.add(cursor);
  return {
    next(room) {
      const { writer } = ns.host;
      writer.reset();
      for (; cursor.next !== undefined; cursor.next = cursor.next.older) {
        writePolicy(ns, cursor.next, XfrmMsg.NEWPOLICY, NlmF.MULTI, seq, portId);
        if (writer.at > room && writer.messages > 1) {
          writer.drop();
          return false;
        }
      }
      if (writer.at > 0) return false;
      writeDone(request, 0);
      return true;
    },
    end: () => void ns.spd.cursors.delete(cursor),
  };
}
