import { PfkeyExt, PfkeySaFlag, SaState as PfkeySaState } from '../../../pfkey/index.ts';
import { hostLittleEndian } from '../../../wire/index.ts';
import { SaFlag } from '../../../xfrm/index.ts';
import { nameAt } from '../algorithms.ts';
import { encodedAttribute } from '../encoded.ts';
import type { Namespace } from '../namespace.ts';
import { InfoByte, Row, RowBit, SaState } from '../row.ts';
import { netHalfAt, Sel } from '../selector.ts';
import { authById, compById, encryptById, idOf } from './algorithms.ts';
import {
  align8,
  ipsecModeOf,
  Key,
  Lifetime,
  NatTPort,
  NatTType,
  Sa,
  Sa2,
  satypeOf,
  sockaddrOf,
  upperProtoOf,
} from './layout.ts';

/** An SA as PF_KEY shows it (af_key.c:__pfkey_xfrm_state2msg). No sequence numbers, ESN state, AEAD keys, marks or thresholds. */

const little = hostLittleEndian;
const ALG_AUTH = 1;
const ALG_CRYPT = 2;
const ALG_COMP = 3;
const ENCAP = 4;
/** Byte offsets in xfrm_algo, and in xfrm_encap_tmpl. */
const Algo = { BITS: 64, KEY: 68 } as const;
const Encap = { TYPE: 0, SPORT: 2, DPORT: 4 } as const;
const U32_MAX = 0xffff_ffff;

/** Which limits are shown, and whether keys are. */
export interface SaParts {
  readonly hard: boolean;
  readonly soft: boolean;
  readonly keys: boolean;
}

export const wholeSa: SaParts = { hard: true, soft: true, keys: true };

/**
 * Writes a whole message. False: PF_KEY has no words for the SA, for its family or its mode, and nothing is to be sent (EINVAL).
 */
export function writeSaMessage(
  ns: Namespace,
  slot: number,
  type: number,
  seq: number,
  pid: number,
  parts: SaParts = wholeSa,
): boolean {
  const { sad } = ns;
  const { pfkeyWriter: writer } = ns.host;
  const family = sad.family(slot);
  const mode = ipsecModeOf(sad.mode(slot));
  const form = sockaddrOf(family);
  if (form === undefined || mode < 0) return false;
  const row = sad.row(slot);
  const base = 4 * row;
  const { body } = sad.attributes(slot);
  const address = (at: number): Uint8Array => sad.bytes.subarray(base + at, base + at + 16);
  writer.begin(type, satypeOf(sad.proto(slot)), seq, pid);
  writeSaExtension(ns, slot, body);
  if (parts.hard)
    writeLimits(ns, slot, PfkeyExt.lifetimeHard, [Row.HARD_PACKET, Row.HARD_BYTE, Row.HARD_ADD, Row.HARD_USE]);
  if (parts.soft)
    writeLimits(ns, slot, PfkeyExt.lifetimeSoft, [Row.SOFT_PACKET, Row.SOFT_BYTE, Row.SOFT_ADD, Row.SOFT_USE]);
  writeCurrent(ns, slot);
  writer.address(PfkeyExt.addressSrc, family, address(InfoByte.SADDR));
  writer.address(PfkeyExt.addressDst, family, address(InfoByte.DADDR));
  writeProxy(ns, slot, family, form.ADDR_SIZE);
  if (parts.keys) {
    writeKey(ns, PfkeyExt.keyAuth, body, encodedAttribute(body, ALG_AUTH));
    writeKey(ns, PfkeyExt.keyEncrypt, body, encodedAttribute(body, ALG_CRYPT));
  }
  const sa2 = writer.extension(PfkeyExt.sa2, Sa2.SIZE);
  writer.bytes[sa2 + Sa2.MODE] = mode;
  writer.words(sa2 + Sa2.REQID, sad.words, row + Row.REQID, 1);
  writeEncap(ns, body);
  writer.end();
  return true;
}

/** The extension that identifies an SA, with its window, state and algorithms. */
export function writeSaExtension({ sad, host }: Namespace, slot: number, body: Uint8Array): void {
  const { pfkeyWriter: writer } = host;
  const at = writer.extension(PfkeyExt.sa, Sa.SIZE);
  writer.words(at + Sa.SPI, sad.words, sad.row(slot) + Row.SPI, 1);
  writer.bytes[at + Sa.REPLAY] = sad.replayWindow(slot);
  writer.bytes[at + Sa.STATE] = stateOf(sad.state(slot), sad.has(slot, RowBit.DYING));
  const name = (type: number): string => {
    const found = encodedAttribute(body, type);
    return found < 0 ? '' : nameAt(body, found);
  };
  writer.bytes[at + Sa.AUTH] = idOf(authById, name(ALG_AUTH));
  writer.bytes[at + Sa.ENCRYPT] = idOf(encryptById, name(ALG_CRYPT)) || idOf(compById, name(ALG_COMP));
  const flags = sad.flags(slot);
  let shown = 0;
  if ((flags & SaFlag.NOECN) !== 0) shown += PfkeySaFlag.NOECN;
  if ((flags & SaFlag.DECAP_DSCP) !== 0) shown += PfkeySaFlag.DECAP_DSCP;
  if ((flags & SaFlag.NOPMTUDISC) !== 0) shown += PfkeySaFlag.NOPMTUDISC;
  writer.u32(at + Sa.FLAGS, shown);
}

