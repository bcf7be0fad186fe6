import { ClientError } from '../client/index.ts';
import { KernelError, type KernelErrorCode } from '../kernel/index.ts';
import { DecodeError, EncodeError, JsonError } from '../xfrm/index.ts';
import { ExitCode } from './exit-codes.ts';

/** A command that ends with one line for the operator and an exit code. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
  }
}

/** Wrong usage, or input that cannot be read. */
export const usageError = (message: string, cause?: unknown): CliError => new CliError(ExitCode.USAGE, message, cause);

const kernelCodes: Partial<Record<KernelErrorCode, ExitCode>> = {
  ERR_PERMISSION: ExitCode.PERMISSION,
  ERR_NOT_LINUX: ExitCode.UNAVAILABLE,
  ERR_UNSUPPORTED_ARCH: ExitCode.UNAVAILABLE,
  ERR_NO_KOFFI: ExitCode.UNAVAILABLE,
  ERR_NO_XFRM: ExitCode.UNAVAILABLE,
  ERR_NO_PFKEY: ExitCode.UNAVAILABLE,
  ERR_NO_KERNEL: ExitCode.DAEMON,
  ERR_NAMESPACE: ExitCode.USAGE,
  ERR_ARGUMENT: ExitCode.USAGE,
};

/** Errors of the rooms that only some commands load, told by their code alone. */
const otherCodes: Readonly<Record<string, ExitCode>> = {
  ERR_CONFIG: ExitCode.USAGE,
  ERR_IDENTITY: ExitCode.USAGE,
  ERR_NO_DAEMON: ExitCode.DAEMON,
};

const EPERM = 1;

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CliError) return error.exitCode;
  if (error instanceof KernelError) return kernelCodes[error.code] ?? ExitCode.FAILED;
  if (error instanceof ClientError) {
    if (error.cause instanceof KernelError) return exitCodeOf(error.cause);
    if (error.code !== 'ERR_KERNEL') return ExitCode.FAILED;
    return error.errno === EPERM ? ExitCode.PERMISSION : ExitCode.REFUSED;
  }
  if (error instanceof DecodeError || error instanceof EncodeError || error instanceof JsonError) return ExitCode.USAGE;
  const code = (error as { code?: unknown } | undefined)?.code;
  return (typeof code === 'string' ? otherCodes[code] : undefined) ?? ExitCode.FAILED;
}

/** One line, whatever the error says. */
export function lineOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, ' ').trim();
}

/** Says what was being done when `action` failed; the exit code stays that of the failure. */
export async function doing<T>(what: string, action: Promise<T>): Promise<T> {
  try {
    return await action;
  } catch (error) {
    throw new CliError(exitCodeOf(error), `${what}: ${lineOf(error)}`, error);
  }
}
