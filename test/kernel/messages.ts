/** XFRM messages by hand (linux/xfrm.h), for tests of the socket: they must not rest on the codec. Little-endian machines. */
import type { Batch } from '../../src/kernel/kernel.ts';

export const Group = { policy: 4, aevents: 5 } as const;
export const Type = {
  error: 2,
  done: 3,
  newPolicy: 0x13,
  delPolicy: 0x14,
  getPolicy: 0x15,
  newSa: 0x10,
  allocSpi: 0x16,
  newAe: 0x1e,
  getAe: 0x1f,
} as const;
export const Flag = { request: 1, ack: 4, dump: 0x300, create: 0x400 } as const;

const HEADER = 16;
const AF_INET = 2;
const IPPROTO_ESP = 50;
const LARVAL_DESTINATION = 0x0a000002;
const LARVAL_SOURCE = 0x0a000001;
const DIRECTION_OUT = 1;
const INFINITE = 0xffffffffffffffffn;
const NEWPOLICY_BYTES = HEADER + 168;
const DELPOLICY_BYTES = HEADER + 64;

export function message(type: number, flags: number, sequence: number, payloadBytes: number): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(HEADER + payloadBytes));
  putHeader(view, 0, view.byteLength, type, flags, sequence);
  return view;
}

/** A datagram of `count` messages: policies added and deleted in turns, so that nothing remains; `sequence` counts up from `first`. */
export function policyChurn(first: number, count: number, extraFlags = 0): Uint8Array<ArrayBuffer> {
  const pairs = Math.ceil(count / 2);
  const view = new DataView(new ArrayBuffer(pairs * NEWPOLICY_BYTES + (count - pairs) * DELPOLICY_BYTES));
  for (let i = 0, at = 0; i < count; i++) {
    at +=
      i % 2 === 0
        ? putNewPolicy(view, at, first + i, i >> 1, extraFlags)
        : putDelPolicy(view, at, first + i, i >> 1, extraFlags);
  }
  return new Uint8Array(view.buffer);
}

/** A datagram that adds `count` policies, numbered from `first`. */
export function policies(first: number, count: number): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(count * NEWPOLICY_BYTES));
  for (let i = 0; i < count; i++) putNewPolicy(view, i * NEWPOLICY_BYTES, first + i, first + i, 0);
  return new Uint8Array(view.buffer);
}

/** Asks for an SPI: the kernel makes a larval SA, even where it knows no ESP. */
export function allocSpi(sequence: number, spiMin: number, spiMax: number): Uint8Array<ArrayBuffer> {
  const view = message(Type.allocSpi, Flag.request, sequence, 224 + 8);
  putSelector(view, HEADER, 1);
  putAddress(view, HEADER + 56, LARVAL_DESTINATION);
  view.setUint8(HEADER + 76, IPPROTO_ESP);
  putAddress(view, HEADER + 80, LARVAL_SOURCE);
  for (let i = 0; i < 4; i++) view.setBigUint64(HEADER + 96 + 8 * i, INFINITE, true);
  view.setUint32(HEADER + 208, 1, true);
  view.setUint16(HEADER + 212, AF_INET, true);
  view.setUint32(HEADER + 224, spiMin, true);
  view.setUint32(HEADER + 228, spiMax, true);
  return new Uint8Array(view.buffer);
}

/** Asks for the state of the SA that `allocSpi` has made. */
export function getAe(sequence: number, spi: number): Uint8Array<ArrayBuffer> {
  const view = message(Type.getAe, Flag.request, sequence, 48);
  putAddress(view, HEADER, LARVAL_DESTINATION);
  view.setUint32(HEADER + 16, spi);
  view.setUint16(HEADER + 20, AF_INET, true);
  view.setUint8(HEADER + 22, IPPROTO_ESP);
  putAddress(view, HEADER + 24, LARVAL_SOURCE);
  return new Uint8Array(view.buffer);
}

export interface Message {
  type: number;
  sequence: number;
  length: number;
  /** Of an error or acknowledgement; else 0. */
  error: number;
}

/** Every netlink message of a batch. */
export function* messages({ view, count, offsets, lengths }: Batch): Generator<Message> {
  for (let i = 0; i < count; i++) {
    const start = offsets[i] as number;
    const end = start + (lengths[i] as number);
    for (let at = start; at + HEADER <= end; ) {
      const length = view.getUint32(at, true);
      const type = view.getUint16(at + 4, true);
      yield {
        type,
        length,
        sequence: view.getUint32(at + 8, true),
        error: type === Type.error ? view.getInt32(at + HEADER, true) : 0,
      };
      at += Math.max(HEADER, (length + 3) & ~3);
    }
  }
}

function putHeader(view: DataView, at: number, length: number, type: number, flags: number, sequence: number): void {
  view.setUint32(at, length, true);
  view.setUint16(at + 4, type, true);
  view.setUint16(at + 6, flags, true);
  view.setUint32(at + 8, sequence, true);
}

function putNewPolicy(view: DataView, at: number, sequence: number, number: number, extraFlags: number): number {
  putHeader(view, at, NEWPOLICY_BYTES, Type.newPolicy, Flag.request | Flag.create | extraFlags, sequence);
  putSelector(view, at + HEADER, number);
  for (let i = 0; i < 4; i++) view.setBigUint64(at + HEADER + 56 + 8 * i, INFINITE, true);
  view.setUint8(at + HEADER + 160, DIRECTION_OUT);
  return NEWPOLICY_BYTES;
}

function putDelPolicy(view: DataView, at: number, sequence: number, number: number, extraFlags: number): number {
  putHeader(view, at, DELPOLICY_BYTES, Type.delPolicy, Flag.request | extraFlags, sequence);
  putSelector(view, at + HEADER, number);
  view.setUint8(at + HEADER + 60, DIRECTION_OUT);
  return DELPOLICY_BYTES;
}

function putSelector(view: DataView, at: number, number: number): void {
  putAddress(view, at, 0x0b000000 + number);
  putAddress(view, at + 16, 0x0a000001);
  view.setUint16(at + 40, AF_INET, true);
  view.setUint8(at + 42, 32);
  view.setUint8(at + 43, 32);
}

function putAddress(view: DataView, at: number, ipv4: number): void {
  view.setUint32(at, ipv4);
}
