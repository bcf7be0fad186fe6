/** NETLINK_XFRM messages: constants, layouts, typed messages, encode, decode, text and JSON. No sockets here. */
import { type AnyXfrmMessage, xfrm } from './messages.ts';

export {
  type AddressWithFamily,
  DecodeError,
  EncodeError,
  formatAddress,
  formatSpi,
  type Json,
  JsonError,
  type JsonObject,
  type JsonOptions,
  parseAddress,
  sameAddress,
} from '../wire/index.ts';
export { AeventCursor } from './aevent-cursor.ts';
export { type XfrmAttributes, xfrma } from './attributes.ts';
export * from './constants.ts';
export { messageFromJson } from './from-json.ts';
export { messageToJson } from './json.ts';
export {
  type AnyXfrmMessage,
  type XfrmKind,
  type XfrmMessage,
  XfrmMsg,
  xfrm,
  xfrmFirstLayout,
  xfrmOfRelease,
} from './messages.ts';
export type {
  Address,
  AeventId,
  LifetimeCfg,
  LifetimeCur,
  Mark,
  ReplayState,
  ReplayStateEsn,
  Selector,
  UserpolicyId,
  UserpolicyInfo,
  UsersaId,
  UsersaInfo,
  UserTmpl,
} from './structs.ts';
export {
  aeventId,
  lifetimeCfg,
  selector,
  userpolicyId,
  userpolicyInfo,
  usersaId,
  usersaInfo,
  userspiInfo,
  userTmpl,
} from './structs.ts';
export { formatMessage } from './text.ts';

/**
 * Reads the message that starts at `at`.
 *
 * @throws {DecodeError} with `code`, `offset` and the structure or attribute concerned, for bytes that Linux would refuse too
 * @example
 * const message = decodeMessage(datagram);
 * if (message.kind === 'NEWAE') console.log(message.attributes.replayVal?.oseq);
 */
export function decodeMessage(bytes: Uint8Array, at = 0): AnyXfrmMessage {
  return xfrm.decode(bytes, at);
}

/**
 * The bytes of a message; of a decoded one, the very bytes it was decoded from. Like a Node.js Buffer, a small result may share its
 * `buffer` with others.
 *
 * @throws {EncodeError} with `path`, the place of the value that has no encoding
 */
export function encodeMessage(message: AnyXfrmMessage): Uint8Array<ArrayBuffer> {
  return xfrm.encode(message);
}
