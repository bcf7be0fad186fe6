import { PfkeyExt, SaType } from '../../../pfkey/index.ts';
import { Errno } from '../errno.ts';
import { authById, encryptById, type PfkeyAlgorithm } from './algorithms.ts';
import { Alg, Msg, Supported } from './layout.ts';
import type { PfkeyRequest } from './request.ts';
import type { PfkeyListener } from './sockets.ts';
import type { PfkeyWriter } from './writer.ts';

/** REGISTER and X_PROMISC: what a socket hears (af_key.c: pfkey_register, pfkey_promisc). */

/** Who can register. */
export interface PfkeyMember extends PfkeyListener {
  registered: number;
  promiscuous: boolean;
}

const SATYPE_MAX = SaType.IPCOMP;

/** All who are registered are told of the algorithms, the sender last. */
export function register(r: PfkeyRequest, socket: PfkeyMember): number {
  const { ns, satype } = r;
  if (satype > SATYPE_MAX) return Errno.EINVAL;
  if (satype !== SaType.UNSPEC) {
    if ((socket.registered & (1 << satype)) !== 0) return Errno.EEXIST;
    socket.registered |= 1 << satype;
    ns.pfkey.registeredChanged();
  }
  const { pfkeyWriter: writer } = ns.host;
  writer.copy(r.bytes, Msg.SIZE, 0);
  writeSupported(writer, PfkeyExt.supportedAuth, authById);
  writeSupported(writer, PfkeyExt.supportedEncrypt, encryptById);
  writer.end();
  ns.pfkey.broadcast(writer.bytes, writer.at, 'registered', socket);
  return 0;
}

function writeSupported(writer: PfkeyWriter, type: number, algorithms: readonly PfkeyAlgorithm[]): void {
  const start = writer.extension(type, Supported.SIZE + Alg.SIZE * algorithms.length) + Supported.SIZE;
  algorithms.forEach(({ id, ivBytes, minBits, maxBits }, i) => {
    const at = start + Alg.SIZE * i;
    writer.bytes[at + Alg.ID] = id;
    writer.bytes[at + Alg.IVLEN] = ivBytes;
    writer.u16(at + Alg.MINBITS, minBits);
    writer.u16(at + Alg.MAXBITS, maxBits);
  });
}

/** With nothing but a header: switches the mode. All are told, as of anything that is sent with this type. */
export function promisc(r: PfkeyRequest, socket: PfkeyMember): number {
  const { ns, satype } = r;
  let message = r.bytes;
  if (r.isBare) {
    if (satype > 1) return Errno.EINVAL;
    socket.promiscuous = satype === 1;
    message = r.bytes.slice();
    message[Msg.ERRNO] = 0;
  }
  ns.pfkey.broadcast(message, message.length, 'all');
  return 0;
}
