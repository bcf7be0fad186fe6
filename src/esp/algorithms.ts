import type { CipherChaCha20Poly1305Types, CipherGCMTypes } from 'node:crypto';
import { SaFlag, type XfrmAttributes, type XfrmMessage } from '../xfrm/index.ts';
import { aeadSuite } from './aead.ts';
import { EspError } from './errors.ts';
import { cbcCipher, macSuite, nullCipher } from './mac.ts';
import type { Suite } from './suite.ts';

/** An SA as NEWSA has it: `xfrm_usersa_info` and its attributes. */
export type EspSa = Pick<XfrmMessage<'NEWSA'>, 'body' | 'attributes'>;

/** The algorithms under the names of the kernel's tables (net/xfrm/xfrm_algo.c), which SAs that the kernel shows have. */

interface Aead {
  /** By the length of key and salt in bytes. */
  readonly ciphers: Readonly<Record<number, CipherGCMTypes | CipherChaCha20Poly1305Types>>;
  readonly icvBits: readonly number[];
}

const aeads: Readonly<Record<string, Aead>> = {
  'rfc4106(gcm(aes))': {
    ciphers: { 20: 'aes-128-gcm', 28: 'aes-192-gcm', 36: 'aes-256-gcm' },
    icvBits: [64, 96, 128],
  },
  'rfc7539esp(chacha20,poly1305)': { ciphers: { 36: 'chacha20-poly1305' }, icvBits: [128] },
};

interface Auth {
  readonly hash: string;
  readonly fullBits: number;
  /** To which the kernel cuts without XFRMA_ALG_AUTH_TRUNC; of SHA-256 that is not what RFC 4868 says. */
  readonly truncBits: number;
}

const auths: Readonly<Record<string, Auth>> = {
  'hmac(sha1)': { hash: 'sha1', fullBits: 160, truncBits: 96 },
  'hmac(sha256)': { hash: 'sha256', fullBits: 256, truncBits: 96 },
  'hmac(sha384)': { hash: 'sha384', fullBits: 384, truncBits: 192 },
  'hmac(sha512)': { hash: 'sha512', fullBits: 512, truncBits: 256 },
};

/** A shorter one can be guessed. */
const ICV_BITS_MIN = 64;

const crypts: Readonly<Record<string, readonly number[]>> = {
  'cbc(aes)': [16, 24, 32],
  'ecb(cipher_null)': [0],
};

/** Short names that requests may use; the kernel shows the long ones. */
const aliases: Readonly<Record<string, string>> = {
  sha1: 'hmac(sha1)',
  sha256: 'hmac(sha256)',
  aes: 'cbc(aes)',
  cipher_null: 'ecb(cipher_null)',
};

const find = <T>(table: Readonly<Record<string, T>>, name: string): T | undefined => {
  const full = aliases[name] ?? name;
  return Object.hasOwn(table, full) ? table[full] : undefined;
};

/** Those that `espTransform` can do, by their names in the kernel. */
export const espAlgorithms = {
  aead: Object.keys(aeads) as readonly string[],
  auth: Object.keys(auths) as readonly string[],
  crypt: Object.keys(crypts) as readonly string[],
} as const;

/** @throws EspError for algorithms and keys that are not done here */
export function suiteOf({ body, attributes }: EspSa): Suite {
  const esn = (body.flags & SaFlag.ESN) !== 0;
  const { algAead, algCrypt } = attributes;
  if (algAead !== undefined) return aeadOf(algAead, esn);
  if (algCrypt === undefined) throw new EspError('ERR_ESP_ALGORITHM', 'ESP needs ALG_AEAD or ALG_CRYPT');
  const keys = find(crypts, algCrypt.name);
  if (keys === undefined) throw unknown(algCrypt.name, espAlgorithms.crypt);
  if (!keys.includes(algCrypt.key.length)) throw badKey(algCrypt.name, algCrypt.key.length, keys);
  const { hash, key, icvBytes } = authOf(attributes);
  const cipher = algCrypt.key.length === 0 ? nullCipher : cbcCipher(algCrypt.key);
  return macSuite(cipher, hash, key, icvBytes, esn);
}

function aeadOf({ name, key, icvLen }: NonNullable<XfrmAttributes['algAead']>, esn: boolean): Suite {
  const found = find(aeads, name);
  if (found === undefined) throw unknown(name, espAlgorithms.aead);
  const cipher = found.ciphers[key.length];
  if (cipher === undefined) throw badKey(name, key.length, Object.keys(found.ciphers));
  if (!found.icvBits.includes(icvLen)) {
    throw new EspError('ERR_ESP_KEY', `${name} has an ICV of ${found.icvBits.join(', ')} bits, not of ${icvLen}`);
  }
  return aeadSuite(cipher, key, icvLen / 8, esn);
}

function authOf({ algAuthTrunc, algAuth }: XfrmAttributes): { hash: string; key: Uint8Array; icvBytes: number } {
  const given = algAuthTrunc ?? algAuth;
  if (given === undefined || given.name === 'digest_null') {
    throw new EspError('ERR_ESP_UNAUTHENTICATED', 'Encryption without integrity is refused: add ALG_AUTH_TRUNC');
  }
  const found = find(auths, given.name);
  if (found === undefined) throw unknown(given.name, espAlgorithms.auth);
  const icvBits = algAuthTrunc?.truncLen || found.truncBits;
  if (icvBits % 8 !== 0 || icvBits < ICV_BITS_MIN || icvBits > found.fullBits) {
    const range = `${ICV_BITS_MIN} to ${found.fullBits}`;
    throw new EspError('ERR_ESP_KEY', `${given.name} is cut to whole bytes of ${range} bits, not to ${icvBits}`);
  }
  return { hash: found.hash, key: given.key, icvBytes: icvBits / 8 };
}

const unknown = (name: string, known: readonly string[]): EspError =>
  new EspError('ERR_ESP_ALGORITHM', `${JSON.stringify(name)} is not done here; these are: ${known.join(', ')}`);

const badKey = (name: string, bytes: number, known: readonly (number | string)[]): EspError =>
  new EspError('ERR_ESP_KEY', `${name} takes keys of ${known.join(', ')} bytes with its salt, not of ${bytes}`);
