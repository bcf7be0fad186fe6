import { decodeFrame, encodeFrame } from '../link/index.ts';
import type { Frame } from '../replica/index.ts';
import type { Random } from './random.ts';
import type { Schedule } from './schedule.ts';

/**
 * The link between two nodes, as TCP and TLS make it: in order and without loss within a connection. Connections break, with all that is
 * on its way; while the path is cut nothing arrives, and either side learns of it by its own timeout alone.
 */

/** What a daemon hears of its link. */
export interface WireEnd {
  readonly name: string;
  /** It takes connections now. */
  readonly listens: boolean;
  /** Calls `happen` in the daemon's process: later, if it is stopped. */
  run(happen: () => void): void;
  onConnected(peer: string): void;
  onDisconnected(peer: string, reason: string): void;
  onFrame(peer: string, frame: Frame): void;
}

const DIAL_MS_MIN = 20;
const DIAL_MS_MAX = 200;
/** After a cut, what TCP had sent in vain is sent again so much later at the most. */
const RETRANSMIT_MS = 200;

interface Connection {
  readonly ends: readonly [WireEnd, WireEnd];
  /** The daemons at its ends that still hold it. */
  readonly held: Set<WireEnd>;
  /** What is on its way from an end, and when the last of it will have arrived. */
  readonly under: Map<WireEnd, Uint8Array[]>;
  readonly arrivalMs: Map<WireEnd, number>;
}

const nameOfOther = ({ ends }: Connection, end: WireEnd): string => (ends[0] === end ? ends[1] : ends[0]).name;

export class Wire {
  /** The path is cut until then. */
  cutUntilMs = 0;
  delayMs = 0.25;
  readonly #schedule: Schedule;
  readonly #random: Random;
  readonly #ends: () => readonly WireEnd[];
  readonly #connections = new Map<WireEnd, Connection>();

  /** `ends`: the daemons of the two nodes that run now. */
  constructor(schedule: Schedule, random: Random, ends: () => readonly WireEnd[]) {
    this.#schedule = schedule;
    this.#random = random;
    this.#ends = ends;
    this.#dialLater();
  }

  isConnected(end: WireEnd): boolean {
    return this.#connections.has(end);
  }

  send(from: WireEnd, frame: Frame): void {
    const connection = this.#connections.get(from);
    if (connection === undefined) return;
    const bytes = encodeFrame(frame);
    connection.under.get(from)?.push(bytes);
    const { nowMs } = this.#schedule;
    const ms = nowMs + this.delayMs * (1 + this.#random.below(100) / 100);
    this.#arrive(connection, from, Math.max(connection.arrivalMs.get(from) ?? 0, ms));
  }

  /** At `ms` the next of what is on its way arrives. */
  #arrive(connection: Connection, from: WireEnd, ms: number): void {
    connection.arrivalMs.set(from, ms);
    this.#schedule.at(ms, () => {
      if (this.#schedule.nowMs < this.cutUntilMs) {
        const laterMs = this.cutUntilMs + this.#random.below(RETRANSMIT_MS);
        this.#arrive(connection, from, Math.max(connection.arrivalMs.get(from) ?? 0, laterMs));
        return;
      }
      const bytes = connection.under.get(from)?.shift();
      if (bytes === undefined) return;
      for (const to of [...connection.held]) {
        if (to === from) continue;
        to.run(() => {
          if (connection.held.has(to)) to.onFrame(from.name, decodeFrame(bytes));
        });
      }
    });
  }

  /** One side lets go: the other one hears of it, if the path is there. */
  disconnect(end: WireEnd, reason: string): void {
    const connection = this.#letGo(end);
    if (connection === undefined) return;
    end.onDisconnected(nameOfOther(connection, end), reason);
    this.#tellOthers(connection);
  }

  /** The process at one end is gone, or its machine: then nobody tells the other end. */
  vanish(end: WireEnd, withMachine: boolean): void {
    const connection = this.#letGo(end);
    if (connection !== undefined && !withMachine) this.#tellOthers(connection);
  }

  /** The connection breaks at both ends. */
  break(): void {
    for (const end of [...this.#connections.keys()]) this.disconnect(end, 'connection reset');
  }

  #letGo(end: WireEnd): Connection | undefined {
    const connection = this.#connections.get(end);
    this.#connections.delete(end);
    connection?.held.delete(end);
    return connection;
  }

  #tellOthers(connection: Connection): void {
    this.#schedule.after(this.delayMs, () => {
      if (this.#schedule.nowMs < this.cutUntilMs) return;
      for (const other of [...connection.held]) {
        other.run(() => {
          if (!connection.held.has(other)) return;
          this.#letGo(other);
          other.onDisconnected(nameOfOther(connection, other), 'the connection was closed');
        });
      }
    });
  }

  #dialLater(): void {
    this.#schedule.after(this.#random.between(DIAL_MS_MIN, DIAL_MS_MAX), () => {
      this.#dial();
      this.#dialLater();
    });
  }

  /** The node with the larger name dials. */
  #dial(): void {
    if (this.#schedule.nowMs < this.cutUntilMs) return;
    const ends = this.#ends().filter((end) => end.listens);
    const [listener, dialer] = [...ends].sort((a, b) => (a.name < b.name ? -1 : 1));
    if (listener === undefined || dialer === undefined || this.isConnected(dialer)) return;
    // The listener may still hold a connection whose other end is gone.
    if (this.#letGo(listener) !== undefined) listener.onDisconnected(dialer.name, 'replaced by a newer connection');
    const connection: Connection = {
      ends: [listener, dialer],
      held: new Set([listener, dialer]),
      under: new Map(),
      arrivalMs: new Map(),
    };
    for (const end of connection.held) connection.under.set(end, []);
    for (const end of [listener, dialer]) this.#connections.set(end, connection);
    listener.onConnected(dialer.name);
    dialer.onConnected(listener.name);
  }
}
