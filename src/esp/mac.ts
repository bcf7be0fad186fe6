import { createCipheriv, createDecipheriv, createHmac, createSecretKey, timingSafeEqual } from 'node:crypto';
import { ESP_HEADER_BYTES, type Suite, writeU32 } from './suite.ts';

const AES_BLOCK_BYTES = 16;

/** A cipher over whole blocks, or none (RFC 2410). */
export interface BlockCipher {
  readonly ivBytes: number;
  readonly blockBytes: number;
  encrypt(iv: Uint8Array, plaintext: Uint8Array): Uint8Array;
  decrypt(iv: Uint8Array, ciphertext: Uint8Array): Uint8Array;
}

/** RFC 2410: the plaintext itself, without an IV. */
export const nullCipher: BlockCipher = {
  ivBytes: 0,
  blockBytes: 4,
  encrypt: (_, plaintext) => plaintext,
  decrypt: (_, ciphertext) => ciphertext,
};

/** AES-CBC (RFC 3602). */
export function cbcCipher(keyBytes: Uint8Array): BlockCipher {
  const name = `aes-${8 * keyBytes.length}-cbc`;
  const key = createSecretKey(keyBytes);
  return {
    ivBytes: AES_BLOCK_BYTES,
    blockBytes: AES_BLOCK_BYTES,
    encrypt(iv, plaintext) {
      return createCipheriv(name, key, iv).setAutoPadding(false).update(plaintext);
    },
    decrypt(iv, ciphertext) {
      return createDecipheriv(name, key, iv).setAutoPadding(false).update(ciphertext);
    },
  };
}

/**
 * A cipher, and an HMAC over the encrypted packet (RFC 4303 section 3.3.2), cut to `icvBytes` (RFC 2404, RFC 4868). With ESN the upper half of
 * the number is signed behind the packet and not sent (RFC 4303 section 2.2.1).
 */
export function macSuite(cipher: BlockCipher, hash: string, key: Uint8Array, icvBytes: number, esn: boolean): Suite {
  const { ivBytes, blockBytes } = cipher;
  const secret = createSecretKey(key);
  const high = new Uint8Array(4);

  const icv = (packet: Uint8Array, at: number, end: number, seqHi: number): Uint8Array => {
    const hmac = createHmac(hash, secret).update(packet.subarray(at, end));
    if (esn) {
      writeU32(high, 0, seqHi);
      hmac.update(high);
    }
    return hmac.digest().subarray(0, icvBytes);
  };

  return {
    ivBytes,
    icvBytes,
    blockBytes,
    iv: ivBytes === 0 ? 'none' : 'random',

    seal(packet, at, end, seqHi) {
      const from = at + ESP_HEADER_BYTES + ivBytes;
      if (ivBytes > 0) {
        packet.set(cipher.encrypt(packet.subarray(from - ivBytes, from), packet.subarray(from, end)), from);
      }
      packet.set(icv(packet, at, end, seqHi), end);
    },

    open(packet, at, end, seqHi, into, intoAt) {
      const from = at + ESP_HEADER_BYTES + ivBytes;
      const icvAt = end - icvBytes;
      if (!timingSafeEqual(icv(packet, at, icvAt, seqHi), packet.subarray(icvAt, end))) return false;
      into.set(cipher.decrypt(packet.subarray(from - ivBytes, from), packet.subarray(from, icvAt)), intoAt);
      return true;
    },
  };
}
