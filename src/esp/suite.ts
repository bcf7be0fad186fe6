/**
 * The cryptography of one SA over ESP packets (RFC 4303 figure 2) that lie in a buffer without IP around them:
 * SPI, sequence number (32 bits), IV, ciphertext, ICV. IVs are the caller's.
 */
export interface Suite {
  readonly ivBytes: number;
  readonly icvBytes: number;
  /** Plaintext with its trailer is a multiple of this; at least 4 (RFC 4303 section 2.4). */
  readonly blockBytes: number;
  /** How IVs are made: the 64-bit sequence number, where a repeated one is fatal; unpredictable; or none. */
  readonly iv: 'sequence' | 'random' | 'none';

  /**
   * Encrypts in place and signs: the packet is at [at, end), its plaintext behind the IV; the ICV is written at `end`. `seqHi` is the upper
   * half of an extended sequence number, and without ESN of no meaning.
   */
  seal(packet: Uint8Array, at: number, end: number, seqHi: number): void;

  /**
   * Verifies the packet at [at, end), its ICV included, and then alone writes the plaintext to `into`. False: the signature is wrong, and
   * nothing was written. The packet must be long enough for its fields.
   */
  open(packet: Uint8Array, at: number, end: number, seqHi: number, into: Uint8Array, intoAt: number): boolean;
}

/** SPI and sequence number. */
export const ESP_HEADER_BYTES = 8;
/** Pad length and next header. */
export const ESP_TRAILER_BYTES = 2;

export function readU16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

export function readU32(bytes: Uint8Array, at: number): number {
  return ((readU16(bytes, at) << 16) | readU16(bytes, at + 2)) >>> 0;
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  writeU16(bytes, at, value >>> 16);
  writeU16(bytes, at + 2, value & 0xffff);
}
