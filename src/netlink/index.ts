/** Netlink without a family: headers, attributes, acknowledgements, dumps. No sockets here. */
export {
  type AttributeSpace,
  type AttributeSpec,
  type AttributeSpecs,
  type AttributesOf,
  align4,
  attribute,
  attributeSpace,
  NLA_F_NESTED,
  nestedPayload,
  type OtherAttribute,
  type Rest,
  wireName,
} from './attributes.ts';
export { NLMSG_HDRLEN, NlmF, NlmsgType } from './constants.ts';
export { hostLittleEndian } from './endian.ts';
export { errnoName, errnoText } from './errno.ts';
export { DecodeError, type DecodeErrorCode, EncodeError } from './errors.ts';
export {
  be16,
  be32,
  bitsOf,
  type Chars,
  chars,
  check,
  i32,
  type Layout,
  type Meaning,
  oneOf,
  type Scalar,
  type Struct,
  struct,
  u8,
  u16,
  u32,
  u64,
  type ValueOf,
} from './layout.ts';
export {
  bytesPayload,
  flagPayload,
  listPayload,
  type Payload,
  type PayloadValue,
  scalarPayload,
  structPayload,
  type Tail,
  tailedPayload,
  textPayload,
} from './payload.ts';
export {
  type ControlMessage,
  type DoneMessage,
  type ErrorMessage,
  forEachMessage,
  type MessageOf,
  type MessageSpec,
  type MessageSpecs,
  type Protocol,
  protocol,
  type UnknownMessage,
} from './protocol.ts';
