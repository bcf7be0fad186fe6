import type { Counters, CountersEntry, Frame, FrameBody, GrantEntry } from '../replica/index.ts';
import { type AnyXfrmMessage, decodeMessage, encodeMessage, type XfrmMessage } from '../xfrm/index.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { LinkError } from './errors.ts';

/**
 * Frames on the wire (docs/protocol.md): u32 length of what follows, u8 type, u32 term, payload. Numbers of the frame are in network
 * order; SAs and policies travel as the kernel's own messages, in the byte order that `hello` names. Counters are packed: a few
 * variable-length numbers each.
 */

export const FRAME_HEADER = 9;
/** A longer frame is refused before it is read: nothing that is sent comes near it. */
export const FRAME_MAX = 1 << 20;
const HELLO_MAX = 4096;
const REASON_MAX = 1024;

const types = [
  'hello',
  'snapshotBegin',
  'snapshotEnd',
  'sa',
  'saDelete',
  'policy',
  'policyDelete',
  'counters',
  'ping',
  'pong',
  'resyncRequest',
  'handoverRequest',
  'handoverOffer',
  'handoverRefused',
  'handoverDone',
  'bye',
  'grants',
  'granted',
  'resign',
  'proven',
  'used',
  'vote',
  'voted',
  'withdrawn',
] as const satisfies FrameBody['type'][];

const HIGH_HALVES = 1;
const BITMAP = 2;
const QUIET = 4;

export function encodeFrame(frame: Frame): Uint8Array {
  const w = new ByteWriter();
  w.u32(0);
  w.u8(types.indexOf(frame.type));
  w.u32(frame.term);
  writePayload(w, frame);
  return w.finish();
}

function writePayload(w: ByteWriter, frame: Frame): void {
  switch (frame.type) {
    case 'hello': {
      const { cluster, node, role, littleEndian, version } = frame;
      w.text(JSON.stringify({ cluster, node, role, littleEndian, version }));
      break;
    }
    case 'snapshotBegin':
      w.u32(frame.sas);
      w.u32(frame.policies);
      w.varint(frame.asked);
      break;
    case 'sa':
      w.u32(frame.handle);
      w.u32(frame.thresholds.packets);
      w.u32(frame.thresholds.timerMs);
      w.varint(frame.granted);
      w.bytes(encodeMessage({ kind: 'NEWSA', flags: 0, seq: 0, pid: 0, ...frame.sa }));
      break;
    case 'saDelete':
      w.u32(frame.handle);
      break;
    case 'policy':
    case 'policyDelete':
      w.bytes(encodeMessage({ kind: 'NEWPOLICY', flags: 0, seq: 0, pid: 0, ...frame.policy }));
      break;
    case 'counters':
      w.varint(frame.entries.length);
      for (const entry of frame.entries) writeCounters(w, entry);
      break;
    case 'grants':
      w.varint(frame.id);
      writeNumbers(w, frame.entries);
      break;
    case 'used':
      w.u8(frame.last ? 1 : 0);
      writeNumbers(w, frame.entries);
      break;
    case 'granted':
      w.varint(frame.id);
      break;
    case 'vote':
      w.u32(frame.newTerm);
      w.u32(frame.account);
      w.varint(frame.asked);
      w.u8(frame.planned ? 1 : 0);
      break;
    case 'voted':
      w.u32(frame.newTerm);
      w.u32(frame.promised);
      w.text(frame.refusal.slice(0, REASON_MAX));
      break;
    case 'withdrawn':
      w.u32(frame.newTerm);
      break;
    case 'ping':
      w.f64(frame.timeMs);
      w.f64(frame.timeOfDayMs);
      if (frame.echo) {
        w.f64(frame.echo.timeMs);
        w.f64(frame.echo.heldMs);
      }
      break;
    case 'pong':
    case 'proven':
      w.f64(frame.timeMs);
      break;
    case 'handoverRefused':
    case 'bye':
      w.text(frame.reason.slice(0, REASON_MAX));
      break;
  }
}

function writeNumbers(w: ByteWriter, entries: readonly GrantEntry[]): void {
  w.varint(entries.length);
  for (const { handle, upTo } of entries) {
    w.varint(handle);
    w.varint(upTo);
  }
}

function writeCounters(w: ByteWriter, { handle, counters, quiet }: CountersEntry): void {
  const { oseq, oseqHi, seq, seqHi, bitmap, bytes, packets, addTime, useTime } = counters;
  w.varint(handle);
  w.u8((oseqHi !== 0 || seqHi !== 0 ? HIGH_HALVES : 0) | (bitmap ? BITMAP : 0) | (quiet ? QUIET : 0));
  w.varint(oseq);
  w.varint(seq);
  if (oseqHi !== 0 || seqHi !== 0) {
    w.varint(oseqHi);
    w.varint(seqHi);
  }
  w.varint(bytes);
  w.varint(packets);
  w.varint(addTime);
  // Use starts at or after adding; 0 stands for never.
  w.varint(useTime === 0 ? 0 : Math.max(useTime - addTime, 0) + 1);
  if (bitmap) {
    w.varint(bitmap.length);
    for (const word of bitmap) w.u32(word);
  }
}

