/** Why an SA or a packet cannot be protected. Match on `code`; the message is for people and may change. No message holds a key. */
export type EspErrorCode =
  /** An algorithm, or a combination, that is not done here. */
  | 'ERR_ESP_ALGORITHM'
  /** A key or check value of a length that its algorithm does not have. */
  | 'ERR_ESP_KEY'
  /** Encryption without integrity, which an attacker can alter: RFC 4303 allows it, this does not. */
  | 'ERR_ESP_UNAUTHENTICATED'
  /** Not an ESP SA, or one in a mode other than transport and tunnel. */
  | 'ERR_ESP_MODE'
  /** An encapsulation other than ESP in UDP (RFC 3948). */
  | 'ERR_ESP_ENCAP'
  /** A packet that transport mode cannot take: of another family than its SA, or a fragment. */
  | 'ERR_ESP_TRANSPORT'
  /** The packet to protect is no sound IP packet. */
  | 'ERR_ESP_PACKET'
  /** The protected packet is longer than IP can say, or than the buffer for it. */
  | 'ERR_ESP_TOO_LONG'
  /** The number would repeat an initialization vector of this key. */
  | 'ERR_ESP_SEQUENCE'
  /** The data plane was disposed of. */
  | 'ERR_ESP_CLOSED';

export class EspError extends Error {
  override readonly name = 'EspError';
  readonly code: EspErrorCode;

  constructor(code: EspErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
