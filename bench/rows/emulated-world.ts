import { endianness } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { EmulatedKernel, type EmulatedOptions, type EmulatedSocket } from 'xfrmsync/emulated';

/**
 * An emulated machine full of SAs and policies, put there by requests over netlink. SAs are ESP between the two documentation addresses, as
 * a key manager installs them: AES-128-GCM, no limits, SPIs and requests in no order.
 */

const LITTLE = endianness() === 'LE';
const NLMSG_HDRLEN = 16;
const NLA_HDRLEN = 4;
const NLMSG_ERROR = 2;
const XfrmMsg = { NEWSA: 0x10, NEWPOLICY: 0x13 } as const;
const Xfrma = { TMPL: 5, ALG_AEAD: 18, REPLAY_ESN_VAL: 23 } as const;
const NLM_F_REQUEST = 1;
const NLM_F_CREATE = 0x400;
const AF_INET = 2;
const IPPROTO_ESP = 50;
const MODE_TUNNEL = 1;
const USERSA_INFO = 224;
const USERPOLICY_INFO = 168;
const USER_TMPL = 64;
const ALGO_AEAD = 72;
const KEY_BYTES = 20;
const FLAG_ESN = 128;
/** Room for sequence numbers behind the highest, in words of the bitmap. */
const ESN_WORDS = 4;
const LEGACY_WINDOW = 32;

export const LOCAL = 0xc0000202; // 192.0.2.2
export const PEER = 0xc0000201; // 192.0.2.1
/** Selectors of policies are the hosts from here on. */
export const HOST_FIRST = 0x0a000000; // 10.0.0.0

/** Distinct 32-bit numbers in no order: a multiplication by an odd number loses nothing. None is 0 while `i` is small. */
export const spiOf = (i: number): number => Math.imul(i + 1, 0x9e37_79b1) >>> 0;
export const reqidOf = (i: number): number => i + 1;

/** Requests of one kind, of one length: `write` puts what differs into a request at `at`. */
interface Template {
  bytes: Uint8Array;
  write(view: DataView, at: number, i: number): void;
}

function message(type: number, size: number, attributes: readonly (readonly [type: number, size: number])[]): DataView {
  const total = attributes.reduce((sum, [, bytes]) => sum + NLA_HDRLEN + bytes, NLMSG_HDRLEN + size);
  const view = new DataView(new ArrayBuffer(total));
  view.setUint32(0, total, LITTLE);
  view.setUint16(4, type, LITTLE);
  view.setUint16(6, NLM_F_REQUEST | NLM_F_CREATE, LITTLE);
  let at = NLMSG_HDRLEN + size;
  for (const [attribute, bytes] of attributes) {
    view.setUint16(at, NLA_HDRLEN + bytes, LITTLE);
    view.setUint16(at + 2, attribute, LITTLE);
    at += NLA_HDRLEN + bytes;
  }
  return view;
}

