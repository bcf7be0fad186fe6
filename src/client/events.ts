import type { Batch, Kernel, KernelSocket } from '../kernel/index.ts';
import { DecodeError, forEachMessage } from '../netlink/index.ts';
import { type AnyXfrmMessage, decodeMessage } from '../xfrm/index.ts';

/** What a stream of events yields. After `overrun` events were lost: read the state anew (dump), then go on. */
export type KernelEvent =
  | { readonly type: 'message'; readonly message: AnyXfrmMessage; readonly bytes: Uint8Array }
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

const QUEUE_MAX = 65_536;

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
  return new EventStream(socket, queueMax ?? QUEUE_MAX);
}

export class EventStream implements AsyncDisposable {
  readonly #socket: KernelSocket;
  readonly #queueMax: number;
  #queue: KernelEvent[] = [];
  #failure: Error | undefined;
  #closed = false;
  /** Readers that wait. One is usual; several share the events among them. */
  #waiting: (() => void)[] = [];

  constructor(socket: KernelSocket, queueMax: number) {
    this.#socket = socket;
    this.#queueMax = queueMax;
    socket.onOverrun(() => this.#push({ type: 'overrun' }));
    socket.onError((error) => {
      this.#failure = error;
      this.#wake();
    });
    socket.receive((batch) => this.#onBatch(batch));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<KernelEvent> {
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
      const read = (at: number, length: number): void => this.#push(decoded(buffer.slice(at, at + length)));
      const stopped = forEachMessage(buffer, read, start, end);
      // What follows is no message: decoding it says why.
      if (stopped < end || start === end) read(stopped, end - stopped);
    }
  }

  #push(event: KernelEvent): void {
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

function decoded(bytes: Uint8Array): KernelEvent {
  try {
    return { type: 'message', message: decodeMessage(bytes), bytes };
  } catch (error) {
    if (error instanceof DecodeError) return { type: 'malformed', error, bytes };
    throw error;
  }
}
