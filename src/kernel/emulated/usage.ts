import { encodedAttribute } from './encoded.ts';
import { findInbound, type InboundFacts, newInboundFacts } from './input.ts';
import type { Namespace } from './namespace.ts';
import { number64, Row } from './row.ts';
import { NO_SLOT } from './sad.ts';

/** What a data plane or a test may want to know of an SA without asking over netlink. */
export interface SaUsage {
  /** Its place in the database, good until that changes. */
  readonly slot: number;
  readonly bytes: number;
  readonly packets: number;
  readonly mode: number;
  /** Bytes of the check value of its authentication algorithm; 0 if it has none. */
  readonly icvBytes: number;
  readonly integrityFailed: number;
}

const ALG_AUTH_TRUNC = 20;
const TRUNC_BITS = 68;

export type SaKey = Pick<InboundFacts, 'family' | 'daddr' | 'spi' | 'proto' | 'mark'>;

/** How much an SA has been used; undefined if there is none of that identity. */
export function saUsage(ns: Namespace, key: SaKey): SaUsage | undefined {
  const slot = findInbound(ns, { ...newInboundFacts(), ...key });
  if (slot === NO_SLOT) return undefined;
  const { sad } = ns;
  const row = sad.row(slot);
  const { body } = sad.attributes(slot);
  const auth = encodedAttribute(body, ALG_AUTH_TRUNC);
  const word =
    auth < 0 ? 0 : (new Uint32Array(body.slice(auth + TRUNC_BITS, auth + TRUNC_BITS + 4).buffer)[0] as number);
  return {
    slot,
    bytes: number64(sad.words, row + Row.BYTES),
    packets: number64(sad.words, row + Row.PACKETS),
    mode: sad.mode(slot),
    icvBytes: word / 8,
    integrityFailed: sad.words[row + Row.STATS_INTEGRITY] as number,
  };
}
