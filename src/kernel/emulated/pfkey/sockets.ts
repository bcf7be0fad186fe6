/** The PF_KEY sockets of one namespace, and who of them gets a message. */

/** A PF_KEY socket as it stands. */
export interface PfkeySocketSnapshot {
  /** Kinds of SAs (`SaType`) that it has registered for. */
  readonly registered: readonly number[];
  readonly promiscuous: boolean;
  readonly receiveBufferBytes: number;
  /** Messages that wait, and what the kernel charges them against the receive buffer. */
  readonly waiting: number;
  readonly chargedBytes: number;
  /** Messages lost so far for want of room. */
  readonly drops: number;
  /** A dump is under way. */
  readonly dumping: boolean;
  /** By `hold`. */
  readonly held: boolean;
}

/** A PF_KEY socket as its namespace sees it. */
export interface PfkeyListener {
  /** Bit n: registered for SAs of kind n. */
  readonly registered: number;
  /** Gets a copy of all that is sent and received (X_PROMISC). */
  readonly promiscuous: boolean;
  /** False: there was no room for it. */
  deliver(bytes: Uint8Array, length: number): boolean;
  snapshot(): PfkeySocketSnapshot;
  clearFaults(): void;
}

/** Whom a message is for: a single socket, beside the promiscuous ones; or all, those that have registered, or none. */
export type Audience = 'all' | 'registered' | 'none' | PfkeyListener;

export class PfkeySockets {
  /** The newest first, as they get a message. */
  #sockets: readonly PfkeyListener[] = [];
  readonly #onRegistered: (any: boolean) => void;

  /** `onRegistered` is told whether any is registered, whenever that may have changed. */
  constructor(onRegistered: (any: boolean) => void) {
    this.#onRegistered = onRegistered;
  }

  get isEmpty(): boolean {
    return this.#sockets.length === 0;
  }

  get hasRegistered(): boolean {
    return this.#sockets.some(({ registered }) => registered !== 0);
  }

  /** The newest first. */
  get all(): readonly PfkeyListener[] {
    return this.#sockets;
  }

  add(socket: PfkeyListener): void {
    this.#sockets = [socket, ...this.#sockets];
  }

  remove(socket: PfkeyListener): void {
    this.#sockets = this.#sockets.filter((other) => other !== socket);
    this.registeredChanged();
  }

  registeredChanged(): void {
    this.#onRegistered(this.hasRegistered);
  }

  /**
   * Delivers a message (af_key.c:pfkey_broadcast). A promiscuous socket that it is for anyway gets it twice. `also`: who gets it beside its
   * audience, after all others, once. True: it has reached one that it was for.
   */
  broadcast(bytes: Uint8Array, length: number, audience: Audience, also?: PfkeyListener): boolean {
    const target = typeof audience === 'object' ? audience : also;
    let reached = false;
    for (const socket of this.#sockets) {
      if (socket.promiscuous) socket.deliver(bytes, length);
      if (socket === target) continue;
      const isMeant = audience === 'all' || (audience === 'registered' && socket.registered !== 0);
      if (isMeant && socket.deliver(bytes, length)) reached = true;
    }
    return target === undefined ? reached : target.deliver(bytes, length);
  }
}
