import { PF_KEY_V2, PfkeyMsg, SADB_MAX } from '../../../pfkey/index.ts';
import { hostLittleEndian } from '../../../wire/index.ts';
import { Errno } from '../errno.ts';
import type { Namespace } from '../namespace.ts';
import { dumpPolicies, dumpSas, type PfkeyDump } from './dump.ts';
import { Msg, WORD } from './layout.ts';
import {
  addPolicy,
  deleteByIndex,
  deleteBySelector,
  flush as flushPolicies,
  getPolicy,
  migrateSas,
} from './policy-requests.ts';
import { type PfkeyMember, promisc, register } from './register.ts';
import { replayGet, replaySet } from './replay-requests.ts';
import { PfkeyRequest } from './request.ts';
import { acquire, addOrUpdate, deleteOne, flush, get, getSpi } from './sa-requests.ts';

/** The way of a PF_KEY message in, check by check (af_key.c: pfkey_sendmsg, pfkey_get_base_msg, pfkey_process). */

const little = hostLittleEndian;

/** The socket that a message has come from. */
export interface PfkeySender extends PfkeyMember {
  /** 0, or the errno. */
  startDump(open: () => PfkeyDump | number): number;
}

type Handler = (r: PfkeyRequest, socket: PfkeySender) => number;

/** By type; what is not here is answered EOPNOTSUPP. */
const table: Readonly<Record<number, Handler>> = {
  [PfkeyMsg.GETSPI]: getSpi,
  [PfkeyMsg.UPDATE]: addOrUpdate,
  [PfkeyMsg.ADD]: addOrUpdate,
  [PfkeyMsg.DELETE]: deleteOne,
  [PfkeyMsg.GET]: get,
  [PfkeyMsg.ACQUIRE]: acquire,
  [PfkeyMsg.REGISTER]: register,
  [PfkeyMsg.FLUSH]: flush,
  [PfkeyMsg.DUMP]: (r, socket) => socket.startDump(() => dumpSas(r)),
  [PfkeyMsg.X_PROMISC]: promisc,
  [PfkeyMsg.X_SPDUPDATE]: addPolicy,
  [PfkeyMsg.X_SPDADD]: addPolicy,
  [PfkeyMsg.X_SPDDELETE]: deleteBySelector,
  [PfkeyMsg.X_SPDGET]: getPolicy,
  [PfkeyMsg.X_SPDDUMP]: (r, socket) => socket.startDump(() => dumpPolicies(r)),
  [PfkeyMsg.X_SPDFLUSH]: flushPolicies,
  [PfkeyMsg.X_SPDSETIDX]: addPolicy,
  [PfkeyMsg.X_SPDDELETE2]: deleteByIndex,
  [PfkeyMsg.X_MIGRATE]: migrateSas,
  [PfkeyMsg.X_REPLAY_SET]: replaySet,
  [PfkeyMsg.X_REPLAY_GET]: replayGet,
};

const isKnown = (type: number): boolean =>
  (type > 0 && type <= SADB_MAX) || (type >= PfkeyMsg.X_REPLAY_NOTIFY && type <= PfkeyMsg.X_REPLAY_GET);

/** What makes the send itself fail; 0: nothing. */
function checkHeader(message: Uint8Array): number {
  if (message.length < Msg.SIZE) return Errno.EMSGSIZE;
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const isSound =
    view.getUint8(Msg.VERSION) === PF_KEY_V2 &&
    view.getUint16(Msg.RESERVED, little) === 0 &&
    isKnown(view.getUint8(Msg.TYPE));
  if (!isSound) return Errno.EINVAL;
  const words = view.getUint16(Msg.LEN, little);
  return words === Math.floor(message.length / WORD) && words >= Msg.SIZE / WORD ? 0 : Errno.EMSGSIZE;
}

/** Carries a message out. The errno with which its send fails; what goes wrong later is answered with a message, and 0. */
export function receivePfkey(ns: Namespace, socket: PfkeySender, datagram: Uint8Array): number {
  // No memory to take it in.
  if (ns.host.memoryPressure) return Errno.ENOBUFS;
  // A plain array: `slice` of a Buffer would share the sender's memory.
  const message = new Uint8Array(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const wrong = checkHeader(message);
  if (wrong !== 0) return wrong;
  ns.pfkey.broadcast(message, message.length, 'none');
  const r = new PfkeyRequest(ns, socket, message);
  const failed = r.parse() || handle(r, socket);
  if (failed !== 0) {
    const { pfkeyWriter } = ns.host;
    pfkeyWriter.copy(message, Msg.SIZE, failed);
    ns.pfkey.broadcast(pfkeyWriter.bytes, pfkeyWriter.at, socket);
  }
  ns.runThreads();
  return 0;
}

function handle(r: PfkeyRequest, socket: PfkeySender): number {
  return table[r.type]?.(r, socket) ?? Errno.EOPNOTSUPP;
}