function stateOf(state: number, isDying: boolean): number {
  if (state === SaState.VALID) return isDying ? PfkeySaState.DYING : PfkeySaState.MATURE;
  return state === SaState.ACQ ? PfkeySaState.LARVAL : PfkeySaState.DEAD;
}

/** `fields`: the limits of packets, bytes, and time since the SA was added and first used. No limit is 0. */
function writeLimits(
  { sad, host }: Namespace,
  slot: number,
  type: number,
  [packets, bytes, added, used]: readonly [number, number, number, number],
): void {
  const { pfkeyWriter: writer } = host;
  const { words } = sad;
  const row = sad.row(slot);
  const isSet = (at: number): boolean => words[row + at] !== U32_MAX || words[row + at + 1] !== U32_MAX;
  const at = writer.extension(type, Lifetime.SIZE);
  if (isSet(packets)) writer.words(at + Lifetime.ALLOCATIONS, words, row + packets + LOW, 1);
  if (isSet(bytes)) writer.words(at + Lifetime.BYTES, words, row + bytes, 2);
  writer.words(at + Lifetime.ADDTIME, words, row + added, 2);
  writer.words(at + Lifetime.USETIME, words, row + used, 2);
}

/** The word of a 64-bit number that a field of 32 bits takes. */
const LOW = little ? 0 : 1;

export function writeCurrent({ sad, host }: Namespace, slot: number): void {
  const { pfkeyWriter: writer } = host;
  const row = sad.row(slot);
  const at = writer.extension(PfkeyExt.lifetimeCurrent, Lifetime.SIZE);
  writer.words(at + Lifetime.ALLOCATIONS, sad.words, row + Row.PACKETS + LOW, 1);
  writer.words(at + Lifetime.BYTES, sad.words, row + Row.BYTES, 2);
  writer.words(at + Lifetime.ADDTIME, sad.words, row + Row.ADD_TIME, 2);
  writer.words(at + Lifetime.USETIME, sad.words, row + Row.USE_TIME, 2);
}

/** The source that the selector asks for, where it is not the SA's own: mostly that is so, as the selector of most SAs asks for none. */
function writeProxy({ sad, host }: Namespace, slot: number, family: number, size: number): void {
  const selector = sad.selector(slot);
  const base = 4 * sad.row(slot) + InfoByte.SADDR;
  let same = true;
  for (let i = 0; i < size; i++) same &&= selector[Sel.SADDR + i] === sad.bytes[base + i];
  if (same) return;
  host.pfkeyWriter.address(PfkeyExt.addressProxy, family, selector.subarray(Sel.SADDR, Sel.SADDR + 16), {
    proto: upperProtoOf(selector[Sel.PROTO] as number),
    prefixlen: selector[Sel.PREFIX_S] as number,
    port: netHalfAt(selector, Sel.SPORT),
  });
}

function writeKey({ host }: Namespace, type: number, body: Uint8Array, algorithm: number): void {
  if (algorithm < 0) return;
  const bits = new DataView(body.buffer, body.byteOffset).getUint32(algorithm + Algo.BITS, little);
  if (bits === 0) return;
  const bytes = Math.ceil(bits / 8);
  const { pfkeyWriter: writer } = host;
  const at = writer.extension(type, Key.KEY + align8(bytes));
  writer.u16(at + Key.BITS, bits);
  writer.bytes.set(body.subarray(algorithm + Algo.KEY, algorithm + Algo.KEY + bytes), at + Key.KEY);
}

function writeEncap({ host }: Namespace, body: Uint8Array): void {
  const encap = encodedAttribute(body, ENCAP);
  if (encap < 0) return;
  const view = new DataView(body.buffer, body.byteOffset);
  const type = view.getUint16(encap + Encap.TYPE, little);
  if (type === 0) return;
  const { pfkeyWriter: writer } = host;
  const kind = writer.extension(PfkeyExt.natTType, NatTType.SIZE);
  writer.bytes[kind + NatTType.TYPE] = type;
  writePort(writer, PfkeyExt.natTSport, view.getUint16(encap + Encap.SPORT));
  writePort(writer, PfkeyExt.natTDport, view.getUint16(encap + Encap.DPORT));
}

/** `port` in host order. */
export function writePort(writer: Namespace['host']['pfkeyWriter'], type: number, port: number): void {
  const at = writer.extension(type, NatTPort.SIZE);
  writer.view.setUint16(at + NatTPort.PORT, port);
}
