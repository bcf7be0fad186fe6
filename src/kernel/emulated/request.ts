import { hostLittleEndian } from '../../netlink/index.ts';
import { type Extack, newExtack, RequestAttributes } from './attributes.ts';
import { Errno } from './errno.ts';
import type { Namespace } from './namespace.ts';
import { NO_SLOT } from './sad.ts';

const little = hostLittleEndian;
const MARK = 21;

/** Who sent a request: where replies go. */
export interface Requester {
  readonly portId: number;
  /** Delivers what the host's writer holds to the requester alone. */
  reply(): void;
  /** The same for replies that the kernel builds in a whole page: they weigh otherwise on the receive buffer. */
  replyOfPage(): void;
}

/** One request while it is carried out; reused from request to request. */
export class Request {
  readonly ns: Namespace;
  readonly attributes = new RequestAttributes();
  extack: Extack = newExtack();
  requester: Requester;
  bytes: Uint8Array = new Uint8Array(0);
  view: DataView = new DataView(new ArrayBuffer(0));
  /** Where the message starts, and its length. */
  at = 0;
  length = 0;
  type = 0;
  flags = 0;
  seq = 0;
  /** `nlmsg_pid` as the sender wrote it: it has no authority, but is repeated in events. */
  pid = 0;
  /** Where the fixed part starts. */
  body = 0;

  constructor(ns: Namespace, requester: Requester) {
    this.ns = ns;
    this.requester = requester;
  }

  u8(offset: number): number {
    return this.view.getUint8(this.body + offset);
  }

  u16(offset: number): number {
    return this.view.getUint16(this.body + offset, little);
  }

  u32(offset: number): number {
    return this.view.getUint32(this.body + offset, little);
  }

  /** Fails with `errno`, and a text for those who asked for one. */
  fail(errno: number, message?: string): number {
    if (message !== undefined) this.extack.message = message;
    return errno;
  }

  /** The text that releases from 6.2 on give. */
  failSince62(errno: number, message: string): number {
    return this.fail(errno, this.ns.host.profile.moreStrings ? message : undefined);
  }

  /** ENOMEM where the kernel allocates, while a test keeps its memory short; else 0. */
  outOfMemory(): number {
    return this.ns.host.memoryPressure ? Errno.ENOMEM : 0;
  }

  /** The mark of the request, ANDed with its mask (xfrm_mark_get). */
  mark(): number {
    const at = this.attributes.at(MARK);
    if (at < 0) return 0;
    return (this.view.getUint32(at, little) & this.view.getUint32(at + 4, little)) >>> 0;
  }

  markValue(): number {
    const at = this.attributes.at(MARK);
    return at < 0 ? 0 : this.view.getUint32(at, little);
  }

  markMask(): number {
    const at = this.attributes.at(MARK);
    return at < 0 ? 0 : this.view.getUint32(at + 4, little);
  }

  /** The SA that address and SPI (offsets in the fixed part), protocol and family name together with the mark; NO_SLOT if none does. */
  lookup(daddr: number, spi: number, proto: number, family: number): number {
    if (this.u32(spi) === 0) return NO_SLOT;
    return this.ns.sad.lookup(
      this.u32(daddr),
      this.u32(daddr + 4),
      this.u32(daddr + 8),
      this.u32(daddr + 12),
      this.u32(spi),
      proto,
      family,
      this.mark(),
    );
  }

  /** Works on a copy from now on: the kernel writes into the requests that it was sent, their sender's memory is not ours. */
  own(): void {
    this.bytes = this.bytes.slice();
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    this.attributes.bytes = this.bytes;
    this.attributes.view = this.view;
  }

  slice(offset: number, length: number): Uint8Array {
    return this.bytes.subarray(this.body + offset, this.body + offset + length);
  }
}
