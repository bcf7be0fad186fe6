import type { Request } from '../../src/client/index.ts';
import type { Batch, Kernel, KernelSocket, OpenOptions } from '../../src/kernel/index.ts';
import { forEachMessage } from '../../src/netlink/index.ts';
import { type AnyXfrmMessage, decodeMessage, encodeMessage } from '../../src/xfrm/index.ts';
import { ModelKernel } from '../replica/model-kernel.ts';

/** A model kernel behind the door: what a daemon opens, where there is no kernel with ESP. */

const ERROR = 2;
const DONE = 3;
const DUMP = 0x300;

export class ModelDoor implements Kernel {
  readonly name = 'model';
  readonly model = new ModelKernel();
  readonly sockets = new Set<ModelSocket>();

  async open(options: OpenOptions = {}): Promise<KernelSocket> {
    const socket = new ModelSocket(this, [...(options.groups ?? [])].length > 0, this.sockets.size + 1);
    this.sockets.add(socket);
    return socket;
  }

  /** Hands out what the model has said since the last call. */
  publish(): void {
    const { events, lost } = this.model;
    this.model.events = [];
    this.model.lost = false;
    for (const socket of this.sockets)
      if (socket.listens)
        socket.give(
          events.map(({ bytes }) => bytes),
          lost,
        );
  }
}

class ModelSocket implements KernelSocket {
  readonly portId: number;
  readonly receiveBufferBytes = 1 << 20;
  readonly listens: boolean;
  readonly #door: ModelDoor;
  #waiting: Uint8Array[] = [];
  #handler: ((batch: Batch) => void) | undefined;
  #overrun: () => void = () => {};
  #immediate: NodeJS.Immediate | undefined;

  constructor(door: ModelDoor, listens: boolean, portId: number) {
    this.#door = door;
    this.listens = listens;
    this.portId = portId;
  }

  send(datagram: Uint8Array): void {
    forEachMessage(
      datagram,
      (at, length) => this.give(this.#answer(datagram.slice(at, at + length)), false),
      0,
      datagram.length,
    );
    this.#door.publish();
  }

  receive(handler: (batch: Batch) => void): void {
    this.#handler = handler;
    this.#later();
  }

  drain(): void {
    const datagrams = this.#waiting;
    if (this.#handler === undefined || datagrams.length === 0) return;
    this.#waiting = [];
    const lengths = Uint32Array.from(datagrams.map(({ length }) => length));
    const offsets = new Uint32Array(datagrams.length);
    let at = 0;
    datagrams.forEach(({ length }, i) => {
      offsets[i] = at;
      at += (length + 3) & ~3;
    });
    const buffer = new Uint8Array(at);
    datagrams.forEach((bytes, i) => {
      buffer.set(bytes, offsets[i]);
    });
    this.#handler({ buffer, view: new DataView(buffer.buffer), count: datagrams.length, offsets, lengths });
  }

  give(datagrams: readonly Uint8Array[], lost: boolean): void {
    if (lost) this.#overrun();
    this.#waiting.push(...datagrams);
    this.#later();
  }

  onOverrun(handler: () => void): void {
    this.#overrun = handler;
  }

  onError(): void {}

  close(): void {
    this.#door.sockets.delete(this);
    clearImmediate(this.#immediate);
    this.#handler = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #later(): void {
    if (this.#immediate !== undefined || this.#waiting.length === 0) return;
    this.#immediate = setImmediate(() => {
      this.#immediate = undefined;
      this.drain();
    });
  }

  #answer(bytes: Uint8Array): Uint8Array[] {
    const message = decodeMessage(bytes);
    const { model } = this.#door;
    const { flags, seq, kind } = message;
    if ((flags & DUMP) === DUMP && (kind === 'GETSA' || kind === 'GETPOLICY')) {
      const { sas, policies } = model.dump();
      const parts =
        kind === 'GETSA'
          ? sas.map((s) => ({ kind: 'NEWSA', ...s }))
          : policies.map((p) => ({ kind: 'NEWPOLICY', ...p }));
      return [...parts.map((part) => encoded(part, seq, 2)), numbers(DONE, seq, [0])];
    }
    const { reply, error } = model.execute(message as Request);
    return [...(reply ? [encoded(reply, seq, 0)] : []), numbers(ERROR, seq, [error ? -error.errno : 0, 0, 0, 0, 0])];
  }
}

const encoded = (message: object, seq: number, flags: number): Uint8Array =>
  encodeMessage({ pid: 0, ...message, seq, flags } as AnyXfrmMessage);

function numbers(type: number, seq: number, words: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(16 + 4 * words.length));
  view.setUint32(0, view.byteLength, true);
  view.setUint16(4, type, true);
  view.setUint32(8, seq, true);
  words.forEach((word, i) => {
    view.setInt32(16 + 4 * i, word, true);
  });
  return new Uint8Array(view.buffer);
}
