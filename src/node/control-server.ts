import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { CONTROL_LINE_MAX, type ControlAnswer, controlRequest } from './control-protocol.ts';

const CONNECTIONS_MAX = 32;
/** A caller that says nothing, or does not take its answer, is not waited for. */
const IDLE_MS = 30_000;
/** sockaddr_un.sun_path, with its end. A longer path would be cut off and the socket lie elsewhere. */
const SOCKET_PATH_MAX = 107;

type Parsed = import('zod').output<typeof controlRequest>;
export type ControlHandler = (request: Parsed) => Promise<ControlAnswer>;

export interface ControlServer {
  /** No further requests; answers that are under way still go out. */
  close(): void;
}

/** Listens on a Unix socket with mode 0600. @throws Error if another daemon answers there, or something else is in its place */
export async function openControl(path: string, handle: ControlHandler): Promise<ControlServer> {
  if (Buffer.byteLength(path) > SOCKET_PATH_MAX)
    throw new Error(`node.control: ${path} is longer than the ${SOCKET_PATH_MAX} bytes that a socket's path can have`);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 }).catch((cause: Error) => {
    throw new Error(`node.control: cannot make the folder ${dirname(path)}: ${cause.message}`, { cause });
  });
  const there = await lstat(path).catch(() => undefined);
  if (there !== undefined) {
    if (!there.isSocket())
      throw new Error(`node.control: ${path} is there and is no socket; remove it or choose another path`);
    if (await answers(path))
      throw new Error(
        `another xfrmsync daemon already answers on ${path}: stop it first, or choose another node.control`,
      );
    // What cannot be removed is in the way of listening, which says so.
    await unlink(path).catch(() => {});
  }
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serve(socket, handle);
  });
  server.maxConnections = CONNECTIONS_MAX;
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) =>
        reject(new Error(`cannot open the control socket ${path}: ${error.message}`, { cause: error })),
      );
      server.listen(path, resolve);
    });
  } finally {
    process.umask(before);
  }
  server.removeAllListeners('error');
  // No descriptor left for another caller: it is told that nobody answers.
  server.on('error', () => {});
  await chmod(path, 0o600);
  return {
    close() {
      server.close();
      // Answers to what is refused now are written in this turn of the event loop.
      setImmediate(() => {
        for (const socket of sockets) socket.destroySoon();
      });
    },
  };
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // A daemon whose queue is full is there all the same, and so is one that only another user may ask.
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT'));
  });
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
