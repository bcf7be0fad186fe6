/**
 * A netlink socket over a stream: frames of a header and a payload. Header: the payload's length and the frame's type, each 32 bits,
 * little endian. Datagrams travel as they are, in the byte order of the kernel's host.
 */

export const FrameType = {
  /** From the client, first and once: size of the receive buffer (0: the default), then the groups; 32 bits each. */
  OPEN: 1,
  /** The answer: port id and receive buffer; 32 bits each. */
  OPENED: 2,
  /** Either way: one datagram, as one sendmsg(2). */
  DATAGRAM: 3,
  /** Messages to this socket were lost. No payload. */
  OVERRUN: 4,
  /** The socket has ended: `Fault` as JSON. */
  FAULT: 5,
} as const;

export interface Fault {
  readonly code: string;
  readonly message: string;
  readonly errno?: number | undefined;
  readonly syscall?: string | undefined;
}

export const HEADER_BYTES = 8;
/** No netlink datagram is longer: a send buffer's 212,992 bytes, a dump's 32 KiB. */
export const PAYLOAD_BYTES_MAX = 1 << 20;

export function frame(type: number, payload: Uint8Array, start = 0, length: number = payload.length): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + length);
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt32LE(type, 4);
  bytes.set(payload.subarray(start, start + length), HEADER_BYTES);
  return bytes;
}

export function words(values: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, 4 * i);
  return bytes;
}

/** The bytes that came are no frames: the other end is something else, or of another version. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
  readonly code = 'ERR_FRAME';
}

/** Cuts a stream into frames; the reader takes them one at a time. */
export class FrameReader {
  type = 0;
  /** Of the frame that `next` has found; good until the next `push`. */
  payload: Buffer = Buffer.alloc(0);
  #bytes: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
  }

  /** False: no whole frame is there. @throws FrameError */
  next(): boolean {
    const bytes = this.#bytes;
    if (bytes.length < HEADER_BYTES) return false;
    const length = bytes.readUInt32LE(0);
    if (length > PAYLOAD_BYTES_MAX)
      throw new FrameError(`a frame of ${length} bytes: what is at the other end of the socket is no kernel`);
    const end = HEADER_BYTES + length;
    if (bytes.length < end) return false;
    this.type = bytes.readUInt32LE(4);
    this.payload = bytes.subarray(HEADER_BYTES, end);
    this.#bytes = bytes.subarray(end);
    return true;
  }
}