const bytesOf = (view: DataView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

function noLimits(view: DataView, at: number): void {
  for (let limit = at; limit < at + 32; limit += 8) view.setBigUint64(limit, 0xffff_ffff_ffff_ffffn, LITTLE);
}

/** `outbound`: from here to the peer, each with its own reqid; else from the peer to here. */
function saTemplate(esn: boolean, outbound: boolean): Template {
  const aead = [Xfrma.ALG_AEAD, ALGO_AEAD + KEY_BYTES] as const;
  const replay = [Xfrma.REPLAY_ESN_VAL, 24 + 4 * ESN_WORDS] as const;
  const view = message(XfrmMsg.NEWSA, USERSA_INFO, esn ? [replay, aead] : [aead]);
  const info = NLMSG_HDRLEN;
  view.setUint32(info + 56, outbound ? PEER : LOCAL);
  view.setUint8(info + 76, IPPROTO_ESP);
  view.setUint32(info + 80, outbound ? LOCAL : PEER);
  noLimits(view, info + 96);
  view.setUint16(info + 212, AF_INET, LITTLE);
  view.setUint8(info + 214, MODE_TUNNEL);
  view.setUint8(info + 215, esn ? 0 : LEGACY_WINDOW);
  view.setUint8(info + 216, esn ? FLAG_ESN : 0);
  let at = info + USERSA_INFO + NLA_HDRLEN;
  if (esn) {
    view.setUint32(at, ESN_WORDS, LITTLE);
    view.setUint32(at + 20, 32 * ESN_WORDS, LITTLE);
    at += 24 + 4 * ESN_WORDS + NLA_HDRLEN;
  }
  const bytes = bytesOf(view);
  bytes.set(Buffer.from('rfc4106(gcm(aes))', 'latin1'), at);
  view.setUint32(at + 64, 8 * KEY_BYTES, LITTLE);
  view.setUint32(at + 68, 128, LITTLE);
  bytes.fill(0x5a, at + ALGO_AEAD, at + ALGO_AEAD + KEY_BYTES);
  return {
    bytes,
    write(view, to, i) {
      view.setUint32(to + info + 72, spiOf(i));
      view.setUint32(to + info + 208, reqidOf(i), LITTLE);
    },
  };
}

/** Traffic to one host each, through the SA of its own reqid. */
function policyTemplate(): Template {
  const view = message(XfrmMsg.NEWPOLICY, USERPOLICY_INFO, [[Xfrma.TMPL, USER_TMPL]]);
  const info = NLMSG_HDRLEN;
  view.setUint16(info + 40, AF_INET, LITTLE);
  view.setUint8(info + 42, 32);
  noLimits(view, info + 56);
  view.setUint8(info + 160, 1); // dir: out
  const template = info + USERPOLICY_INFO + NLA_HDRLEN;
  view.setUint32(template, PEER);
  view.setUint8(template + 20, IPPROTO_ESP);
  view.setUint16(template + 24, AF_INET, LITTLE);
  view.setUint32(template + 28, LOCAL);
  view.setUint8(template + 48, MODE_TUNNEL);
  for (let algorithms = template + 52; algorithms < template + 64; algorithms += 4)
    view.setUint32(algorithms, 0xffff_ffff);
  return {
    bytes: bytesOf(view),
    write(view, to, i) {
      view.setUint32(to + info, HOST_FIRST + i);
      view.setUint32(to + info + 152, i & 7, LITTLE); // priority
      view.setUint32(to + template + 44, reqidOf(i), LITTLE);
    },
  };
}

/** Requests in a datagram. */
const BATCH = 64;

function install(socket: EmulatedSocket, { bytes, write }: Template, count: number): void {
  const datagram = new Uint8Array(BATCH * bytes.length);
  const view = new DataView(datagram.buffer);
  for (let i = 0; i < BATCH; i++) datagram.set(bytes, i * bytes.length);
  for (let first = 0; first < count; first += BATCH) {
    const size = Math.min(BATCH, count - first);
    for (let i = 0; i < size; i++) write(view, i * bytes.length, first + i);
    socket.send(datagram.subarray(0, size * bytes.length));
    // There are no acks: what comes back is an error.
    const { batch } = socket.read();
    if (batch.count === 0) continue;
    const at = batch.offsets[0] as number;
    const isError = batch.view.getUint16(at + 4, LITTLE) === NLMSG_ERROR;
    throw new Error(`emulated: a request was answered errno ${isError ? -batch.view.getInt32(at + 16, LITTLE) : '?'}`);
  }
}

export interface SasWanted {
  count: number;
  esn?: boolean;
  outbound?: boolean;
}

export function kernelWith(
  { count, esn = false, outbound = false }: SasWanted,
  options?: EmulatedOptions,
): EmulatedKernel {
  const kernel = new EmulatedKernel(options);
  install(kernel.openNow(), saTemplate(esn, outbound), count);
  const got = kernel.engine.sad.count;
  if (got !== count) throw new Error(`emulated: ${count} SAs wanted, there are ${got}`);
  return kernel;
}

/** One outbound policy for each of the first `count` SAs. */
export function addPolicies(kernel: EmulatedKernel, count: number): void {
  install(kernel.openNow(), policyTemplate(), count);
  const got = kernel.engine.spd.count;
  if (got !== count) throw new Error(`emulated: ${count} policies wanted, there are ${got}`);
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Bytes that the process holds after a collection, in the heap and in arrays. */
export function bytesHeld(): number {
  for (let i = 0; i < 3; i++) collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
