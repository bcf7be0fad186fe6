import { PF_KEY_V2 } from '../../../pfkey/index.ts';
import { hostLittleEndian } from '../../../wire/index.ts';
import { Address, Ext, Msg, Sockaddr, sockaddrOf, WORD } from './layout.ts';

const little = hostLittleEndian;

/**
 * Writes one PF_KEY message after the other into memory that is used again and again. Everything that is not written is zero. `extension`
 * may replace `bytes` and `view` by larger ones: ask for the place first, for the memory after it.
 */
export class PfkeyWriter {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(1024);
  view: DataView<ArrayBuffer> = new DataView(this.bytes.buffer);
  /** Where the next byte goes; the length of the message so far. */
  at = 0;

  begin(type: number, satype: number, seq: number, pid: number): void {
    this.at = 0;
    this.take(Msg.SIZE);
    this.bytes[Msg.VERSION] = PF_KEY_V2;
    this.bytes[Msg.TYPE] = type;
    this.bytes[Msg.SATYPE] = satype;
    this.view.setUint32(Msg.SEQ, seq, little);
    this.view.setUint32(Msg.PID, pid, little);
  }

  /** Ends a message; `length` if it is said to be another than it is. */
  end(length: number = this.at): void {
    this.view.setUint16(Msg.LEN, Math.floor(length / WORD), little);
  }

  /** A copy of what was sent, as an answer. */
  copy(message: Uint8Array, length: number, errno: number): void {
    this.at = 0;
    this.take(length);
    this.bytes.set(message.subarray(0, length));
    this.bytes[Msg.ERRNO] = errno;
    this.end();
  }

  /** Writes the header of an extension of `size` bytes; returns where it starts. */
  extension(type: number, size: number): number {
    const at = this.take(size);
    this.view.setUint16(at + Ext.LEN, size / WORD, little);
    this.view.setUint16(at + Ext.TYPE, type, little);
    return at;
  }

  /** Zeroed room. */
  take(size: number): number {
    const { at } = this;
    if (at + size > this.bytes.length) {
      const larger = new Uint8Array(Math.max(2 * this.bytes.length, at + size));
      larger.set(this.bytes.subarray(0, at));
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    this.bytes.fill(0, at, at + size);
    this.at = at + size;
    return at;
  }

  u16(at: number, value: number): void {
    this.view.setUint16(at, value, little);
  }

  u32(at: number, value: number): void {
    this.view.setUint32(at, value, little);
  }

  u64(at: number, value: number): void {
    this.view.setBigUint64(at, BigInt(value), little);
  }

  /** Copies words as they stand. */
  words(at: number, source: Uint32Array, from: number, count: number): void {
    for (let i = 0; i < count; i++) this.u32(at + 4 * i, source[from + i] as number);
  }

  /** A socket address at `at`, from 16 bytes; `port` in host order. */
  sockaddr(at: number, family: number, address: Uint8Array, port = 0): void {
    const form = sockaddrOf(family);
    if (form === undefined) return;
    this.u16(at + Sockaddr.FAMILY, family);
    this.view.setUint16(at + Sockaddr.PORT, port);
    this.bytes.set(address.subarray(0, form.ADDR_SIZE), at + form.ADDR);
  }

  /** An sadb_address; the prefix is a whole address if it is not given. */
  address(type: number, family: number, address: Uint8Array, rest: AddressRest = {}): void {
    const form = sockaddrOf(family);
    if (form === undefined) return;
    const at = this.extension(type, Address.SOCKADDR + ((form.SIZE + WORD - 1) & -WORD));
    this.bytes[at + Address.PROTO] = rest.proto ?? 0;
    this.bytes[at + Address.PREFIXLEN] = rest.prefixlen ?? 8 * form.ADDR_SIZE;
    this.sockaddr(at + Address.SOCKADDR, family, address, rest.port);
  }
}

interface AddressRest {
  readonly proto?: number;
  readonly prefixlen?: number;
  readonly port?: number;
}
