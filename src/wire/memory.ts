import { markAsUntransferable } from 'node:worker_threads';

/** As much as Node's own pool of small buffers: a message that is kept keeps no more than this alive. */
const SLAB_BYTES = 8192;

let slab = new DataView(new ArrayBuffer(0));
let used = 0;

/** Zeroed memory for a message. Small ones share a slab, since to allocate memory costs more than to encode a message into it. */
export function room(length: number): { readonly view: DataView<ArrayBuffer>; readonly at: number } {
  if (length > SLAB_BYTES / 4) return { view: new DataView(new ArrayBuffer(length)), at: 0 };
  if (used + length > slab.byteLength) {
    const memory = new ArrayBuffer(SLAB_BYTES);
    // To transfer one message to a worker would take its neighbours away.
    markAsUntransferable(memory);
    slab = new DataView(memory);
    used = 0;
  }
  const at = used;
  used += (length + 7) & ~7;
  return { view: slab, at };
}

let lastBytes: Uint8Array | undefined;
let lastView: DataView;

/** A DataView over the same memory; the last one is kept, as decoding goes through one buffer message by message. */
export function viewOf(bytes: Uint8Array): DataView {
  if (bytes !== lastBytes) {
    lastView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    lastBytes = bytes;
  }
  return lastView;
}

export function copyBytes(view: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, length).slice();
}

/** Whether the `length` bytes at `at` are zero. */
export function allZero(view: DataView, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (view.getUint8(at + i) !== 0) return false;
  return true;
}
