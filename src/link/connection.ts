import type { TLSSocket } from 'node:tls';
import type { Frame } from '../replica/index.ts';
import { decodeFrame, encodeFrame, FRAME_HEADER, FRAME_MAX } from './codec.ts';
import { LinkError } from './errors.ts';

/** Above this many bytes that wait to be sent, `send` still takes a frame but `writable` says no: counters are then coalesced. */
const WAITING_MAX = 1 << 20;

/** Above this many the other side does not keep up: it is let go, and gets a whole account when it comes back. */
const UNSENT_MAX = 64 << 20;
/** Bytes of a frame's first field: a wrong length is refused before anything else comes. */
const LENGTH = 4;
/** What still waits when a connection is closed may take this long. */
const LINGER_MS = 1_000;

export interface ConnectionEvents {
  onFrame(frame: Frame): void;
  /** Once, when the connection is over. */
  onClose(reason: string): void;
  /** What waited has been sent. */
  onWritable(): void;
}

/** One authenticated connection to the other node: frames in, frames out. */
export class Connection {
  readonly #socket: TLSSocket;
  readonly #events: ConnectionEvents;
  #pieces: Uint8Array[] = [];
  #received = 0;
  /** Bytes that the next step takes: pieces of a long frame are put together once, not with every piece. */
  #needed = LENGTH;
  #closed = false;

  constructor(socket: TLSSocket, events: ConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => this.#onData(bytes));
    socket.on('drain', () => events.onWritable());
    socket.on('error', (error) => this.#end(error.message));
    socket.on('close', () => this.#end('the connection was closed'));
  }

  get writable(): boolean {
    return !this.#closed && this.#socket.writableLength < WAITING_MAX;
  }

  /** `bytes`: a frame. */
  send(bytes: Uint8Array): void {
    if (this.#closed) return;
    this.#socket.write(bytes);
    const unsent = this.#socket.writableLength;
    if (unsent <= UNSENT_MAX) return;
    this.#socket.destroy();
    this.#end(`the other side does not keep up: ${unsent} bytes wait for it`);
  }

  /** Reads no further frames until `resume`. */
  pause(): void {
    if (!this.#closed) this.#socket.pause();
  }

  resume(): void {
    if (!this.#closed && this.#socket.isPaused()) this.#socket.resume();
  }

  /** Sends what the iterable yields, no faster than the other side takes it. */
  async stream(frames: Iterable<Frame>): Promise<void> {
    for (const frame of frames) {
      if (this.#closed) return;
      if (!this.#socket.write(encodeFrame(frame)) && this.#socket.writableLength > WAITING_MAX) {
        await new Promise<void>((resolve) => {
          const go = (): void => {
            this.#socket.off('drain', go);
            this.#socket.off('close', go);
            resolve();
          };
          this.#socket.once('drain', go);
          this.#socket.once('close', go);
        });
      }
    }
  }

  /** What has been sent goes out first. */
  close(reason: string): void {
    this.#socket.end();
    this.#end(reason);
  }

  #end(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    // What still arrives is of no interest; half-closed peers must not keep the descriptor.
    this.#socket.removeAllListeners('data');
    this.#socket.resume();
    setImmediate(() => this.#socket.destroySoon());
    // Another side that vanished takes nothing any more.
    const linger = setTimeout(() => this.#socket.destroy(), LINGER_MS);
    this.#socket.once('close', () => clearTimeout(linger));
    this.#events.onClose(reason);
  }

  #onData(bytes: Buffer): void {
    this.#pieces.push(bytes);
    this.#received += bytes.length;
    if (this.#received < this.#needed) return;
    const all = this.#pieces.length === 1 ? bytes : Buffer.concat(this.#pieces);
    let at = 0;
    this.#needed = LENGTH;
    while (!this.#closed && all.length - at >= LENGTH) {
      const length = new DataView(all.buffer, all.byteOffset + at).getUint32(0) + 4;
      if (length < FRAME_HEADER || length > FRAME_MAX) {
        this.#fault(new LinkError('ERR_FRAME', `a frame of ${length} bytes`));
        return;
      }
      if (all.length - at < length) {
        this.#needed = length;
        break;
      }
      try {
        this.#events.onFrame(decodeFrame(all.subarray(at, at + length)));
      } catch (error) {
        if (!(error instanceof LinkError)) throw error;
        this.#fault(error);
        return;
      }
      at += length;
    }
    this.#pieces = at < all.length ? [all.subarray(at)] : [];
    this.#received = all.length - at;
  }

  #fault(error: LinkError): void {
    this.#socket.destroy();
    this.#end(`the other side sent ${error.message}`);
  }
}
