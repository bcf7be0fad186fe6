import { PfkeyExt, PfkeyMsg, PfkeySaFlag, SaType } from '../../../pfkey/index.ts';
import { SaFlag, XfrmMsg } from '../../../xfrm/index.ts';
import { writeName } from '../algorithms.ts';
import type { MessageWriter } from '../build.ts';
import { Errno } from '../errno.ts';
import type { Request } from '../request.ts';
import { A } from '../requests/sa-check.ts';
import { InfoByte, Row } from '../row.ts';
import { Sel } from '../selector.ts';
import { authById, compById, encryptById, nameOf } from './algorithms.ts';
import { netlinkRequest } from './as-netlink.ts';
import { Address, Key, Lifetime, NatTPort, NatTType, protoOf, Sa, Sa2, xfrmModeOf } from './layout.ts';
import type { PfkeyRequest } from './request.ts';

/** The SA that ADD or UPDATE asks for, as netlink would ask for it (af_key.c:pfkey_msg2xfrm_state). */

const AUTH_MAX = 251;
const ENCRYPT_MAX = 253;
const COMP_MAX = 4;
const NULL_AUTH = 251;
const NULL_ENCRYPT = 11;
/** Bytes of xfrm_algo without the key, and of xfrm_encap_tmpl. */
const ALGO = 68;
const ALGO_BITS = 64;
const ENCAP = 24;

/** The kernel's names of what the SA signs, encrypts and compresses with; undefined: it does not. */
interface Names {
  readonly auth: string | undefined;
  readonly crypt: string | undefined;
  readonly comp: string | undefined;
}

/** The request for netlink's half, or a positive errno. */
export function saRequest(r: PfkeyRequest): Request | number {
  const names = check(r);
  if (typeof names === 'number') return names;
  const sa2 = r.at(PfkeyExt.sa2);
  const mode = sa2 < 0 ? 0 : xfrmModeOf(r.u8(sa2 + Sa2.MODE));
  if (mode < 0) return Errno.EINVAL;
  const type = r.type === PfkeyMsg.ADD ? XfrmMsg.NEWSA : XfrmMsg.UPDSA;
  return netlinkRequest(r.ns, type, InfoByte.SIZE, r, (writer, body) => {
    writeInfo(r, writer, body, mode, sa2 < 0 ? 0 : r.u32(sa2 + Sa2.REQID));
    writeAlgorithm(r, writer, A.ALG_AUTH, names.auth, PfkeyExt.keyAuth);
    writeAlgorithm(r, writer, A.ALG_CRYPT, names.crypt, PfkeyExt.keyEncrypt);
    writeAlgorithm(r, writer, A.ALG_COMP, names.comp, undefined);
    writeEncap(r, writer);
    // No thresholds: what PF_KEY makes is silent.
    writer.u32(A.REPLAY_THRESH, 0);
    writer.u32(A.ETIMER_THRESH, 0);
  });
}

/** What makes no sense is refused in the kernel's order; else the names of the algorithms. */
function check(r: PfkeyRequest): Names | number {
  const sa = r.at(PfkeyExt.sa);
  const { satype } = r;
  if (sa < 0 || !r.hasAddresses()) return Errno.EINVAL;
  if (satype === SaType.ESP && !r.has(PfkeyExt.keyEncrypt)) return Errno.EINVAL;
  if (satype === SaType.AH && !r.has(PfkeyExt.keyAuth)) return Errno.EINVAL;
  if (r.has(PfkeyExt.lifetimeHard) !== r.has(PfkeyExt.lifetimeSoft)) return Errno.EINVAL;
  if (protoOf(satype) === 0) return Errno.EINVAL;
  // The state that the sender gives the SA is not looked at.
  const auth = r.u8(sa + Sa.AUTH);
  const encrypt = r.u8(sa + Sa.ENCRYPT);
  const compresses = satype === SaType.IPCOMP;
  if (auth > AUTH_MAX || encrypt > (compresses ? COMP_MAX : ENCRYPT_MAX)) return Errno.EINVAL;
  if (auth !== NULL_AUTH && isEmptyKey(r, PfkeyExt.keyAuth)) return Errno.EINVAL;
  if (encrypt !== NULL_ENCRYPT && isEmptyKey(r, PfkeyExt.keyEncrypt)) return Errno.EINVAL;
  const authName = nameOf(authById, auth);
  const otherName = nameOf(compresses ? compById : encryptById, encrypt);
  if ((auth !== 0 && authName === undefined) || (encrypt !== 0 && otherName === undefined)) return Errno.ENOSYS;
  return {
    auth: authName,
    crypt: compresses ? undefined : otherName,
    comp: compresses ? otherName : undefined,
  };
}

function isEmptyKey(r: PfkeyRequest, type: number): boolean {
  const at = r.at(type);
  return at >= 0 && r.u16(at + Key.BITS) === 0;
}

