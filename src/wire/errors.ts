/** Why bytes could not be read as what they claim to be. */
export type DecodeErrorCode =
  /** Fewer than the 16 bytes of a header (netlink or PF_KEY). */
  | 'ERR_HEADER_SHORT'
  /** The length of the message is below 16 bytes or larger than what is there. */
  | 'ERR_MESSAGE_LENGTH'
  /** The fixed part of the message is cut off (the kernel answers EINVAL). */
  | 'ERR_BODY_SHORT'
  /** An attribute is shorter than its type allows (the kernel answers ERANGE, or EINVAL for strict ones). */
  | 'ERR_ATTRIBUTE_SHORT'
  /** A strict attribute has another length than its type (the kernel answers EINVAL). */
  | 'ERR_ATTRIBUTE_LENGTH'
  /** PF_KEY: `sadb_msg_version` is not 2 (the kernel answers EINVAL). */
  | 'ERR_VERSION'
  /** PF_KEY: no message, or no extension, has the type 0 (EINVAL). */
  | 'ERR_TYPE'
  /** PF_KEY: an extension's length is 0, or larger than what is left of the message (EINVAL). */
  | 'ERR_EXTENSION_LENGTH'
  /** PF_KEY: an extension is shorter than its type or its content takes (EINVAL). */
  | 'ERR_EXTENSION_SHORT'
  /** PF_KEY: the same extension twice (EINVAL). */
  | 'ERR_EXTENSION_REPEATED'
  /** PF_KEY: the address of an extension is neither IPv4 nor IPv6, or not as long as its family takes (EINVAL). */
  | 'ERR_ADDRESS';

/** Bytes that are not what they claim to be. `offset` counts from the first byte of the buffer that was handed in. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
  readonly code: DecodeErrorCode;
  readonly offset: number;
  /** The structure or attribute that was being read, e.g. `xfrm_aevent_id` or `XFRMA_REPLAY_VAL`. */
  readonly what: string;

  constructor(code: DecodeErrorCode, what: string, offset: number, reason: string) {
    super(`${what} at byte ${offset}: ${reason}`);
    this.code = code;
    this.what = what;
    this.offset = offset;
  }
}

/** A value that has no encoding: out of range, or a name that the schema does not know. */
export class EncodeError extends Error {
  override readonly name = 'EncodeError';
  readonly code = 'ERR_ENCODE';
  /** Path of the offending value in the message, e.g. `body.sel.prefixlenD` or `attributes.replayVal.oseq`. */
  readonly path: string;
  readonly reason: string;

  constructor(path: string, reason: string) {
    super(`${path}: ${reason}`);
    this.path = path;
    this.reason = reason;
  }

  /** Throws `error` again with the place it happened in before its path. */
  static within(place: string, error: unknown): never {
    if (!(error instanceof EncodeError)) throw error;
    throw new EncodeError(error.path === '' ? place : `${place}.${error.path}`, error.reason);
  }
}
