import {
  type CipherChaCha20Poly1305Types,
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createSecretKey,
} from 'node:crypto';
import { ESP_HEADER_BYTES, type Suite, writeU32 } from './suite.ts';

const SALT_BYTES = 4;
const IV_BYTES = 8;

/**
 * AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634), which are laid out alike: the last four bytes of the key are a salt, the nonce is salt
 * and IV, the additional data SPI and sequence number, the extended one with its upper half between them.
 */
export function aeadSuite(
  cipher: CipherGCMTypes | CipherChaCha20Poly1305Types,
  keyWithSalt: Uint8Array,
  icvBytes: number,
  esn: boolean,
): Suite {
  const keyBytes = keyWithSalt.length - SALT_BYTES;
  const key = createSecretKey(keyWithSalt.subarray(0, keyBytes));
  const nonce = new Uint8Array(SALT_BYTES + IV_BYTES);
  nonce.set(keyWithSalt.subarray(keyBytes));
  const aad = new Uint8Array(esn ? 12 : ESP_HEADER_BYTES);
  const options = { authTagLength: icvBytes };
  // The two families of types say the same.
  const name = cipher as CipherGCMTypes;

  const prepare = (packet: Uint8Array, at: number, seqHi: number): void => {
    for (let i = 0; i < IV_BYTES; i++) nonce[SALT_BYTES + i] = packet[at + ESP_HEADER_BYTES + i] as number;
    for (let i = 0; i < 4; i++) {
      aad[i] = packet[at + i] as number;
      aad[aad.length - 4 + i] = packet[at + 4 + i] as number;
    }
    if (esn) writeU32(aad, 4, seqHi);
  };

  return {
    ivBytes: IV_BYTES,
    icvBytes,
    blockBytes: 4,
    iv: 'sequence',

    seal(packet, at, end, seqHi) {
      prepare(packet, at, seqHi);
      const from = at + ESP_HEADER_BYTES + IV_BYTES;
      const sealing = createCipheriv(name, key, nonce, options);
      sealing.setAAD(aad);
      packet.set(sealing.update(packet.subarray(from, end)), from);
      sealing.final();
      packet.set(sealing.getAuthTag(), end);
    },

    open(packet, at, end, seqHi, into, intoAt) {
      prepare(packet, at, seqHi);
      const from = at + ESP_HEADER_BYTES + IV_BYTES;
      const icvAt = end - icvBytes;
      const opening = createDecipheriv(name, key, nonce, options);
      opening.setAAD(aad);
      opening.setAuthTag(packet.subarray(icvAt, end));
      const plaintext = opening.update(packet.subarray(from, icvAt));
      try {
        // Compares in constant time, and throws if the signature is wrong.
        opening.final();
      } catch {
        return false;
      }
      into.set(plaintext, intoAt);
      return true;
    },
  };
}
