import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { LinkError } from './errors.ts';

/** A node's own key pair, and how others recognise it. */
export interface Identity {
  readonly key: string;
  readonly cert: string;
  readonly pin: string;
}

/** Ten years: the pin is what counts, a certificate authority or an end of validity has no part in it. */
const VALID_DAYS = 3650;

/** `sha256:` and the hash of the public key (SubjectPublicKeyInfo, as in RFC 7469). */
export function pinOf(certificate: X509Certificate): string {
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
  return `sha256:${createHash('sha256').update(spki).digest('base64url')}`;
}

export const pinPattern: RegExp = /^sha256:[A-Za-z0-9_-]{43}$/;

/** A fresh key pair (P-256) with a self-signed certificate. */
export async function makeIdentity(node: string): Promise<Identity> {
  // Loaded here: only `init` makes keys.
  const { generate } = await import('selfsigned');
  const notAfterDate = new Date(Date.now() + VALID_DAYS * 86_400_000);
  const made = await generate([{ name: 'commonName', value: node }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notAfterDate,
  });
  return { key: made.private, cert: made.cert, pin: pinOf(new X509Certificate(made.cert)) };
}

/** Reads key and certificate. The key must be for its owner's eyes only. @throws LinkError */
export async function readIdentity(keyFile: string, certFile: string): Promise<Identity> {
  const read = async (file: string): Promise<string> => {
    try {
      return await readFile(file, 'utf8');
    } catch (cause) {
      throw new LinkError('ERR_IDENTITY', `cannot read ${file}: ${(cause as Error).message}`, { cause });
    }
  };
  const [key, cert] = [await read(keyFile), await read(certFile)];
  const { mode } = await stat(keyFile);
  if ((mode & 0o077) !== 0) {
    throw new LinkError(
      'ERR_IDENTITY',
      `${keyFile} can be read by others: run chmod 600 on it, and make a new key if it was exposed`,
    );
  }
  const certificate = parsed(() => new X509Certificate(cert), `${certFile} is not a certificate in PEM form`);
  // The cause is left out: nothing that has seen the key's text goes into an error (S6).
  const secret = parsed(() => createPrivateKey(key), `${keyFile} is not a private key in PEM form`, { secret: true });
  if (!certificate.checkPrivateKey(secret))
    throw new LinkError(
      'ERR_IDENTITY',
      `${certFile} belongs to another key than ${keyFile}: put the pair that "init" wrote back`,
    );
  return { key, cert, pin: pinOf(certificate) };
}

function parsed<T>(parse: () => T, message: string, { secret = false } = {}): T {
  try {
    return parse();
  } catch (cause) {
    throw new LinkError('ERR_IDENTITY', message, secret ? {} : { cause });
  }
}
