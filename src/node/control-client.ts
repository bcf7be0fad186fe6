import { connect } from 'node:net';
import type { ControlAnswer, ControlRequest } from './control-protocol.ts';

/** A command that a daemon did not carry out. */
export class ControlError extends Error {
  override readonly name = 'ControlError';
  /** `ERR_NO_DAEMON`: nobody answers on the socket. `ERR_REFUSED`: the daemon said no. */
  readonly code: 'ERR_NO_DAEMON' | 'ERR_REFUSED';

  constructor(code: 'ERR_NO_DAEMON' | 'ERR_REFUSED', message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const ANSWER_MAX = 256 << 20;

/** How long an answer may take that the daemon has at hand. */
const ANSWER_MS = 10_000;

/** Sends one command to the daemon behind a control socket. @throws ControlError */
export function callControl(path: string, request: ControlRequest, timeoutMs = ANSWER_MS): Promise<object> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let bytes = 0;
    const socket = connect(path);
    const fail = (text: string, cause?: Error): void => {
      socket.destroy();
      reject(new ControlError('ERR_NO_DAEMON', text, { cause }));
    };
    socket.setTimeout(timeoutMs, () =>
      fail(`the daemon behind ${path} did not answer within ${timeoutMs / 1000} s; see its log`),
    );
    socket.once('connect', () => socket.write(`${JSON.stringify(request)}\n`));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EACCES' || error.code === 'EPERM'
          ? 'the control socket belongs to another user: run the command as that user'
          : 'no daemon answers there: start it with "xfrmsync daemon -c FILE", or look into its log why it stopped';
      fail(`cannot reach ${path} (${error.code ?? error.message}): ${why}`, error);
    });
    socket.on('data', (piece: Buffer) => {
      pieces.push(piece);
      bytes += piece.length;
      if (bytes > ANSWER_MAX) fail('the answer is too long');
    });
    socket.once('end', () => {
      let answer: ControlAnswer;
      try {
        answer = JSON.parse(Buffer.concat(pieces).toString('utf8')) as ControlAnswer;
      } catch (error) {
        fail(`the daemon behind ${path} went away before it answered`, error as Error);
        return;
      }
      if (answer.ok) resolve(answer.result);
      else reject(new ControlError('ERR_REFUSED', answer.reason));
    });
  });
}
