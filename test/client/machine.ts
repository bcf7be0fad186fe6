/** What the integration checks of the client need of a machine, real or emulated. */
import { deepStrictEqual as same } from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import { type EventStream, type Kernel, type KernelEvent, openEvents, XfrmClient } from 'xfrmsync';
import type { XfrmKind, XfrmMessage } from 'xfrmsync/xfrm';
import { fieldsOf } from './ip-text.ts';

/** Two network namespaces with a link between them. */
export type Side = 'a' | 'b';
export const SIDES = ['a', 'b'] as const;
export const ADDRESSES = { a: ['10.9.0.1', 'fd09::1'], b: ['10.9.0.2', 'fd09::2'] } as const;
/** Where the datagrams of `send` come from and go to, and what they carry. */
export const PORTS = { a: 4242, b: 9 } as const;
export const PAYLOAD_BYTES = 56;
/** A UDP port of b that takes ESP. */
export const ENCAP_PORT = 4500;
export const TICK_MS = 10;
/** Ten seconds of the machine's time: longer than a busy one takes for anything here. */
const WAIT_TICKS = 1000;

export interface Machine {
  kernel(side: Side): Kernel;
  /** Sends datagrams from a to b, through whatever policy there is; how many the kernel took. */
  send(count: number): number;
  /** Lets TICK_MS pass, and what is ready happen. */
  tick(): Promise<void>;
  setSysctl(side: Side, name: string, value: number): void;
  /** What somebody else says about the SAs of a namespace, by SPI, with the names of `fieldsOf`; absent if there is nobody. */
  witness?(side: Side): Map<string, Readonly<Record<string, string>>>;
}

/** A machine with a client on either side. */
export interface Pair {
  readonly machine: Machine;
  readonly a: XfrmClient;
  readonly b: XfrmClient;
}

export async function openPair(machine: Machine): Promise<Pair> {
  const [a, b] = await Promise.all(SIDES.map((side) => XfrmClient.open(machine.kernel(side))));
  return { machine, a, b } as Pair;
}

export async function flush(...clients: XfrmClient[]): Promise<void> {
  for (const client of clients) {
    await client.flushPolicies();
    await client.flushSas();
  }
}

/** Asks until `expected` is there: packets reach the other side when its turn comes. */
export async function eventually<T>(machine: Machine, expected: T, ask: () => Promise<T>): Promise<void> {
  let found = await ask();
  for (let tick = 0; tick < WAIT_TICKS && !isDeepStrictEqual(found, expected); tick++) {
    await machine.tick();
    found = await ask();
  }
  same(found, expected);
}

/** The client and the witness see the same; how many SAs there are. */
export async function agree({ machine, ...clients }: Pair, side: Side): Promise<number> {
  const ours = await clients[side].dumpSas();
  const theirs = machine.witness?.(side);
  if (theirs === undefined) return ours.length;
  same([...theirs.keys()].sort(), ours.map(({ body }) => body.id.spi.toString(16).padStart(8, '0')).sort());
  for (const sa of ours) {
    const fields = fieldsOf(sa);
    same(fields, theirs.get(fields.spi ?? ''), `SA 0x${fields.spi}: the client and the witness differ`);
  }
  return ours.length;
}

/** What is promised, if it comes in the machine's own time. */
export async function inTime<T>(machine: Machine, promised: Promise<T>): Promise<T> {
  const result = promised.then((value) => ({ value }));
  for (let tick = 0; tick < WAIT_TICKS; tick++) {
    const got = await Promise.race([result, machine.tick()]);
    if (got !== undefined) return got.value;
  }
  throw new Error(`nothing came within ${WAIT_TICKS * TICK_MS} ms`);
}

/** Events of one side, waited for on the machine's own time. */
export class Listener {
  readonly #machine: Machine;
  readonly #events: AsyncIterator<KernelEvent>;
  readonly #stream: EventStream;
  #pending: Promise<IteratorResult<KernelEvent>> | undefined;

  private constructor(machine: Machine, stream: EventStream) {
    this.#machine = machine;
    this.#stream = stream;
    this.#events = stream[Symbol.asyncIterator]();
  }

  static async open(machine: Machine, side: Side, ...groups: number[]): Promise<Listener> {
    return new Listener(machine, await openEvents(machine.kernel(side), { groups }));
  }

  /** The next message of this kind; others are passed over. */
  async next<K extends XfrmKind>(kind: K): Promise<XfrmMessage<K>> {
    for (let tick = 0; tick < WAIT_TICKS; ) {
      this.#pending ??= this.#events.next();
      const got = await Promise.race([this.#pending, this.#machine.tick()]);
      if (got === undefined) {
        tick++;
        continue;
      }
      this.#pending = undefined;
      if (got.done) throw new Error('the stream has ended');
      const event = got.value;
      if (event.type !== 'message') throw new Error(`${event.type} in the stream`);
      if (event.message.kind === kind) return event.message as XfrmMessage<K>;
    }
    throw new Error(`no ${kind} within ${WAIT_TICKS * TICK_MS} ms`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stream[Symbol.asyncDispose]();
  }
}
