/** What the exit code says; the same table is printed by --help and stands in docs/cli.md. */
export const ExitCode = {
  OK: 0,
  FAILED: 1,
  USAGE: 2,
  PERMISSION: 3,
  UNAVAILABLE: 4,
  DAEMON: 5,
  REFUSED: 6,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

const meanings: readonly (readonly [ExitCode, string])[] = [
  [ExitCode.OK, 'done'],
  [ExitCode.FAILED, 'the operation failed, or a difference was found'],
  [ExitCode.USAGE, 'wrong usage, or input that cannot be read'],
  [ExitCode.PERMISSION, 'no permission (CAP_NET_ADMIN)'],
  [ExitCode.UNAVAILABLE, 'not available on this machine (no Linux, no XFRM, no koffi)'],
  [ExitCode.DAEMON, 'the daemon cannot be reached'],
  [ExitCode.REFUSED, 'the kernel refused the request (exists already, no such SA, not supported, ...)'],
];

export const exitCodeHelp = `\nExit codes:\n${meanings.map(([code, text]) => `  ${code}  ${text}`).join('\n')}`;
