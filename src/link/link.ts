import type { X509Certificate } from 'node:crypto';
import { connect, type TLSSocket } from 'node:tls';
import type { Frame } from '../replica/index.ts';
import { Connection } from './connection.ts';
import { type Identity, pinOf } from './identity.ts';

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** Another node: who it is, where it is. */
export interface PeerOptions {
  readonly name: string;
  /** The only key that it may show. */
  readonly pin: string;
  readonly address: Endpoint;
  /** Of two nodes one dials, the other waits for it. */
  readonly dials: boolean;
}

/** What happens on the link to the node `peer`. */
export interface LinkEvents {
  onConnected(peer: string): void;
  onDisconnected(peer: string, reason: string): void;
  onFrame(peer: string, frame: Frame): void;
  onWritable(peer: string): void;
  /** Somebody was turned away, or a node cannot be reached; said once per change, not per try. */
  onTrouble(text: string): void;
}

interface LinkOptions {
  readonly identity: Identity;
  readonly listen: Endpoint;
  readonly peer: PeerOptions;
}

const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2_000;
export const CONNECT_TIMEOUT_MS = 5_000;
const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';

/**
 * The connection to one other node, kept up: mutual TLS 1.3, and on both sides the public key must be the pinned one. No certificate
 * authority, no names: the pin is the identity.
 */
export class Link {
  readonly #options: LinkOptions;
  readonly #events: LinkEvents;
  #connection: Connection | undefined;
  #dialing: TLSSocket | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MIN_MS;
  #trouble = '';
  #closed = false;

  constructor(options: LinkOptions, events: LinkEvents) {
    this.#options = options;
    this.#events = events;
  }

  get connected(): boolean {
    return this.#connection !== undefined;
  }

  get writable(): boolean {
    return this.#connection?.writable === true;
  }

  /** `bytes`: a frame. */
  send(bytes: Uint8Array): void {
    this.#connection?.send(bytes);
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
    this.#dialing?.destroy();
    this.disconnect('this node stops');
  }

  dial(): void {
    const { identity, peer, listen } = this.#options;
    const { host, port } = peer.address;
    const socket = connect({
      host,
      port,
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
    const failed = (error: Error): void => this.#say(`cannot reach ${host} port ${port}: ${error.message}`);
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
    this.#retry = setTimeout(() => this.dial(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  /** The handshake has shown that the other side holds the key of its certificate; it must be the pinned one. */
  #admit(socket: TLSSocket): boolean {
    const { peer } = this.#options;
    const pin = pinOf(socket.getPeerX509Certificate() as X509Certificate);
    if (pin === peer.pin) {
      this.take(socket);
      return true;
    }
    this.#say(
      `turned away ${socket.remoteAddress ?? peer.name}: it showed the key ${pin}, the pinned key is ${peer.pin}`,
    );
    socket.on('error', () => {});
    socket.destroy();
    return false;
  }

  /** A connection to the right node. The newest is the one that works: it may have lost the old one without a word. */
  take(socket: TLSSocket): void {
    const { name, dials } = this.#options.peer;
    if (this.#closed) {
      socket.destroy();
      return;
    }
    this.#connection?.close('replaced by a newer connection');
    this.#trouble = '';
    const connection = new Connection(socket, {
      onFrame: (frame) => this.#events.onFrame(name, frame),
      onWritable: () => this.#events.onWritable(name),
      onClose: (reason) => {
        if (this.#connection !== connection) return;
        this.#connection = undefined;
        this.#events.onDisconnected(name, reason);
        if (dials) this.#dialLater();
      },
    });
    this.#connection = connection;
    this.#events.onConnected(name);
  }

  #say(text: string): void {
    if (text === this.#trouble || this.#closed) return;
    this.#trouble = text;
    this.#events.onTrouble(text);
  }
}
