import { EncodeError, hostLittleEndian, NLMSG_HDRLEN, NlmF } from '../netlink/index.ts';
import { AeFlag, type AnyXfrmMessage, encodeMessage, type XfrmKind, type XfrmMessage, XfrmMsg } from '../xfrm/index.ts';

/** A message to the kernel without what the transport fills in. */
export type Request<K extends XfrmKind = XfrmKind> = K extends XfrmKind
  ? Pick<XfrmMessage<K>, 'kind' | 'body' | 'attributes'> & { flags?: number }
  : never;

/** Where `xfrm_aevent_id.flags` lies in a message, and where it ends. */
const AEVENT_FLAGS_AT = NLMSG_HDRLEN + 40;
const AEVENT_FLAGS_END = AEVENT_FLAGS_AT + 4;
const BOTH_THRESHOLDS = AeFlag.RTHR | AeFlag.ETHR;
/** Where `xfrm_userspi_info.max` lies in a message, and where it ends. */
const SPI_MAX_AT = NLMSG_HDRLEN + 228;
const SPI_MAX_END = SPI_MAX_AT + 4;

/** A request answered by an acknowledgement. `pid` comes back in the events that follow from it. @throws EncodeError */
export function encodeRequest(request: Request, seq: number, pid = 0): Uint8Array {
  const flags = request.flags ?? 0;
  if ((request.kind === 'GETSA' || request.kind === 'GETPOLICY') && (flags & NlmF.DUMP) !== 0) {
    throw new EncodeError('flags', `this would be a dump of many answers: use ${dumpOf[request.kind]}`);
  }
  return encoded(request, flags | NlmF.REQUEST | NlmF.ACK, seq, pid);
}

const dumpOf = { GETSA: 'dumpSas', GETPOLICY: 'dumpPolicies' } as const;

/** A request answered by parts and an end. @throws EncodeError */
export function encodeDump(request: Request, seq: number): Uint8Array {
  return encoded(request, (request.flags ?? 0) | NlmF.REQUEST | NlmF.DUMP, seq, 0);
}

function encoded(request: Request, flags: number, seq: number, pid: number): Uint8Array {
  const bytes = encodeMessage({ ...request, flags, seq, pid } as AnyXfrmMessage);
  checkBytes(bytes, seq);
  return bytes;
}

/**
 * The last look before bytes go to a kernel; at the bytes, because what a decoded message carries aside (`rest`) is written over them.
 *
 * A GETAE for both thresholds is refused for every SA: on kernels with 64-bit padding the answer for an SA with an interface id and a
 * bitmap of seven or eight words is larger than what xfrm_user.c:xfrm_aevent_msgsize reserved, and the kernel stops with a BUG. Nobody
 * who asks knows the SA's bitmap beforehand.
 *
 * ALLOCSPI for the range 0 to 0 is refused: Linux 6.1.192 was seen to give out the SPI 0, and a guest hung when the same larval SA was asked
 * for once more. The cause was not looked into.
 *
 * NEWSPDINFO is refused: in a run of random requests, some of them NEWSPDINFO, a Linux 6.1.176 stopped once in
 * xfrm_policy.c:xfrm_hash_rebuild. It was not reproduced, and whether NEWSPDINFO had a part in it is not known.
 */
function checkBytes(bytes: Uint8Array, seq: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, hostLittleEndian) !== bytes.length || view.getUint32(8, hostLittleEndian) !== seq) {
    throw new EncodeError('rest', 'overwrites the netlink header');
  }
  const type = view.getUint16(4, hostLittleEndian);
  if (type === XfrmMsg.GETAE && bytes.length >= AEVENT_FLAGS_END) {
    if ((view.getUint32(AEVENT_FLAGS_AT, hostLittleEndian) & BOTH_THRESHOLDS) === BOTH_THRESHOLDS) {
      throw new EncodeError(
        'body.flags',
        'asks for both thresholds at once, which can stop a kernel with a BUG: ask for RTHR and ETHR one by one, as getAevent does',
      );
    }
  }
  if (type === XfrmMsg.ALLOCSPI && bytes.length >= SPI_MAX_END && view.getUint32(SPI_MAX_AT, hostLittleEndian) === 0) {
    throw new EncodeError(
      'body.max',
      'asks for the SPI 0, after which a guest with Linux 6.1.192 was seen to hang: ask for a range above it',
    );
  }
  if (type === XfrmMsg.NEWSPDINFO) {
    throw new EncodeError(
      'kind',
      'is not sent: a Linux 6.1.176 stopped once in xfrm_hash_rebuild in a run with such requests, which was not reproduced',
    );
  }
}

/** The next number after `seq` that no pending request has. 0 is left out: events of the kernel's own carry it. */
export function sequenceAfter(seq: number, pending: { has(seq: number): boolean }): number {
  let next = seq;
  // Ends: far fewer than 2^32 requests can be pending.
  do next = (next + 1) >>> 0 || 1;
  while (pending.has(next));
  return next;
}
