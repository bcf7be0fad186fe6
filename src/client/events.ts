import type { Batch, Kernel, KernelSocket } from '../kernel/index.ts';
import { DecodeError, forEachMessage } from '../netlink/index.ts';
import { type AnyXfrmMessage, decodeMessage } from '../xfrm/index.ts';

/** What a stream of events yields. After `overrun` events were lost: read the state anew (dump), then go on. */
export type KernelEvent<M = AnyXfrmMessage> =
  | { readonly type: 'message'; readonly message: M; readonly bytes: Uint8Array }
  | { readonly type: 'malformed'; readonly error: DecodeError; readonly bytes: Uint8Array }
  | { readonly type: 'overrun' };

export interface EventOptions {
  readonly groups: Iterable<number>;
  readonly receiveBufferBytes?: number;
  /**
   * Events kept for a slow reader, beside as many that it has taken over already. When there are more, all of them are dropped and one
   * `overrun` stands for them: a reader that does not keep up learns it, and memory stays bounded.
   */
  readonly queueMax?: number;
}

export const QUEUE_MAX = 65_536;

/**
 * Events of the given groups, decoded, as an async iterable.
 *
 * @example
 * for await (const event of await openEvents(linuxKernel(), { groups: [XfrmGroup.AEVENTS] })) {
 *   if (event.type === 'message') console.log(formatMessage(event.message));
 * }
 */
export async function openEvents(kernel: Kernel, options: EventOptions): Promise<EventStream> {
  const { groups, receiveBufferBytes, queueMax } = options;
  const socket = await kernel.open({ groups, ...(receiveBufferBytes === undefined ? {} : { receiveBufferBytes }) });
  return new EventStream(socket, queueMax ?? QUEUE_MAX, messagesOf);
}

/** Takes a datagram apart, for a copy of each message in it. */
export type ReadDatagram<M> = (
  buffer: Uint8Array,
  start: number,
  end: number,
  push: (event: KernelEvent<M>) => void,
) => void;

export class EventStream<M = AnyXfrmMessage> implements AsyncDisposable {
  readonly #socket: Omit<KernelSocket, 'portId'>;
  readonly #read: ReadDatagram<M>;
  readonly #queueMax: number;
  #queue: KernelEvent<M>[] = [];
  #failure: Error | undefined;
  #closed = false;
  /** Readers that wait. One is usual; several share the events among them. */
  #waiting: (() => void)[] = [];

  constructor(socket: Omit<KernelSocket, 'portId'>, queueMax: number, read: ReadDatagram<M>) {
    this.#socket = socket;
    this.#read = read;
    this.#queueMax = queueMax;
    socket.onOverrun(() => this.#push({ type: 'overrun' }));
    socket.onError((error) => {
      this.#failure = error;
      this.#wake();
    });
    socket.receive((batch) => this.#onBatch(batch));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<KernelEvent<M>> {
    try {
      for (;;) {
        const ready = this.#queue;
        this.#queue = [];
        yield* ready;
        if (this.#queue.length > 0) continue;
        if (this.#failure) throw this.#failure;
        if (this.#closed) return;
        await new Promise<void>((resolve) => {
          this.#waiting.push(resolve);
        });
      }
    } finally {
      this.close();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    this.#wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #onBatch({ buffer, offsets, lengths, count }: Batch): void {
    for (let i = 0; i < count; i++) {
      const start = offsets[i] as number;
      const end = start + (lengths[i] as number);
      this.#read(buffer, start, end, (event) => this.#push(event));
    }
  }

  #push(event: KernelEvent<M>): void {
    if (this.#closed) return;
    if (this.#queue.length >= this.#queueMax) this.#queue = [{ type: 'overrun' }];
    this.#queue.push(event);
    this.#wake();
  }

  #wake(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}

const messagesOf: ReadDatagram<AnyXfrmMessage> = (buffer, start, end, push) => {
  const read = (at: number, length: number): void => push(decoded(buffer.slice(at, at + length), decodeMessage));
  const stopped = forEachMessage(buffer, read, start, end);
  // What follows is no message: decoding it says why.
  if (stopped < end || start === end) read(stopped, end - stopped);
};

export function decoded<M>(bytes: Uint8Array, decode: (bytes: Uint8Array) => M): KernelEvent<M> {
  try {
    return { type: 'message', message: decode(bytes), bytes };
  } catch (error) {
    if (error instanceof DecodeError) return { type: 'malformed', error, bytes };
    throw error;
  }
}
