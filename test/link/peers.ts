import { connect as connectTcp, type Socket } from 'node:net';
import { freeTcpPorts } from '../../src/demo/sockets.ts';
import { type Endpoint, type Identity, Links, makeIdentity } from '../../src/link/index.ts';
import type { Frame } from '../../src/replica/index.ts';

/** Two ends of a link on the loopback, and everything that was said to each. */

export const identities: { a: Identity; b: Identity; stranger: Identity } = {
  a: await makeIdentity('a'),
  b: await makeIdentity('b'),
  stranger: await makeIdentity('stranger'),
};

export const freePort = async (): Promise<number> => (await freeTcpPorts(1))[0] as number;

/** One end: who it is, and whom it takes. */
export interface EndOptions {
  readonly identity: Identity;
  readonly listen: Endpoint;
  readonly peer: Endpoint;
  readonly peerPin: string;
  readonly dials: boolean;
}

const OTHER = 'other';

export class End {
  readonly links: Links;
  readonly frames: Frame[] = [];
  readonly said: string[] = [];
  readonly #waiting = new Set<() => void>();
  onFrame: (frame: Frame) => void = (frame) => this.frames.push(frame);

  constructor({ identity, listen, peer, peerPin, dials }: EndOptions) {
    const note = (text: string): void => {
      this.said.push(text);
      this.changed();
    };
    const peers = [{ name: OTHER, pin: peerPin, address: peer, dials }];
    this.links = new Links(
      { identity, listen, peers },
      {
        onConnected: () => note('connected'),
        onDisconnected: (_, reason) => note(`disconnected: ${reason}`),
        onFrame: (_, frame) => {
          this.onFrame(frame);
          this.changed();
        },
        onWritable: () => this.changed(),
        onTrouble: (text) => note(`trouble: ${text}`),
      },
    );
  }

  /** The link to the other end. */
  get link() {
    return this.links.to(OTHER);
  }

  send(frame: Frame): void {
    this.links.send([OTHER], frame);
  }

  changed(): void {
    for (const check of [...this.#waiting]) check();
  }

  /** Until it is so; the test's own time-out bounds it. */
  until(done: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (!done()) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }

  has(text: string): boolean {
    return this.said.some((line) => line.includes(text));
  }
}

export class Pair implements AsyncDisposable {
  readonly port: number;
  readonly a: End;
  readonly b: End;

  constructor(port: number, options: { a?: Partial<EndOptions>; b?: Partial<EndOptions> } = {}) {
    this.port = port;
    const here = { host: '127.0.0.1', port };
    const common = { listen: here, peer: here };
    this.a = new End({ ...common, identity: identities.a, peerPin: identities.b.pin, dials: false, ...options.a });
    this.b = new End({ ...common, identity: identities.b, peerPin: identities.a.pin, dials: true, ...options.b });
  }

  async open(): Promise<this> {
    await this.a.links.open();
    await this.b.links.open();
    return this;
  }

  async connected(): Promise<this> {
    await this.open();
    await Promise.all([this.a, this.b].map((end) => end.until(() => end.has('connected'))));
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.a.links.close();
    this.b.links.close();
  }
}

/** A TCP connection to the listening end, and what becomes of it. */
export async function raw(port: number): Promise<{ socket: Socket; closed: Promise<void> }> {
  const socket = connectTcp(port, '127.0.0.1');
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  socket.resume();
  return { socket, closed };
}
