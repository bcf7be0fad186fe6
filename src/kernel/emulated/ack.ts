import { hostLittleEndian, NLA_F_NESTED, NLMSG_HDRLEN, NlmF, NlmsgType } from '../../netlink/index.ts';
import type { Extack } from './attributes.ts';
import type { MessageWriter } from './build.ts';
import type { Request } from './request.ts';

/** Acknowledgements and errors (af_netlink.c:netlink_ack). */

const little = hostLittleEndian;
const Attr = { MSG: 1, OFFS: 2, POLICY: 4 } as const;
/** NL_POLICY_TYPE_ATTR_*. */
const Policy = { TYPE: 1, MIN_U: 4, MAX_U: 5, PAD: 11 } as const;

export interface AckOptions {
  readonly portId: number;
  /** NETLINK_CAP_ACK: errors do not quote the whole request. */
  readonly capAck: boolean;
  /** NETLINK_EXT_ACK: with explanations. */
  readonly extAck: boolean;
}

/** Writes the answer to a request that ended with `errno` (0: acknowledged). */
export function writeAck(r: Request, errno: number, { portId, capAck, extAck }: AckOptions): void {
  const { writer } = r.ns.host;
  const { extack } = r;
  const isCapped = errno === 0 || capAck;
  const quoted = isCapped ? NLMSG_HDRLEN : r.length;
  const explained = extAck && (extack.message !== undefined || (errno !== 0 && extack.offset >= 0));
  const flags = (isCapped ? NlmF.CAPPED : 0) | (explained ? NlmF.ACK_TLVS : 0);
  const at = writer.reset().begin(NlmsgType.ERROR, flags, r.seq, portId, 4 + quoted);
  writer.view.setInt32(at, -errno, little);
  writer.bytes.set(r.bytes.subarray(r.at, r.at + quoted), at + 4);
  if (explained) writeExtack(writer, extack, errno !== 0);
  writer.end();
}

export function writeExtack(writer: MessageWriter, extack: Extack, isError: boolean): void {
  if (extack.message !== undefined) writer.copy(Attr.MSG, Buffer.from(`${extack.message}\0`, 'latin1'));
  if (!isError) return;
  if (extack.offset >= 0) writer.u32(Attr.OFFS, extack.offset);
  if (extack.expected === undefined) return;
  const { scalar, min, max } = extack.expected;
  const start = writer.attribute(Attr.POLICY | NLA_F_NESTED, 0);
  writer.u64(Policy.MIN_U, min, Policy.PAD);
  writer.u64(Policy.MAX_U, max, Policy.PAD);
  writer.u32(Policy.TYPE, scalar);
  writer.view.setUint16(start - 4, writer.at - (start - 4), little);
}
