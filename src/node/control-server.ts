import type { Socket } from 'node:net';
import { CONTROL_LINE_MAX, type ControlAnswer, controlRequest } from './control-protocol.ts';
import { listenPrivately, type PrivateSocket } from './private-socket.ts';

const CONNECTIONS_MAX = 32;
/** A caller that says nothing, or does not take its answer, is not waited for. */
const IDLE_MS = 30_000;
type Parsed = import('zod').output<typeof controlRequest>;
export type ControlHandler = (request: Parsed) => Promise<ControlAnswer>;

/** @throws Error if another daemon answers there, or something else is in its place */
export function openControl(path: string, handle: ControlHandler): Promise<PrivateSocket> {
  const serving = (socket: Socket): void => serve(socket, handle);
  return listenPrivately({ key: 'node.control', path, connectionsMax: CONNECTIONS_MAX, serve: serving });
}

function serve(socket: Socket, handle: ControlHandler): void {
  let text = '';
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  socket.on('error', () => {});
  const answer = (value: ControlAnswer): void => {
    socket.setTimeout(IDLE_MS);
    socket.end(`${JSON.stringify(value)}\n`);
  };
  socket.on('data', (bytes: Buffer) => {
    text += bytes.toString('utf8');
    if (text.length > CONTROL_LINE_MAX) {
      socket.removeAllListeners('data').resume();
      answer({ ok: false, reason: 'the request is too long' });
      return;
    }
    const end = text.indexOf('\n');
    if (end < 0) return;
    socket.removeAllListeners('data').resume();
    socket.setTimeout(0);
    const request = parse(text.slice(0, end));
    if (typeof request === 'string') answer({ ok: false, reason: request });
    else handle(request).then(answer, (error: Error) => answer({ ok: false, reason: error.message }));
  });
}

function parse(line: string): Parsed | string {
  try {
    const result = controlRequest.safeParse(JSON.parse(line));
    if (result.success) return result.data;
    return `not a request: ${result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')}`;
  } catch {
    return 'not a request: it is no JSON';
  }
}
