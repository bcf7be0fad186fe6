/** How nodes talk: frames over mutual TLS 1.3 with pinned keys. */
export { decodeFrame, encodeFrame } from './codec.ts';
export { LinkError } from './errors.ts';
export { type Identity, makeIdentity, pinPattern, readIdentity } from './identity.ts';
export type { Endpoint } from './link.ts';
export { Links } from './links.ts';
