import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Frame } from '../replica/index.ts';
import { encodeFrame } from './codec.ts';
import { LinkError } from './errors.ts';
import { type Identity, pinOf } from './identity.ts';
import { CONNECT_TIMEOUT_MS, type Endpoint, Link, type LinkEvents, type PeerOptions } from './link.ts';

export interface LinksOptions {
  readonly identity: Identity;
  readonly listen: Endpoint;
  readonly peers: readonly PeerOptions[];
}

/** Connections that have not proven themselves yet; the oldest has to go for a new one. */
const HANDSHAKES_MAX = 16;

/** The links of a node to all others, and the one port on which it waits for those that dial. */
export class Links {
  readonly #options: LinksOptions;
  readonly #events: LinkEvents;
  readonly #links = new Map<string, Link>();
  #server: Server | undefined;
  /** Connections that have not proven themselves yet, oldest first. */
  readonly #unproven = new Set<Socket>();
  #trouble = '';
  #closed = false;

  constructor(options: LinksOptions, events: LinkEvents) {
    this.#options = options;
    this.#events = events;
    const { identity, listen } = options;
    for (const peer of options.peers) this.#links.set(peer.name, new Link({ identity, listen, peer }, events));
  }

  /** @throws LinkError if the address cannot be listened on */
  async open(): Promise<void> {
    if (this.#options.peers.some(({ dials }) => !dials)) await this.#listen();
    for (const { name, dials } of this.#options.peers) if (dials) this.to(name).dial();
  }

  to(name: string): Link {
    return this.#links.get(name) as Link;
  }

  [Symbol.iterator](): MapIterator<[string, Link]> {
    return this.#links[Symbol.iterator]();
  }

  /** The same to each. */
  send(to: readonly string[], frame: Frame): void {
    const bytes = encodeFrame(frame);
    for (const name of to) this.to(name).send(bytes);
  }

  close(): void {
    this.#closed = true;
    this.#server?.close();
    for (const socket of this.#unproven) socket.destroy();
    for (const [, link] of this) link.close();
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

  /** Nobody who holds connections open without a handshake keeps other nodes out. */
  #greet(socket: Socket): void {
    if (this.#unproven.size >= HANDSHAKES_MAX) {
      const hosts = this.#options.peers.map(({ address: { host } }) => host);
      const isKnown = ({ remoteAddress = '' }: Socket): boolean => hosts.includes(remoteAddress.replace('::ffff:', ''));
      const all = [...this.#unproven];
      const last = all.find((other) => !isKnown(other)) ?? all[0];
      last?.destroy();
    }
    this.#unproven.add(socket);
    socket.once('close', () => this.#unproven.delete(socket));
  }

  /** The handshake has shown that the other side holds the key of its certificate; it must be a pinned one. */
  #admit(socket: TLSSocket): void {
    if (this.#closed) {
      socket.destroy();
      return;
    }
    const certificate = socket.getPeerX509Certificate();
    const pin = certificate === undefined ? undefined : pinOf(certificate as X509Certificate);
    const peer = this.#options.peers.find((one) => one.pin === pin);
    if (peer === undefined) {
      const shown = pin === undefined ? 'no certificate' : `the key ${pin}`;
      const { peers } = this.#options;
      const pinned = peers.length === 1 ? `the pinned key is ${peers[0]?.pin}` : 'no node has it pinned';
      this.#say(`turned away ${socket.remoteAddress ?? 'the other side'}: it showed ${shown}, ${pinned}`);
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    this.#trouble = '';
    for (const unproven of this.#unproven) if (sameEnds(unproven, socket)) this.#unproven.delete(unproven);
    this.to(peer.name).take(socket);
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
