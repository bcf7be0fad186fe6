import { destination, type Logger, pino } from 'pino';
import type { Config } from './config.ts';

/** Keys have no business in a log; should one ever get near it, it is not written (S6). */
const redact = {
  paths: ['key', '*.key', '*.*.key', 'algAead', 'algAuth', 'algAuthTrunc', 'algCrypt'],
  censor: '(hidden)',
};

/**
 * JSON lines to standard error or to a file. A log that cannot be written (a full disk) is said once on standard error and never
 * stops the node.
 */
export function openLog(config: Config): Logger {
  const { level, file } = config.log;
  const base = { node: config.node.name };
  const options = { level, redact, base, timestamp: pino.stdTimeFunctions.isoTime };
  if (file === undefined) return pino(options, destination({ fd: 2, sync: true }));
  // Synchronous writes report their error to the caller, asynchronous ones keep unwritten lines without limit: take at most a megabyte.
  const stream = destination({ dest: file, sync: false, mkdir: true, maxLength: 1 << 20, append: true });
  let said = false;
  stream.on('error', (error: Error) => {
    if (said) return;
    said = true;
    process.stderr.write(`xfrmsync: cannot write the log ${file}: ${error.message}; the node goes on without it\n`);
  });
  return pino(options, stream);
}
