/** What messages of the kernel are made of, whatever their protocol: C structures as tables, byte order, addresses, errno, text and JSON. */
export { type Address, type AddressWithFamily, address, formatAddress, parseAddress, sameAddress } from './address.ts';
export { hostLittleEndian } from './endian.ts';
export { errnoName, errnoText } from './errno.ts';
export { DecodeError, type DecodeErrorCode, EncodeError } from './errors.ts';
export {
  asObject,
  bigNumberFromJson,
  bytesFromJson,
  integerFromJson,
  JsonError,
  pathTo,
  refuseStrangers,
  scalarFromJson,
  textFromJson,
  wordsFromJson,
} from './from-json.ts';
export { AddressFamily, IpProto } from './ip.ts';
export {
  bigNumberToJson,
  bytesToJson,
  formatSpi,
  type Json,
  type JsonObject,
  type JsonOptions,
  namedToJson,
  secretToJson,
  wordToJson,
} from './json.ts';
export {
  be16,
  be32,
  bitsOf,
  type Chars,
  chars,
  check,
  checkText,
  compileScalarRead,
  compileScalarWrite,
  i32,
  type Layout,
  type Meaning,
  oneOf,
  readExpression,
  reserved,
  type Scalar,
  type Struct,
  type StructField,
  scalarExpression,
  struct,
  u8,
  u16,
  u32,
  u64,
  type ValueOf,
} from './layout.ts';
export { allZero, copyBytes, room, viewOf } from './memory.ts';
export { textLines } from './text.ts';
