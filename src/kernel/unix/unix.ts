import { connect, type Socket } from 'node:net';
import { Datagrams } from '../datagrams.ts';
import { KernelError, type KernelErrorCode } from '../errors.ts';
import type { Batch, Kernel, KernelSocket, OpenOptions } from '../kernel.ts';
import { type Fault, FrameReader, FrameType, frame, PAYLOAD_BYTES_MAX, words } from './frames.ts';

/** How long the other end may take to answer when a socket is opened. */
const OPEN_MS = 5_000;

/**
 * A kernel in another process, behind a Unix socket: the emulated kernel of a daemon (`kernel.socket` in its configuration). Unlike with a
 * kernel of this machine, answers are not there when `send` returns; they come on a later turn of the event loop.
 *
 * `open` rejects with `KernelError`: ERR_NO_KERNEL if nobody answers there, ERR_PERMISSION if the socket belongs to another user, or
 * whatever the kernel at the other end says.
 */
export function unixKernel(path: string): Kernel {
  return { name: 'unix', open: (options = {}) => openSocket(path, options) };
}

function openSocket(path: string, { groups = [], receiveBufferBytes = 0 }: OpenOptions): Promise<KernelSocket> {
  return new Promise((resolve, reject) => {
    const stream = connect(path);
    const reader = new FrameReader();
    const fail = (error: KernelError): void => {
      stream.destroy();
      reject(error);
    };
    stream.setTimeout(OPEN_MS, () =>
      fail(new KernelError('ERR_NO_KERNEL', `${path} did not answer within ${OPEN_MS / 1000} s`)),
    );
    stream.once('connect', () => stream.write(frame(FrameType.OPEN, words([receiveBufferBytes, ...groups]))));
    stream.once('error', (error: NodeJS.ErrnoException) => fail(unreachable(path, error)));
    stream.once('close', () =>
      fail(new KernelError('ERR_NO_KERNEL', `${path} closed the connection: is it a kernel?`)),
    );
    stream.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk);
        if (!reader.next()) return;
        if (reader.type === FrameType.FAULT) return fail(faultOf(reader.payload));
        if (reader.type !== FrameType.OPENED || reader.payload.length !== 8)
          return fail(new KernelError('ERR_NO_KERNEL', `${path} is the socket of something else than a kernel`));
        stream.removeAllListeners().setTimeout(0);
        resolve(
          new UnixSocket(stream, reader, {
            portId: reader.payload.readUInt32LE(0),
            receiveBufferBytes: reader.payload.readUInt32LE(4),
          }),
        );
      } catch (cause) {
        fail(new KernelError('ERR_NO_KERNEL', `${path}: ${(cause as Error).message}`, { cause }));
      }
    });
  });
}

function unreachable(path: string, cause: NodeJS.ErrnoException): KernelError {
  const why = cause.code ?? cause.message;
  if (cause.code === 'EACCES' || cause.code === 'EPERM')
    return new KernelError('ERR_PERMISSION', `${path} belongs to another user (${why}): run the command as that user`, {
      cause,
    });
  return new KernelError(
    'ERR_NO_KERNEL',
    `cannot reach a kernel at ${path} (${why}): a daemon with kernel.type = "emulated" opens it`,
    { cause },
  );
}

const faultOf = (payload: Buffer): KernelError => {
  const { code, message, errno, syscall } = JSON.parse(payload.toString('utf8')) as Fault;
  return new KernelError(code as KernelErrorCode, message, {
    ...(errno !== undefined && { errno }),
    ...(syscall !== undefined && { syscall }),
  });
};

class UnixSocket implements KernelSocket {
  readonly portId: number;
  readonly receiveBufferBytes: number;
  readonly #stream: Socket;
  readonly #reader: FrameReader;
  readonly #queue = new Datagrams();
  #receiver: ((batch: Batch) => void) | undefined;
  #overrunHandler: (() => void) | undefined;
  #errorHandler: ((error: Error) => void) | undefined;
  #overrun = false;
  #handing = false;
  #closed = false;

  constructor(
    stream: Socket,
    reader: FrameReader,
    { portId, receiveBufferBytes }: { portId: number; receiveBufferBytes: number },
  ) {
    this.portId = portId;
    this.receiveBufferBytes = receiveBufferBytes;
    this.#stream = stream;
    this.#reader = reader;
    stream.pause();
    stream.on('data', (chunk: Buffer) => {
      this.#reader.push(chunk);
      this.#read();
    });
    stream.on('error', (cause) => this.#fail(new KernelError('ERR_CLOSED', cause.message, { cause })));
    stream.on('close', () => this.#fail(new KernelError('ERR_CLOSED', 'the kernel at the other end has gone away')));
  }

  send(datagram: Uint8Array): void {
    this.#mustBeOpen('send');
    if (datagram.length > PAYLOAD_BYTES_MAX)
      throw new KernelError('ERR_TOO_LARGE', `Cannot send ${datagram.length} bytes: at most ${PAYLOAD_BYTES_MAX}`);
    this.#stream.write(frame(FrameType.DATAGRAM, datagram));
  }

  receive(handler: ((batch: Batch) => void) | undefined): void {
    this.#mustBeOpen('receive');
    this.#receiver = handler;
    if (handler === undefined) {
      this.#stream.pause();
      return;
    }
    this.#stream.resume();
    // What had come behind the last frame that was taken.
    setImmediate(() => this.#read());
  }

  /** What has come is handed over as it comes; there is nothing to be had sooner. */
  drain(): void {
    this.#mustBeOpen('drain');
  }

  onOverrun(handler: () => void): void {
    this.#overrunHandler = handler;
  }

  onError(handler: (error: Error) => void): void {
    this.#errorHandler = handler;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // What was sent still goes out.
    this.#stream.end(() => this.#stream.destroy());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** Takes the frames that are there and hands the datagrams over as one batch. */
  #read(): void {
    if (this.#handing || this.#closed) return;
    this.#handing = true;
    try {
      while (this.#receiver !== undefined && this.#fill()) {
        if (this.#overrun) {
          this.#overrun = false;
          this.#overrunHandler?.();
        }
        if (this.#queue.count > 0) this.#receiver(this.#queue);
        if (this.#closed) return;
      }
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    } finally {
      this.#handing = false;
    }
  }

  /** Whether anything came. */
  #fill(): boolean {
    const [reader, queue] = [this.#reader, this.#queue];
    queue.clear();
    try {
      while (queue.count < BATCH_DATAGRAMS_MAX && reader.next()) {
        const { type, payload } = reader;
        if (type === FrameType.DATAGRAM) queue.push(payload, payload.length);
        else if (type === FrameType.OVERRUN) this.#overrun = true;
        else if (type === FrameType.FAULT) {
          this.#fail(faultOf(payload));
          return false;
        }
      }
    } catch (error) {
      this.#fail(error as Error);
      return false;
    }
    return queue.count > 0 || this.#overrun;
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stream.destroy();
    this.#errorHandler?.(error);
  }

  #mustBeOpen(call: string): void {
    if (this.#closed) throw new KernelError('ERR_CLOSED', `${call}: this socket is closed: open another one`);
  }
}

const BATCH_DATAGRAMS_MAX = 1024;
