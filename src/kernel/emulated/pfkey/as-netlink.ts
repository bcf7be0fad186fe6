import { NLMSG_HDRLEN } from '../../../netlink/index.ts';
import { newExtack, xfrmaRules } from '../attributes.ts';
import { MessageWriter } from '../build.ts';
import type { Namespace } from '../namespace.ts';
import { Request } from '../request.ts';

/** PF_KEY requests in the words of netlink: what both ask for is done in one place. */

const writer = new MessageWriter(false);
/** Nobody: what is asked for so is answered by PF_KEY. */
const nobody = { portId: 0, reply: () => {}, replyOfPage: () => {} };

/**
 * A netlink request that is past its parser. `size`: of the fixed part; `write` fills that in and adds the attributes.
 */
export function netlinkRequest(
  ns: Namespace,
  type: number,
  size: number,
  { seq, pid }: { readonly seq: number; readonly pid: number },
  write: (writer: MessageWriter, body: number) => void,
): Request {
  const body = writer.reset().begin(type, 0, seq, pid, size);
  write(writer, body);
  writer.end();
  const r = new Request(ns, nobody);
  r.bytes = writer.bytes.slice(0, writer.at);
  // There may be keys in it.
  writer.bytes.fill(0, 0, writer.at);
  r.view = new DataView(r.bytes.buffer, r.bytes.byteOffset, r.bytes.byteLength);
  r.length = r.bytes.length;
  r.type = type;
  r.seq = seq;
  r.pid = pid;
  r.body = NLMSG_HDRLEN;
  r.extack = newExtack();
  const end = r.bytes.length;
  r.attributes.parse(r.bytes, r.view, body + size, end, 0, xfrmaRules, ns.host.profile.attributeMax, r.extack);
  return r;
}
