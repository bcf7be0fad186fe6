import type { Struct, ValueOf } from '../wire/index.ts';
import {
  type AnyPart,
  bytesPart,
  listPart,
  longWordsPart,
  openBytesPart,
  type Part,
  pairPart,
  requestsPart,
  sockaddrPart,
  textPart,
  wordsPart,
} from './parts.ts';
import { replayExtensionTypes, replayReason, replayState, replayThreshold } from './replay-notification.ts';
import {
  sadbAddress,
  sadbAlgAuth,
  sadbAlgEncrypt,
  sadbComb,
  sadbFilter,
  sadbIdent,
  sadbKey,
  sadbKmaddress,
  sadbKmprivate,
  sadbLifetime,
  sadbNatTPort,
  sadbNatTType,
  sadbPolicy,
  sadbProp,
  sadbSa,
  sadbSa2,
  sadbSecCtx,
  sadbSens,
  sadbSpirange,
  sadbSupported,
} from './structs.ts';

/** The extensions of a message: their numbers, fixed structures, and what follows these. */

export interface ExtensionSpec<F extends object, P extends Readonly<Record<string, AnyPart>>> {
  readonly type: number;
  /** The name in the header file. */
  readonly name: string;
  readonly fixed: Struct<F>;
  readonly parts: P;
}

// biome-ignore lint/suspicious/noExplicitAny: a table of unlike extensions
export type AnyExtensionSpec = ExtensionSpec<any, Readonly<Record<string, AnyPart>>>;

type PartValue<P> = P extends Part<infer V, boolean> ? V : never;
type PartValues<P> = {
  -readonly [K in keyof P as P[K] extends { readonly optional: true } ? never : K]: PartValue<P[K]>;
} & { -readonly [K in keyof P as P[K] extends { readonly optional: true } ? K : never]?: PartValue<P[K]> };
type ExtensionValue<S> = S extends ExtensionSpec<infer F, infer P> ? F & PartValues<P> : never;

function extension<F extends object, const P extends Readonly<Record<string, AnyPart>>>(
  type: number,
  name: string,
  fixed: Struct<F>,
  parts: P,
): ExtensionSpec<F, P> {
  return { type, name, fixed, parts };
}

const key = { key: bytesPart(({ bits }: ValueOf<typeof sadbKey>) => Math.ceil(bits / 8), true) };
const sockaddr = { sockaddr: sockaddrPart };
const name = { name: textPart };
const levels = {
  sensBitmap: longWordsPart(({ sensLen }: ValueOf<typeof sadbSens>) => sensLen),
  integBitmap: longWordsPart(({ integLen }: ValueOf<typeof sadbSens>) => integLen),
};
const context = { ctx: bytesPart(({ ctxLen }: ValueOf<typeof sadbSecCtx>) => ctxLen) };
const bitmap = { bitmap: wordsPart(({ bmpLen }: ValueOf<typeof replayState>) => bmpLen) };
const { replayThreshold: THRESHOLD, replayState: STATE, replayReason: REASON } = replayExtensionTypes;

export const extensionSpecs = {
  sa: extension(1, 'SADB_EXT_SA', sadbSa, {}),
  lifetimeCurrent: extension(2, 'SADB_EXT_LIFETIME_CURRENT', sadbLifetime, {}),
  lifetimeHard: extension(3, 'SADB_EXT_LIFETIME_HARD', sadbLifetime, {}),
  lifetimeSoft: extension(4, 'SADB_EXT_LIFETIME_SOFT', sadbLifetime, {}),
  addressSrc: extension(5, 'SADB_EXT_ADDRESS_SRC', sadbAddress, sockaddr),
  addressDst: extension(6, 'SADB_EXT_ADDRESS_DST', sadbAddress, sockaddr),
  addressProxy: extension(7, 'SADB_EXT_ADDRESS_PROXY', sadbAddress, sockaddr),
  keyAuth: extension(8, 'SADB_EXT_KEY_AUTH', sadbKey, key),
  keyEncrypt: extension(9, 'SADB_EXT_KEY_ENCRYPT', sadbKey, key),
  identitySrc: extension(10, 'SADB_EXT_IDENTITY_SRC', sadbIdent, name),
  identityDst: extension(11, 'SADB_EXT_IDENTITY_DST', sadbIdent, name),
  sensitivity: extension(12, 'SADB_EXT_SENSITIVITY', sadbSens, levels),
  proposal: extension(13, 'SADB_EXT_PROPOSAL', sadbProp, { combs: listPart(sadbComb) }),
  supportedAuth: extension(14, 'SADB_EXT_SUPPORTED_AUTH', sadbSupported, { algs: listPart(sadbAlgAuth) }),
  supportedEncrypt: extension(15, 'SADB_EXT_SUPPORTED_ENCRYPT', sadbSupported, { algs: listPart(sadbAlgEncrypt) }),
  spirange: extension(16, 'SADB_EXT_SPIRANGE', sadbSpirange, {}),
  kmprivate: extension(17, 'SADB_X_EXT_KMPRIVATE', sadbKmprivate, { data: openBytesPart(true) }),
  policy: extension(18, 'SADB_X_EXT_POLICY', sadbPolicy, { requests: requestsPart }),
  sa2: extension(19, 'SADB_X_EXT_SA2', sadbSa2, {}),
  natTType: extension(20, 'SADB_X_EXT_NAT_T_TYPE', sadbNatTType, {}),
  natTSport: extension(21, 'SADB_X_EXT_NAT_T_SPORT', sadbNatTPort, {}),
  natTDport: extension(22, 'SADB_X_EXT_NAT_T_DPORT', sadbNatTPort, {}),
  natTOa: extension(23, 'SADB_X_EXT_NAT_T_OA', sadbAddress, sockaddr),
  secCtx: extension(24, 'SADB_X_EXT_SEC_CTX', sadbSecCtx, context),
  /** `src` is the local key manager's address, `dst` the remote one's. */
  kmaddress: extension(25, 'SADB_X_EXT_KMADDRESS', sadbKmaddress, { addresses: pairPart }),
  filter: extension(26, 'SADB_X_EXT_FILTER', sadbFilter, {}),
  replayThreshold: extension(THRESHOLD, 'X_REPLAY_THRESHOLD', replayThreshold, {}),
  replayState: extension(STATE, 'X_REPLAY_STATE', replayState, bitmap),
  replayReason: extension(REASON, 'X_REPLAY_REASON', replayReason, {}),
};

type Specs = typeof extensionSpecs;
export type PfkeyExtensionName = keyof Specs;

/** The value of one extension, e.g. `PfkeyExtension<'addressSrc'>`. */
export type PfkeyExtension<N extends PfkeyExtensionName> = ExtensionValue<Specs[N]>;

/** The extensions of a message. The order of the keys is the order on the wire. */
export type PfkeyExtensions = { [N in PfkeyExtensionName]?: PfkeyExtension<N> };

/** Numbers of the extensions. */
export const PfkeyExt = Object.fromEntries(
  Object.entries(extensionSpecs).map(([name, { type }]) => [name, type]),
) as Readonly<Record<PfkeyExtensionName, number>>;

export const specsByType: ReadonlyMap<number, readonly [name: PfkeyExtensionName, spec: AnyExtensionSpec]> = new Map(
  Object.entries(extensionSpecs).map(([name, spec]) => [spec.type, [name as PfkeyExtensionName, spec]] as const),
);