/** Reads the frame whose header and payload are `bytes`. @throws LinkError and nothing else */
export function decodeFrame(bytes: Uint8Array): Frame {
  const r = new ByteReader(bytes);
  r.u32();
  const type = types[r.u8()];
  const term = r.u32();
  if (type === undefined) throw new LinkError('ERR_FRAME', 'a frame of unknown type');
  try {
    const body = readPayload(r, type);
    if (r.left > 0) throw new LinkError('ERR_FRAME', `a ${type} frame with ${r.left} bytes too many`);
    return { ...body, term } as Frame;
  } catch (error) {
    if (error instanceof LinkError) throw error;
    throw new LinkError('ERR_FRAME', `a ${type} frame that cannot be read: ${(error as Error).message}`);
  }
}

function readPayload(r: ByteReader, type: FrameBody['type']): FrameBody {
  switch (type) {
    case 'hello':
      return readHello(r.text(HELLO_MAX));
    case 'snapshotBegin':
      return { type, sas: r.u32(), policies: r.u32(), asked: r.varint() };
    case 'sa': {
      const handle = r.u32();
      const thresholds = { packets: r.u32(), timerMs: r.u32() };
      return { type, handle, thresholds, granted: r.varint(), sa: message(r, 'NEWSA') };
    }
    case 'saDelete':
      return { type, handle: r.u32() };
    case 'policy':
    case 'policyDelete':
      return { type, policy: message(r, 'NEWPOLICY') };
    case 'counters': {
      const count = r.varint();
      const entries: CountersEntry[] = [];
      for (let i = 0; i < count; i++) entries.push(readEntry(r));
      return { type, entries };
    }
    case 'grants': {
      const id = r.varint();
      return { type, id, entries: readNumbers(r) };
    }
    case 'granted':
      return { type, id: r.varint() };
    case 'used': {
      return { type, last: flag(r), entries: readNumbers(r) };
    }
    case 'vote':
      return { type, newTerm: r.u32(), account: r.u32(), asked: r.varint(), planned: flag(r) };
    case 'voted':
      return { type, newTerm: r.u32(), promised: r.u32(), refusal: r.text(REASON_MAX * 4) };
    case 'withdrawn':
      return { type, newTerm: r.u32() };
    case 'ping': {
      const times = { type, timeMs: r.f64(), timeOfDayMs: r.f64() };
      return r.left === 0 ? times : { ...times, echo: { timeMs: r.f64(), heldMs: r.f64() } };
    }
    case 'pong':
    case 'proven':
      return { type, timeMs: r.f64() };
    case 'handoverRefused':
    case 'bye':
      return { type, reason: r.text(REASON_MAX * 4) };
    default:
      return { type };
  }
}

function flag(r: ByteReader): boolean {
  const value = r.u8();
  if (value > 1) throw new LinkError('ERR_FRAME', 'a flag that is neither 0 nor 1');
  return value === 1;
}

function readNumbers(r: ByteReader): GrantEntry[] {
  const count = r.varint();
  const entries: GrantEntry[] = [];
  for (let i = 0; i < count; i++) entries.push({ handle: r.varint(), upTo: r.varint() });
  return entries;
}

function readEntry(r: ByteReader): CountersEntry {
  const handle = r.varint();
  const flags = r.u8();
  const counters = readCounters(r, flags);
  return flags & QUIET ? { handle, counters, quiet: true } : { handle, counters };
}

function readCounters(r: ByteReader, flags: number): Counters {
  const oseq = r.word();
  const seq = r.word();
  const oseqHi = flags & HIGH_HALVES ? r.word() : 0;
  const seqHi = flags & HIGH_HALVES ? r.word() : 0;
  const bytes = r.varint();
  const packets = r.varint();
  const addTime = r.varint();
  const used = r.varint();
  const useTime = used === 0 ? 0 : addTime + used - 1;
  let bitmap: number[] | undefined;
  if (flags & BITMAP) {
    const words = r.varint();
    if (words > 128) throw new LinkError('ERR_FRAME', 'a replay bitmap of more than 4096 bits');
    bitmap = [];
    for (let i = 0; i < words; i++) bitmap.push(r.u32());
  }
  return { oseq, oseqHi, seq, seqHi, bitmap, bytes, packets, addTime, useTime };
}

function readHello(text: string): FrameBody {
  const { cluster, node, role, littleEndian, version } = JSON.parse(text) as Record<string, unknown>;
  const isText = (v: unknown): v is string => typeof v === 'string' && v.length > 0 && v.length <= 255;
  if (!isText(cluster) || !isText(node) || !isText(version))
    throw new LinkError('ERR_FRAME', 'a hello without cluster, node or version');
  if (role !== 'active' && role !== 'standby') throw new LinkError('ERR_FRAME', 'a hello without a role');
  return { type: 'hello', cluster, node, role, version, littleEndian: littleEndian === true };
}

function message<K extends 'NEWSA' | 'NEWPOLICY'>(r: ByteReader, kind: K): Pick<XfrmMessage<K>, 'body' | 'attributes'> {
  const decoded: AnyXfrmMessage = decodeMessage(r.rest());
  if (decoded.kind !== kind) throw new LinkError('ERR_FRAME', `a message ${decoded.kind} where ${kind} belongs`);
  const { body, attributes } = decoded as XfrmMessage<K>;
  return { body, attributes };
}
