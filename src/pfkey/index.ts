/**
 * PF_KEYv2 messages (RFC 2367, the extensions of Linux, and the replay-notification extension): constants, layouts, typed messages,
 * encode, decode, text and JSON. No sockets here.
 */
export {
  type Address,
  DecodeError,
  type DecodeErrorCode,
  EncodeError,
  formatAddress,
  formatSpi,
  type Json,
  JsonError,
  type JsonObject,
  type JsonOptions,
  parseAddress,
} from '../wire/index.ts';
export {
  AddressFamily,
  AuthAlg,
  CompAlg,
  EncryptAlg,
  IdentType,
  IpProto,
  IpsecDir,
  IpsecLevel,
  IpsecMode,
  IpsecPolicy,
  NatTType,
  PF_KEY_V2,
  PfkeySaFlag,
  SADB_EXT_MAX,
  SADB_MAX,
  SaState,
  SaType,
} from './constants.ts';
export { decodePfkey, forEachPfkey } from './decode.ts';
export { encodePfkey } from './encode.ts';
export {
  PfkeyExt,
  type PfkeyExtension,
  type PfkeyExtensionName,
  type PfkeyExtensions,
} from './extensions.ts';
export { pfkeyFromJson } from './from-json.ts';
export { pfkeyToJson } from './json.ts';
export {
  type AnyPfkeyMessage,
  type OtherExtension,
  type PfkeyHeader,
  type PfkeyKind,
  type PfkeyMessage,
  type PfkeyMessageToBe,
  PfkeyMsg,
  type PfkeyRest,
  type UnknownPfkeyMessage,
} from './messages.ts';
export type { IpsecRequest } from './parts.ts';
export { PfkeyReplayMode, ReplayReason } from './replay-notification.ts';
export { formatSockaddr, parseSockaddr, type Sockaddr, type SockaddrPair } from './sockaddr.ts';
export type { SadbAlg, SadbComb, SadbLifetime, SadbSa } from './structs.ts';
export { formatPfkey } from './text.ts';
