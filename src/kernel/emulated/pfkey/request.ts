import { type AddressFamily, PfkeyExt, SADB_EXT_MAX } from '../../../pfkey/index.ts';
import { hostLittleEndian } from '../../../wire/index.ts';
import { Errno } from '../errno.ts';
import type { Namespace } from '../namespace.ts';
import {
  Address,
  align8,
  Ext,
  Filter,
  Key,
  Lifetime,
  Msg,
  Policy,
  Sa,
  Sa2,
  SecCtx,
  Sockaddr,
  sockaddrOf,
  WORD,
} from './layout.ts';
import type { PfkeyListener } from './sockets.ts';

const little = hostLittleEndian;
const NOT_THERE = -1;
const PAGE_SIZE = 4096;

/** Least lengths of extensions (af_key.c:sadb_ext_min_len); others have 8. */
const least: Readonly<Record<number, number>> = {
  [PfkeyExt.sa]: Sa.SIZE,
  [PfkeyExt.lifetimeCurrent]: Lifetime.SIZE,
  [PfkeyExt.lifetimeHard]: Lifetime.SIZE,
  [PfkeyExt.lifetimeSoft]: Lifetime.SIZE,
  [PfkeyExt.identitySrc]: 16,
  [PfkeyExt.identityDst]: 16,
  [PfkeyExt.sensitivity]: 16,
  [PfkeyExt.spirange]: 16,
  [PfkeyExt.policy]: Policy.SIZE,
  [PfkeyExt.sa2]: Sa2.SIZE,
  [PfkeyExt.filter]: Filter.DPLEN + 1,
  [PfkeyExt.replayThreshold]: 16,
  [PfkeyExt.replayState]: 32,
  [PfkeyExt.replayReason]: 8,
};

/** One message while it is carried out. */
export class PfkeyRequest {
  readonly ns: Namespace;
  readonly sender: PfkeyListener;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #extensions = new Map<number, number>();

  constructor(ns: Namespace, sender: PfkeyListener, message: Uint8Array) {
    this.ns = ns;
    this.sender = sender;
    this.bytes = message;
    this.view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  }

  get type(): number {
    return this.u8(Msg.TYPE);
  }

  get satype(): number {
    return this.u8(Msg.SATYPE);
  }

  get seq(): number {
    return this.u32(Msg.SEQ);
  }

  get pid(): number {
    return this.u32(Msg.PID);
  }

  /** Whether it is a header and nothing else. */
  get isBare(): boolean {
    return this.u16(Msg.LEN) === Msg.SIZE / WORD;
  }

  u8(at: number): number {
    return this.view.getUint8(at);
  }

  u16(at: number): number {
    return this.view.getUint16(at, little);
  }

  u32(at: number): number {
    return this.view.getUint32(at, little);
  }

  /** Where an extension starts; -1: it is not there. */
  at(type: number): number {
    return this.#extensions.get(type) ?? NOT_THERE;
  }

  has(type: number): boolean {
    return this.#extensions.has(type);
  }

  /** Bytes of the extension at `at`. */
  lengthAt(at: number): number {
    return WORD * this.u16(at + Ext.LEN);
  }

  /** Finds the extensions; 0 or the errno (af_key.c:parse_exthdrs). Those of unknown type are passed over. */
  parse(): number {
    for (let o: number = Msg.SIZE; o < this.bytes.length; ) {
      const left = this.bytes.length - o;
      if (left < Ext.SIZE) return Errno.EINVAL;
      const length = this.lengthAt(o);
      const type = this.u16(o + Ext.TYPE);
      if (length < WORD || length > left || type === 0) return Errno.EINVAL;
      if (type <= SADB_EXT_MAX || least[type] !== undefined) {
        if (length < (least[type] ?? WORD) || this.has(type) || !this.#isSound(type, o, length)) return Errno.EINVAL;
        this.#extensions.set(type, o);
      }
      o += length;
    }
    return 0;
  }

  #isSound(type: number, at: number, length: number): boolean {
    switch (type) {
      case PfkeyExt.addressSrc:
      case PfkeyExt.addressDst:
      case PfkeyExt.addressProxy:
      case PfkeyExt.natTOa:
        return this.#isAddress(at, length);
      case PfkeyExt.keyAuth:
      case PfkeyExt.keyEncrypt:
        return align8(Key.KEY + Math.ceil(this.u16(at + Key.BITS) / 8)) <= length;
      case PfkeyExt.secCtx: {
        const context = this.u16(at + SecCtx.CTX_LEN);
        return context <= PAGE_SIZE && align8(SecCtx.SIZE + context) === length;
      }
      default:
        return true;
    }
  }

  /** Length and prefix go with the family (verify_address_len). */
  #isAddress(at: number, length: number): boolean {
    if (length < Address.SOCKADDR + WORD) return false;
    const form = sockaddrOf(this.u16(at + Address.SOCKADDR));
    if (form === undefined || length !== align8(Address.SOCKADDR + form.SIZE)) return false;
    return this.u8(at + Address.PREFIXLEN) <= 8 * form.ADDR_SIZE;
  }

  /** Whether both addresses are there and of one family. */
  hasAddresses(): boolean {
    const [src, dst] = [this.at(PfkeyExt.addressSrc), this.at(PfkeyExt.addressDst)];
    return src >= 0 && dst >= 0 && this.familyAt(src) === this.familyAt(dst);
  }

  /** The family of an sadb_address. */
  familyAt(address: number): number {
    return this.u16(address + Address.SOCKADDR + Sockaddr.FAMILY);
  }

  /** The port of an sadb_address, in host order. */
  portAt(address: number): number {
    return this.view.getUint16(address + Address.SOCKADDR + Sockaddr.PORT);
  }

  /** The address of an sadb_address, padded to 16 bytes. */
  addressAt(address: number): Uint8Array {
    return this.sockaddrBytes(address + Address.SOCKADDR);
  }

  /** The address of a sockaddr of a known family, padded to 16 bytes. */
  sockaddrBytes(at: number): Uint8Array {
    const padded = new Uint8Array(16);
    const form = sockaddrOf(this.u16(at));
    if (form !== undefined) padded.set(this.bytes.subarray(at + form.ADDR, at + form.ADDR + form.ADDR_SIZE));
    return padded;
  }

  /** Two sockaddrs of one family at `at`, before `end`; undefined if they are not there (parse_sockaddr_pair). */
  pairAt(at: number, end: number): AddressPair | undefined {
    if (end - at < 2) return undefined;
    const family = this.u16(at);
    const form = sockaddrOf(family);
    if (form === undefined || end - at < align8(2 * form.SIZE) || this.u16(at + form.SIZE) !== family) return undefined;
    return { family, first: this.sockaddrBytes(at), second: this.sockaddrBytes(at + form.SIZE) };
  }
}

export interface AddressPair {
  readonly family: (typeof AddressFamily)[keyof typeof AddressFamily] | number;
  /** 16 bytes each. */
  readonly first: Uint8Array;
  readonly second: Uint8Array;
}
