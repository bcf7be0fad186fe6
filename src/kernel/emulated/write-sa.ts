import { hostLittleEndian } from '../../netlink/index.ts';
import type { MessageWriter } from './build.ts';
import type { Namespace } from './namespace.ts';
import { InfoByte, Row, setNumber64 } from './row.ts';
import type { Sad } from './sad.ts';

/** An SA as the kernel shows it: structure, then attributes in one fixed order (xfrm_user.c:copy_to_user_state_extra). */

const LASTUSED = 15;
const MARK = 21;
const REPLAY_VAL = 10;
const REPLAY_ESN_VAL = 23;
const IF_ID = 31;
const MTIMER_THRESH = 32;
const SA_DIR = 33;
const SA_PCPU = 35;

export function writeMark(writer: MessageWriter, value: number, mask: number): void {
  if ((value | mask) === 0) return;
  const at = writer.attribute(MARK, 8);
  pair[0] = value;
  pair[1] = mask;
  writer.words(at, pair, 0, 2);
}

const pair = new Uint32Array(2);

/** The replay state, in the one form that the SA has. */
export function writeReplay(ns: Namespace, slot: number): void {
  const { sad } = ns;
  const { writer } = ns.host;
  const count = sad.replayLength(slot);
  const type = sad.hasBitmap(slot) ? REPLAY_ESN_VAL : REPLAY_VAL;
  writer.words(writer.attribute(type, 4 * count), sad.replayWords(slot), sad.replayAt(slot), count);
}

/** Copies xfrm_usersa_info of an SA to `at`. */
export function copyInfo(ns: Namespace, slot: number, at: number): void {
  const { sad, host } = ns;
  const from = 4 * sad.row(slot);
  host.writer.bytes.set(sad.selector(slot), at);
  host.writer.bytes.set(sad.bytes.subarray(from + InfoByte.DADDR, from + InfoByte.SIZE), at + InfoByte.DADDR);
}

/** The attributes of an SA behind its structure. */
export function writeExtras(ns: Namespace, slot: number): void {
  const { sad, host } = ns;
  const { writer, profile } = host;
  const { words } = sad;
  const row = sad.row(slot);
  const { head, body, tail } = sad.attributes(slot);
  writer.raw(head);
  const lastUsed = words[row + Row.LASTUSED] as number;
  if (profile.lastUsed && lastUsed !== 0) {
    writer.pad64();
    setNumber64(pair, 0, lastUsed);
    writer.words(writer.attribute(LASTUSED, 8), pair, 0, 2);
  }
  writer.raw(body);
  writeReplay(ns, slot);
  const ifId = words[row + Row.IF_ID] as number;
  if (ifId !== 0) writer.u32(IF_ID, ifId);
  const mappingMaxage = words[row + Row.MAPPING_MAXAGE] as number;
  if (mappingMaxage !== 0) writer.u32(MTIMER_THRESH, mappingMaxage);
  writer.raw(tail);
}

const little = hostLittleEndian;

/** The one CPU that an SA is for (XFRMA_SA_PCPU, the first of its last attributes); undefined: any. */
export function cpuOf(sad: Sad, slot: number): number | undefined {
  if (!sad.hasTail(slot)) return undefined;
  const { tail } = sad.attributes(slot);
  if (tail.length < 8) return undefined;
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
  return view.getUint16(2, little) === SA_PCPU ? view.getUint32(4, little) : undefined;
}

/** SA_PCPU and SA_DIR, where an SA has them, as the last of an event. */
export function writeCpuAndDir(ns: Namespace, slot: number): void {
  const { sad, host } = ns;
  const dir = sad.dir(slot);
  const cpu = host.profile.saDir ? cpuOf(sad, slot) : undefined;
  if (cpu !== undefined) host.writer.u32(SA_PCPU, cpu);
  if (dir !== 0) host.writer.u8(SA_DIR, dir);
}

/** NEWSA, as a reply, a part of a dump, or an event of type `type`. */
export function writeSa(ns: Namespace, slot: number, type: number, flags: number, seq: number, pid: number): void {
  const { writer } = ns.host;
  const at = writer.begin(type, flags, seq, pid, InfoByte.SIZE);
  copyInfo(ns, slot, at);
  writeExtras(ns, slot);
  writer.end();
}
