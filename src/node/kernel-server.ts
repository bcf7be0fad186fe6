import type { Socket } from 'node:net';
import { type Batch, type Kernel, KernelError, type KernelSocket } from '../kernel/index.ts';
import { type Fault, FrameReader, FrameType, frame, words } from '../kernel/unix/index.ts';
import { listenPrivately, type PrivateSocket } from './private-socket.ts';

const CONNECTIONS_MAX = 64;
/** A caller that does not say what it wants is not waited for. */
const OPEN_MS = 10_000;
/** What a caller has not taken yet, in bytes, before its netlink socket is held up; that one then overruns as any does. */
const UNSENT_BYTES_MAX = 1 << 20;

/** Offers a kernel on a Unix socket: each connection is a netlink socket of it. What `unixKernel` talks to. */
export function serveKernel(kernel: Kernel, path: string): Promise<PrivateSocket> {
  const serve = (stream: Socket): void => void new Caller(kernel, stream);
  return listenPrivately({ key: 'kernel.socket', path, connectionsMax: CONNECTIONS_MAX, serve });
}

class Caller {
  readonly #kernel: Kernel;
  readonly #stream: Socket;
  readonly #reader = new FrameReader();
  #socket: KernelSocket | undefined;

  constructor(kernel: Kernel, stream: Socket) {
    this.#kernel = kernel;
    this.#stream = stream;
    stream.setTimeout(OPEN_MS, () => stream.destroy());
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      this.#reader.push(chunk);
      this.#guarded(() => this.#read());
    });
    stream.on('drain', () => this.#socket?.receive(this.#onBatch));
    stream.once('close', () => this.#socket?.close());
  }

  #read(): void {
    while (!this.#stream.destroyed && this.#reader.next()) {
      const { type, payload } = this.#reader;
      if (this.#socket !== undefined && type === FrameType.DATAGRAM) {
        this.#socket.send(payload);
      } else if (this.#socket === undefined && type === FrameType.OPEN && payload.length % 4 === 0) {
        // Nothing more is read before there is a socket for it.
        this.#stream.pause();
        this.#open(payload).catch((error: unknown) => this.#fail(error));
        return;
      } else {
        throw new KernelError('ERR_ARGUMENT', `a frame of type ${type} that has no meaning here`);
      }
    }
  }

  async #open(payload: Buffer): Promise<void> {
    const [receiveBufferBytes = 0, ...groups] = Array.from({ length: payload.length / 4 }, (_, i) =>
      payload.readUInt32LE(4 * i),
    );
    const socket = await this.#kernel.open({ groups, ...(receiveBufferBytes > 0 && { receiveBufferBytes }) });
    if (this.#stream.destroyed) return socket.close();
    this.#socket = socket;
    socket.onOverrun(() => this.#stream.write(frame(FrameType.OVERRUN, words([]))));
    socket.onError((error) => this.#fail(error));
    this.#stream.write(frame(FrameType.OPENED, words([socket.portId, socket.receiveBufferBytes])));
    socket.receive(this.#onBatch);
    this.#stream.setTimeout(0).resume();
    this.#guarded(() => this.#read());
  }

  readonly #onBatch = ({ buffer, count, offsets, lengths }: Batch): void => {
    this.#stream.cork();
    for (let i = 0; i < count; i++) {
      this.#stream.write(frame(FrameType.DATAGRAM, buffer, offsets[i] as number, lengths[i] as number));
    }
    this.#stream.uncork();
    if (this.#stream.writableLength > UNSENT_BYTES_MAX) this.#socket?.receive(undefined);
  };

  #guarded(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Says why, and ends the connection. */
  #fail(error: unknown): void {
    const { code = 'ERR_ARGUMENT', message, errno, syscall } = error as KernelError;
    const fault: Fault = { code, message, errno, syscall };
    this.#socket?.close();
    this.#socket = undefined;
    this.#stream.removeAllListeners('data').end(frame(FrameType.FAULT, Buffer.from(JSON.stringify(fault))));
  }
}
