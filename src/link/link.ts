import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { connect, createServer, type Server, type TLSSocket } from 'node:tls';
import type { Frame } from '../replica/index.ts';
import { Connection } from './connection.ts';
import { LinkError } from './errors.ts';
import { type Identity, pinOf } from './identity.ts';

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface LinkOptions {
  readonly identity: Identity;
  /** The only key that is talked to. */
  readonly peerPin: string;
  readonly listen: Endpoint;
  readonly peer: Endpoint;
  /** One of the two nodes dials, the other waits for it. */
  readonly dials: boolean;
}

export interface LinkEvents {
  onConnected(): void;
  onDisconnected(reason: string): void;
  onFrame(frame: Frame): void;
  onWritable(): void;
  /** Somebody was turned away, or the other node cannot be reached; said once per change, not per try. */
  onTrouble(text: string): void;
}

const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2_000;
const CONNECT_TIMEOUT_MS = 5_000;
const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';
/** Connections that have not proven themselves yet; the oldest has to go for a new one. */
const HANDSHAKES_MAX = 16;

/**
 * The connection to the other node, kept up: mutual TLS 1.3, and on both sides the public key must be the pinned one. No certificate
 * authority, no names: the pin is the identity.
 */
export class Link {
  readonly #options: LinkOptions;
  readonly #events: LinkEvents;
  #server: Server | undefined;
  #connection: Connection | undefined;
  #dialing: TLSSocket | undefined;
  /** Of the listening side: connections that have not proven themselves yet, oldest first. */
  readonly #unproven = new Set<Socket>();
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MIN_MS;
  #trouble = '';
  #closed = false;

  constructor(options: LinkOptions, events: LinkEvents) {
    this.#options = options;
    this.#events = events;
  }

  /** @throws LinkError if the address cannot be listened on */
  async open(): Promise<void> {
    if (this.#options.dials) this.#dial();
    else await this.#listen();
  }

  get connected(): boolean {
    return this.#connection !== undefined;
  }

  get writable(): boolean {
    return this.#connection?.writable === true;
  }

  send(frame: Frame): void {
    this.#connection?.send(frame);
  }

  async stream(frames: Iterable<Frame>): Promise<void> {
    await this.#connection?.stream(frames);
  }

  /** Reads no further frames until `resume`: backpressure for the other side. */
  pause(): void {
    this.#connection?.pause();
  }

  resume(): void {
    this.#connection?.resume();
  }

  /** The two nodes have agreed to talk: should the connection break, it is tried again at once. */
  settled(): void {
    this.#retryMs = RETRY_MIN_MS;
  }

  disconnect(reason: string): void {
    this.#connection?.close(reason);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#server?.close();
    this.#dialing?.destroy();
    for (const socket of this.#unproven) socket.destroy();
    this.disconnect('this node stops');
  }

  async #listen(): Promise<void> {
    const { identity, listen } = this.#options;
    const server = createServer({
      key: identity.key,
      cert: identity.cert,
      minVersion: 'TLSv1.3',
      requestCert: true,
      // There is no authority to ask: `#admit` compares the key itself.
      rejectUnauthorized: false,
      handshakeTimeout: CONNECT_TIMEOUT_MS,
    });
    server.on('connection', (socket: Socket) => this.#greet(socket));
    server.on('secureConnection', (socket) => this.#admit(socket));
    server.on('tlsClientError', (error) => this.#say(`a connection attempt failed: ${error.message}`));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) =>
        reject(
          new LinkError('ERR_CONNECTION', `cannot listen on ${listen.host} port ${listen.port}: ${cause.message}`, {
            cause,
          }),
        ),
      );
      server.listen(listen.port, listen.host, resolve);
    });
    // No descriptor left for another connection: the other node tries again.
    server.removeAllListeners('error');
    server.on('error', (error) => this.#say(`cannot take a connection: ${error.message}`));
  }

  /** Nobody who holds connections open without a handshake keeps the other node out. */
  #greet(socket: Socket): void {
    if (this.#unproven.size >= HANDSHAKES_MAX) {
      const { host } = this.#options.peer;
      const all = [...this.#unproven];
      const last = all.find((s) => s.remoteAddress !== host && s.remoteAddress !== `::ffff:${host}`) ?? all[0];
      last?.destroy();
    }
    this.#unproven.add(socket);
    socket.once('close', () => this.#unproven.delete(socket));
  }

  #dial(): void {
    const { identity, peer, listen } = this.#options;
    const socket = connect({
      host: peer.host,
      port: peer.port,
      ...(isWildcard(listen.host) ? {} : { localAddress: listen.host }),
      key: identity.key,
      cert: identity.cert,
      minVersion: 'TLSv1.3',
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
    this.#dialing = socket;
    const timer = setTimeout(
      () => socket.destroy(new Error(`no answer within ${CONNECT_TIMEOUT_MS / 1000} s`)),
      CONNECT_TIMEOUT_MS,
    );
    let admitted = false;
    const failed = (error: Error): void => this.#say(`cannot reach ${peer.host} port ${peer.port}: ${error.message}`);
    socket.on('error', failed);
    socket.once('close', () => {
      clearTimeout(timer);
      if (!admitted) this.#dialLater();
    });
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      socket.off('error', failed);
      admitted = this.#admit(socket);
    });
  }

  #dialLater(): void {
    if (this.#closed) return;
    this.#retry = setTimeout(() => this.#dial(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  /** The handshake has shown that the other side holds the key of its certificate; it must be the pinned one. */
  #admit(socket: TLSSocket): boolean {
    if (this.#closed) {
      socket.destroy();
      return false;
    }
    const certificate = socket.getPeerX509Certificate();
    const pin = certificate === undefined ? undefined : pinOf(certificate as X509Certificate);
    if (pin !== this.#options.peerPin) {
      const shown = pin === undefined ? 'no certificate' : `the key ${pin}`;
      this.#say(
        `turned away ${socket.remoteAddress ?? 'the other side'}: it showed ${shown}, the pinned key is ${this.#options.peerPin}`,
      );
      socket.on('error', () => {});
      socket.destroy();
      return false;
    }
    // The newest connection is the one that works: the other node may have lost the old one without a word.
    this.#connection?.close('replaced by a newer connection');
    this.#trouble = '';
    const connection = new Connection(socket, {
      onFrame: (frame) => this.#events.onFrame(frame),
      onWritable: () => this.#events.onWritable(),
      onClose: (reason) => {
        if (this.#connection !== connection) return;
        this.#connection = undefined;
        this.#events.onDisconnected(reason);
        if (this.#options.dials) this.#dialLater();
      },
    });
    this.#connection = connection;
    for (const unproven of this.#unproven) if (sameEnds(unproven, socket)) this.#unproven.delete(unproven);
    this.#events.onConnected();
    return true;
  }

  #say(text: string): void {
    if (text === this.#trouble || this.#closed) return;
    this.#trouble = text;
    this.#events.onTrouble(text);
  }
}

/** A TLS socket and the TCP socket beneath it. */
function sameEnds(a: Socket, b: Socket): boolean {
  return a.remotePort === b.remotePort && a.remoteAddress === b.remoteAddress;
}
