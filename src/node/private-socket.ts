import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { dirname } from 'node:path';

/** sockaddr_un.sun_path, with its end. A longer path would be cut off and the socket lie elsewhere. */
const SOCKET_PATH_MAX = 107;

export interface PrivateSocket {
  /** No further callers. What is being written to the present ones still goes out. */
  close(): void;
}

export interface PrivateSocketOptions {
  /** The key of the configuration that names the path, for messages. */
  readonly key: string;
  readonly path: string;
  readonly connectionsMax: number;
  readonly serve: (socket: Socket) => void;
}

/** Listens on a Unix socket with mode 0600. @throws Error if another daemon answers there, or something else is in its place */
export async function listenPrivately(options: PrivateSocketOptions): Promise<PrivateSocket> {
  const { key, path, connectionsMax, serve } = options;
  if (Buffer.byteLength(path) > SOCKET_PATH_MAX)
    throw new Error(`${key}: ${path} is longer than the ${SOCKET_PATH_MAX} bytes that a socket's path can have`);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 }).catch((cause: Error) => {
    throw new Error(`${key}: cannot make the folder ${dirname(path)}: ${cause.message}`, { cause });
  });
  const there = await lstat(path).catch(() => undefined);
  if (there !== undefined) {
    if (!there.isSocket())
      throw new Error(`${key}: ${path} is there and is no socket; remove it or choose another path`);
    if (await answers(path))
      throw new Error(`another xfrmsync daemon already answers on ${path}: stop it first, or choose another ${key}`);
    // What cannot be removed is in the way of listening, which says so.
    await unlink(path).catch(() => {});
  }
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serve(socket);
  });
  server.maxConnections = connectionsMax;
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) =>
        reject(new Error(`${key}: cannot open the socket ${path}: ${error.message}`, { cause: error })),
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
