export type LinkErrorCode =
  /** The other side sent something that is no frame, or not now. */
  | 'ERR_FRAME'
  /** The other side's key is not the pinned one. */
  | 'ERR_KEY'
  /** Key or certificate files cannot be used. */
  | 'ERR_IDENTITY'
  /** The other side could not be reached, or went away. */
  | 'ERR_CONNECTION';

export class LinkError extends Error {
  override readonly name = 'LinkError';
  readonly code: LinkErrorCode;

  constructor(code: LinkErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
