import { errnoName, errnoText } from '../netlink/index.ts';

export type ClientErrorCode =
  /** The kernel refused the request: see `errno` and `extack`. */
  | 'ERR_KERNEL'
  /** No answer came in time. */
  | 'ERR_TIMEOUT'
  /** Answers were lost: the receive buffer of the request socket ran over. */
  | 'ERR_OVERRUN'
  /** The client was closed, or its socket failed, before the answer came. */
  | 'ERR_CLOSED'
  /** The kernel did not take the datagram, so nothing of it was carried out: see `cause`, a KernelError. */
  | 'ERR_SEND'
  /** The request has no bytes, or is one that must not be sent: see `cause`. In results of a batch; `request` throws the cause itself. */
  | 'ERR_REQUEST'
  /** The answer was not what this request is answered with. */
  | 'ERR_ANSWER';

/** A request that failed. Branch on `code`, and on `errno` where it is `ERR_KERNEL`; texts are for people. */
export class ClientError extends Error {
  override readonly name = 'ClientError';
  readonly code: ClientErrorCode;
  /** What was asked for, e.g. `NEWAE`. */
  readonly request: string;
  /** Positive errno of the kernel, 0 where there is none. */
  readonly errno: number;
  /** The kernel's own words, where it sent any (NLMSGERR_ATTR_MSG). */
  readonly extack: string;
  /** Offset in the request that the kernel points at (NLMSGERR_ATTR_OFFS). */
  readonly offset: number | undefined;

  constructor(
    code: ClientErrorCode,
    request: string,
    text: string,
    details: { errno?: number; extack?: string; offset?: number; cause?: unknown } = {},
  ) {
    super(`${request}: ${text}`, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.request = request;
    this.errno = details.errno ?? 0;
    this.extack = details.extack ?? '';
    this.offset = details.offset;
  }
}

export function kernelRefused(request: string, errno: number, extack = '', offset?: number): ClientError {
  const words = extack === '' ? errnoText(errno) : extack;
  return new ClientError('ERR_KERNEL', request, `${errnoName(errno)}, ${words}`, {
    errno,
    extack,
    ...(offset === undefined ? {} : { offset }),
  });
}
