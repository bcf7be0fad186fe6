import { hostLittleEndian } from '../../netlink/index.ts';
import { MessageWriter } from './build.ts';
import { startLifetimeTimer } from './lifetime.ts';
import type { Namespace } from './namespace.ts';
import { HIGH, InfoByte, LOW, Row, SaState, setNumber64 } from './row.ts';
import { NO_SLOT } from './sad.ts';
import { Sel } from './selector.ts';
import { cpuOf, writeMark } from './write-sa.ts';

const little = hostLittleEndian;
const INET = 2;
const INET6 = 10;
const U32_MAX = 0xffff_ffff;
const SA_DIR = 33;
const SA_PCPU = 35;

/** What a larval SA is for. */
export interface LarvalFacts {
  readonly family: number;
  readonly mode: number;
  readonly proto: number;
  readonly reqid: number;
  readonly ifId: number;
  /** As it was given, not ANDed with its mask: an SA that looks for a larval one is. */
  readonly mark: number;
  readonly markMask: number;
  /** 16 bytes each. */
  readonly daddr: Uint8Array;
  readonly saddr: Uint8Array;
  /** The number of its ACQUIRE; 0: none. */
  readonly seq: number;
  /** What the template asks for, in network order as a row keeps it. */
  readonly spi?: number;
  /** The one CPU that it is for. */
  readonly cpu?: number | undefined;
}

function sameAddress(bytes: Uint8Array, at: number, address: Uint8Array, family: number): boolean {
  // Of a family that it does not know the kernel compares what an IPv4 address has (net/xfrm.h:xfrm_addr_equal).
  const length = family === INET6 ? 16 : 4;
  for (let i = 0; i < length; i++) if (bytes[at + i] !== address[i]) return false;
  return true;
}

/** A larval SA by the number of its ACQUIRE. */
export function larvalBySeq(ns: Namespace, seq: number, mark: number, daddr: Uint8Array): number {
  const { sad } = ns;
  for (const slot of sad.larval) {
    const row = sad.row(slot);
    if (sad.words[row + Row.ACQ_SEQ] !== seq || sad.state(slot) !== SaState.ACQ) continue;
    if ((mark & (sad.words[row + Row.MARK_MASK] as number)) >>> 0 !== sad.words[row + Row.MARK]) continue;
    if (sameAddress(sad.bytes, 4 * row + InfoByte.DADDR, daddr, sad.family(slot))) return slot;
  }
  return NO_SLOT;
}

type LarvalKey = Omit<LarvalFacts, 'ifId' | 'seq' | 'spi'>;

/** A larval SA without SPI for the same purpose, the newest of several (xfrm_state.c:__find_acq_core). */
export function findLarval(ns: Namespace, facts: LarvalKey): number {
  const { sad } = ns;
  const mark = (facts.mark & facts.markMask) >>> 0;
  for (const slot of [...sad.larval].reverse()) {
    const row = sad.row(slot);
    const word = (at: number): number => sad.words[row + at] as number;
    if (
      sad.state(slot) !== SaState.ACQ ||
      word(Row.SPI) !== 0 ||
      word(Row.REQID) !== facts.reqid ||
      cpuOf(sad, slot) !== facts.cpu
    )
      continue;
    if ((mark & word(Row.MARK_MASK)) >>> 0 !== word(Row.MARK)) continue;
    if (sad.mode(slot) !== facts.mode || sad.proto(slot) !== facts.proto || sad.family(slot) !== facts.family) continue;
    if (!sameAddress(sad.bytes, 4 * row + InfoByte.DADDR, facts.daddr, facts.family)) continue;
    if (sameAddress(sad.bytes, 4 * row + InfoByte.SADDR, facts.saddr, facts.family)) return slot;
  }
  return NO_SLOT;
}

/** Makes a larval SA: its selector is the two hosts, it lives as long as xfrm_acq_expires says. */
export function newLarval(ns: Namespace, facts: LarvalFacts): number {
  const { sad } = ns;
  const slot = sad.allocate();
  const row = sad.row(slot);
  const { words, bytes, view } = sad;
  const base = 4 * row;
  // Of a family that it does not know the kernel takes no address.
  const length = facts.family === INET ? 4 : facts.family === INET6 ? 16 : 0;
  const selector = new Uint8Array(Sel.SIZE);
  for (const [address, inSelector, inRow] of [
    [facts.daddr, Sel.DADDR, InfoByte.DADDR],
    [facts.saddr, Sel.SADDR, InfoByte.SADDR],
  ] as const) {
    selector.set(address.subarray(0, length), inSelector);
    bytes.set(address.subarray(0, length), base + inRow);
  }
  selector[Sel.PREFIX_D] = 8 * length;
  selector[Sel.PREFIX_S] = 8 * length;
  sad.setSelector(slot, selector);
  bytes[base + InfoByte.PROTO] = facts.proto;
  view.setUint16(base + InfoByte.FAMILY, facts.family, little);
  bytes[base + InfoByte.MODE] = facts.mode;
  words.fill(U32_MAX, row + Row.SOFT_BYTE, row + Row.SOFT_ADD);
  words[row + Row.HARD_ADD + LOW] = ns.sysctls.acqExpires;
  words[row + Row.HARD_ADD + HIGH] = ns.sysctls.acqExpires < 0 ? U32_MAX : 0;
  setNumber64(words, row + Row.ADD_TIME, ns.host.seconds());
  words[row + Row.SPI] = facts.spi ?? 0;
  words[row + Row.ACQ_SEQ] = facts.seq;
  words[row + Row.REQID] = facts.reqid;
  words[row + Row.STATE] = SaState.ACQ;
  words[row + Row.MARK] = facts.mark;
  words[row + Row.MARK_MASK] = facts.markMask;
  words[row + Row.IF_ID] = facts.ifId;
  showLarval(ns, slot, facts.cpu);
  return slot;
}

const scratch = new MessageWriter(false);

/** Encodes the attributes that a larval SA shows: its mark, its CPU, and its direction when it has got one. */
export function showLarval({ sad }: Namespace, slot: number, cpu = cpuOf(sad, slot)): void {
  const row = sad.row(slot);
  scratch.reset();
  writeMark(scratch, sad.words[row + Row.MARK] as number, sad.words[row + Row.MARK_MASK] as number);
  const body = scratch.bytes.slice(0, scratch.at);
  scratch.reset();
  if (cpu !== undefined) scratch.u32(SA_PCPU, cpu);
  if (sad.dir(slot) !== 0) scratch.u8(SA_DIR, sad.dir(slot));
  sad.setAttributes(slot, { head: new Uint8Array(0), body, tail: scratch.bytes.slice(0, scratch.at) });
}

export function insertLarval(ns: Namespace, slot: number): void {
  ns.sad.insert(slot);
  startLifetimeTimer(ns, slot, 1000 * ns.sysctls.acqExpires);
}
