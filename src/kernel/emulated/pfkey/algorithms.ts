import { AuthAlg, CompAlg, EncryptAlg } from '../../../pfkey/index.ts';

/**
 * The algorithms that PF_KEY has numbers for, in the order in which REGISTER tells them, with what it tells (xfrm_algo.c). Others of the
 * kernel show as 0.
 */

export interface PfkeyAlgorithm {
  readonly id: number;
  /** The kernel's name. */
  readonly name: string;
  readonly ivBytes: number;
  readonly minBits: number;
  readonly maxBits: number;
}

const signing = (id: number, name: string, bits: number): PfkeyAlgorithm => ({
  id,
  name,
  ivBytes: 0,
  minBits: bits,
  maxBits: bits,
});

export const authById: readonly PfkeyAlgorithm[] = [
  signing(AuthAlg.NULL, 'digest_null', 0),
  signing(AuthAlg.MD5HMAC, 'hmac(md5)', 128),
  signing(AuthAlg.SHA1HMAC, 'hmac(sha1)', 160),
  signing(AuthAlg.SHA2_256HMAC, 'hmac(sha256)', 256),
  signing(AuthAlg.SHA2_384HMAC, 'hmac(sha384)', 384),
  signing(AuthAlg.SHA2_512HMAC, 'hmac(sha512)', 512),
  signing(AuthAlg.RIPEMD160HMAC, 'hmac(rmd160)', 160),
  signing(AuthAlg.AES_XCBC_MAC, 'xcbc(aes)', 128),
];

const IV_BYTES = 8;
const encrypting = (id: number, name: string, minBits: number, maxBits: number): PfkeyAlgorithm => ({
  id,
  name,
  ivBytes: maxBits === 0 ? 0 : IV_BYTES,
  minBits,
  maxBits,
});

export const encryptById: readonly PfkeyAlgorithm[] = [
  encrypting(EncryptAlg.NULL, 'ecb(cipher_null)', 0, 0),
  encrypting(EncryptAlg.DESCBC, 'cbc(des)', 64, 64),
  encrypting(EncryptAlg['3DESCBC'], 'cbc(des3_ede)', 192, 192),
  encrypting(EncryptAlg.CASTCBC, 'cbc(cast5)', 40, 128),
  encrypting(EncryptAlg.BLOWFISHCBC, 'cbc(blowfish)', 40, 448),
  encrypting(EncryptAlg.AESCBC, 'cbc(aes)', 128, 256),
  encrypting(EncryptAlg.SERPENTCBC, 'cbc(serpent)', 128, 256),
  encrypting(EncryptAlg.CAMELLIACBC, 'cbc(camellia)', 128, 256),
  encrypting(EncryptAlg.TWOFISHCBC, 'cbc(twofish)', 128, 256),
  encrypting(EncryptAlg.AESCTR, 'rfc3686(ctr(aes))', 160, 288),
];

/** REGISTER does not tell of these. */
export const compById: readonly PfkeyAlgorithm[] = [encrypting(CompAlg.DEFLATE, 'deflate', 0, 0)];

export const nameOf = (list: readonly PfkeyAlgorithm[], id: number): string | undefined =>
  list.find((algorithm) => algorithm.id === id)?.name;

/** 0: PF_KEY has no number for it. */
export const idOf = (list: readonly PfkeyAlgorithm[], name: string): number =>
  list.find((algorithm) => algorithm.name === name)?.id ?? 0;
