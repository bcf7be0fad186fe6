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
