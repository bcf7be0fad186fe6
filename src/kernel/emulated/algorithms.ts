/** The algorithms of the kernel as far as requests show them: names, aliases, lengths (xfrm_algo.c). No ciphers here. */

export interface AuthAlgorithm {
  readonly name: string;
  readonly alias?: string;
  /** Length of the whole check value, and to which it is cut without a word of the user, in bits. */
  readonly fullBits: number;
  readonly truncBits: number;
  /** Lengths of keys in bytes; any if absent. */
  readonly keys?: readonly number[];
}

export interface CryptAlgorithm {
  readonly name: string;
  readonly alias?: string;
  readonly keys?: readonly number[];
}

export interface AeadAlgorithm {
  readonly name: string;
  readonly icvBits: readonly number[];
  readonly keys: readonly number[];
}

const from = (min: number, max: number): number[] => Array.from({ length: max - min + 1 }, (_, i) => min + i);
const aes = [16, 24, 32];
const aesWithSalt = [20, 28, 36];
const ccmWithSalt = [19, 27, 35];

export const authAlgorithms: readonly AuthAlgorithm[] = [
  { name: 'digest_null', fullBits: 0, truncBits: 0 },
  { name: 'hmac(md5)', alias: 'md5', fullBits: 128, truncBits: 96 },
  { name: 'hmac(sha1)', alias: 'sha1', fullBits: 160, truncBits: 96 },
  { name: 'hmac(sha256)', alias: 'sha256', fullBits: 256, truncBits: 96 },
  { name: 'hmac(sha384)', fullBits: 384, truncBits: 192 },
  { name: 'hmac(sha512)', fullBits: 512, truncBits: 256 },
  { name: 'hmac(rmd160)', alias: 'rmd160', fullBits: 160, truncBits: 96 },
  { name: 'xcbc(aes)', fullBits: 128, truncBits: 96, keys: aes },
  { name: 'cmac(aes)', fullBits: 128, truncBits: 96, keys: aes },
  { name: 'hmac(sm3)', alias: 'sm3', fullBits: 256, truncBits: 256 },
];

export const cryptAlgorithms: readonly CryptAlgorithm[] = [
  { name: 'ecb(cipher_null)', alias: 'cipher_null', keys: [0] },
  { name: 'cbc(des)', alias: 'des', keys: [8] },
  { name: 'cbc(des3_ede)', alias: 'des3_ede', keys: [24] },
  { name: 'cbc(cast5)', alias: 'cast5', keys: from(5, 16) },
  { name: 'cbc(blowfish)', alias: 'blowfish', keys: from(4, 56) },
  { name: 'cbc(aes)', alias: 'aes', keys: aes },
  { name: 'cbc(serpent)', alias: 'serpent', keys: from(0, 32) },
  { name: 'cbc(camellia)', alias: 'camellia', keys: aes },
  { name: 'cbc(twofish)', alias: 'twofish', keys: aes },
  { name: 'rfc3686(ctr(aes))', keys: aesWithSalt },
  { name: 'cbc(sm4)', alias: 'sm4', keys: [16] },
];

export const aeadAlgorithms: readonly AeadAlgorithm[] = [
  { name: 'rfc4106(gcm(aes))', icvBits: [64, 96, 128], keys: aesWithSalt },
  { name: 'rfc4309(ccm(aes))', icvBits: [64, 96, 128], keys: ccmWithSalt },
  { name: 'rfc4543(gcm(aes))', icvBits: [128], keys: aesWithSalt },
  { name: 'rfc7539esp(chacha20,poly1305)', icvBits: [128], keys: [36] },
];

/** Of those that the kernel has names for, the one that it has code for. */
export const compAlgorithms: readonly CryptAlgorithm[] = [{ name: 'deflate' }];

export function byName<T extends { readonly name: string; readonly alias?: string }>(
  list: readonly T[],
  name: string,
): T | undefined {
  return list.find((entry) => entry.name === name || entry.alias === name);
}

const NAME_BYTES = 64;

/** The name at `at`, cut to the 63 characters that the kernel looks at. */
export function nameAt(bytes: Uint8Array, at: number): string {
  let end = at;
  while (end < at + NAME_BYTES - 1 && bytes[end] !== 0) end++;
  return Buffer.from(bytes.subarray(at, end)).toString('latin1');
}

/** Writes a name, padded with zeros. */
export function writeName(bytes: Uint8Array, at: number, name: string): void {
  bytes.fill(0, at, at + NAME_BYTES);
  bytes.set(Buffer.from(name, 'latin1'), at);
}