/** xfrm_usersa_info. */
function writeInfo(r: PfkeyRequest, writer: MessageWriter, body: number, mode: number, reqid: number): void {
  const { bytes } = writer;
  const sa = r.at(PfkeyExt.sa);
  const src = r.at(PfkeyExt.addressSrc);
  const family = r.familyAt(src);
  const u16 = (at: number, value: number): void =>
    void bytes.set(new Uint8Array(Uint16Array.of(value).buffer), body + at);
  const u32 = (at: number, value: number): void =>
    void bytes.set(new Uint8Array(Uint32Array.of(value).buffer), body + at);
  bytes.set(r.addressAt(r.at(PfkeyExt.addressDst)), body + InfoByte.DADDR);
  bytes.set(r.bytes.subarray(sa + Sa.SPI, sa + Sa.SPI + 4), body + InfoByte.SPI);
  bytes[body + InfoByte.PROTO] = protoOf(r.satype);
  bytes.set(r.addressAt(src), body + InfoByte.SADDR);
  writeLimits(r, bytes, body, PfkeyExt.lifetimeHard, [Row.HARD_PACKET, Row.HARD_BYTE, Row.HARD_ADD, Row.HARD_USE]);
  writeLimits(r, bytes, body, PfkeyExt.lifetimeSoft, [Row.SOFT_PACKET, Row.SOFT_BYTE, Row.SOFT_ADD, Row.SOFT_USE]);
  u32(4 * Row.ACQ_SEQ, r.seq);
  u32(4 * Row.REQID, reqid);
  u16(InfoByte.FAMILY, family);
  bytes[body + InfoByte.MODE] = mode;
  bytes[body + InfoByte.REPLAY_WINDOW] = r.u8(sa + Sa.REPLAY);
  const flags = r.u32(sa + Sa.FLAGS);
  const flag = (given: number, own: number): number => ((flags & given) !== 0 ? own : 0);
  bytes[body + InfoByte.FLAGS] =
    flag(PfkeySaFlag.NOECN, SaFlag.NOECN) |
    flag(PfkeySaFlag.DECAP_DSCP, SaFlag.DECAP_DSCP) |
    flag(PfkeySaFlag.NOPMTUDISC, SaFlag.NOPMTUDISC);
  const proxy = r.at(PfkeyExt.addressProxy);
  u16(Sel.FAMILY, proxy < 0 ? family : r.familyAt(proxy));
  if (proxy < 0) return;
  bytes.set(r.addressAt(proxy), body + Sel.SADDR);
  bytes[body + Sel.PREFIX_S] = r.u8(proxy + Address.PREFIXLEN);
}

/** No limit of packets and bytes is all ones there, and 0 here. */
function writeLimits(
  r: PfkeyRequest,
  bytes: Uint8Array,
  body: number,
  type: number,
  [packets, octets, added, used]: readonly [number, number, number, number],
): void {
  const at = r.at(type);
  const put = (row: number, from: number, words: number): void => {
    const place = body + 4 * row;
    const given = at < 0 ? nothing : r.bytes.subarray(at + from, at + from + 4 * words);
    if (given.every((byte) => byte === 0)) bytes.fill(0xff, place, place + 8);
    else bytes.set(given, place + (words === 1 ? LOW_AT : 0));
  };
  put(packets, Lifetime.ALLOCATIONS, 1);
  put(octets, Lifetime.BYTES, 2);
  if (at < 0) return;
  bytes.set(r.bytes.subarray(at + Lifetime.ADDTIME, at + Lifetime.ADDTIME + 8), body + 4 * added);
  bytes.set(r.bytes.subarray(at + Lifetime.USETIME, at + Lifetime.USETIME + 8), body + 4 * used);
}

const nothing = new Uint8Array(0);
/** Where in a 64-bit number its lower half is. */
const LOW_AT = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 0 : 4;

/** xfrm_algo, with the key of the extension if that is there. */
function writeAlgorithm(
  r: PfkeyRequest,
  writer: MessageWriter,
  type: number,
  name: string | undefined,
  keyType: number | undefined,
): void {
  if (name === undefined) return;
  const key = keyType === undefined ? -1 : r.at(keyType);
  const bits = key < 0 ? 0 : r.u16(key + Key.BITS);
  const length = Math.ceil(bits / 8);
  const at = writer.attribute(type, ALGO + length);
  writeName(writer.bytes, at, name);
  writer.words(at + ALGO_BITS, Uint32Array.of(bits), 0, 1);
  if (key >= 0) writer.bytes.set(r.bytes.subarray(key + Key.KEY, key + Key.KEY + length), at + ALGO);
}

function writeEncap(r: PfkeyRequest, writer: MessageWriter): void {
  const kind = r.at(PfkeyExt.natTType);
  if (kind < 0) return;
  const at = writer.attribute(A.ENCAP, ENCAP);
  writer.bytes.set(new Uint8Array(Uint16Array.of(r.u8(kind + NatTType.TYPE)).buffer), at);
  for (const [type, to] of [
    [PfkeyExt.natTSport, at + 2],
    [PfkeyExt.natTDport, at + 4],
  ] as const) {
    const port = r.at(type);
    if (port >= 0) writer.bytes.set(r.bytes.subarray(port + NatTPort.PORT, port + NatTPort.PORT + 2), to);
  }
}
