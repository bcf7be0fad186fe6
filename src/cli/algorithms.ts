/**
 * Key lengths that the kernel's ciphers take, in bytes, so that a wrong key is named before it is sent: the kernel answers a bare
 * EINVAL. Combined modes and counter mode end with their salt or nonce (RFC 4106, RFC 4309, RFC 4543, RFC 3686, RFC 7634).
 * Algorithms that are not in the table are sent as they are.
 */

interface Known {
  readonly keyBytes: readonly number[];
  readonly note?: string;
}

const withSalt = 'AES key and 4 bytes of salt';

const known: Readonly<Record<string, Known>> = {
  'rfc4106(gcm(aes))': { keyBytes: [20, 28, 36], note: withSalt },
  'rfc4543(gcm(aes))': { keyBytes: [20, 28, 36], note: withSalt },
  'rfc4309(ccm(aes))': { keyBytes: [19, 27, 35], note: 'AES key and 3 bytes of salt' },
  'rfc7539esp(chacha20,poly1305)': { keyBytes: [36], note: 'key and 4 bytes of salt' },
  'cbc(aes)': { keyBytes: [16, 24, 32] },
  aes: { keyBytes: [16, 24, 32] },
  'rfc3686(ctr(aes))': { keyBytes: [20, 28, 36], note: 'AES key and 4 bytes of nonce' },
  'cbc(des3_ede)': { keyBytes: [24] },
  'cbc(camellia)': { keyBytes: [16, 24, 32] },
  'ecb(cipher_null)': { keyBytes: [0], note: 'no key' },
  cipher_null: { keyBytes: [0], note: 'no key' },
};

export const isNullCipher = (name: string): boolean => known[name]?.keyBytes.includes(0) ?? false;

/** What is wrong with a key of that many bytes; undefined if nothing is, or nothing is known. */
export function keyFault(name: string, bytes: number): string | undefined {
  const entry = known[name];
  if (entry === undefined || entry.keyBytes.includes(bytes)) return undefined;
  const list = entry.keyBytes.join(', ');
  return `${name} takes a key of ${list} bytes${entry.note ? ` (${entry.note})` : ''}, this one has ${bytes}`;
}
