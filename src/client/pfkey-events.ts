import type { Kernel } from '../kernel/index.ts';
import { type AnyPfkeyMessage, decodePfkey, encodePfkey } from '../pfkey/index.ts';
import { kernelRefused } from './errors.ts';
import { decoded, EventStream, type KernelEvent, QUEUE_MAX } from './events.ts';
import { openPfkeySocket } from './pfkey.ts';

export interface PfkeyEventOptions {
  /**
   * Types of SA to register for (`SaType`). Any of them makes the kernel send EXPIRE, ACQUIRE and X_NAT_T_NEW_MAPPING too, of all types;
   * and it then takes this process for a key manager: what needs an SA waits for one instead of failing. None: only what every socket
   * hears, which is changes of SAs and policies.
   */
  readonly register?: Iterable<number>;
  readonly receiveBufferBytes?: number;
  /** As of `openEvents`. */
  readonly queueMax?: number;
}

/** Any number: answers are told from announcements by it, and the socket sends nothing else. */
const REGISTER_SEQ = 0x7866_726d;

/**
 * What the kernel announces over PF_KEY, decoded, as an async iterable. Linux does not tell of events that were lost for want of room in
 * the receive buffer; `overrun` then stands for a reader that is too slow alone.
 *
 * @throws ClientError ERR_KERNEL if the kernel refuses to register, and KernelError as `openPfkey`
 */
export async function openPfkeyEvents(
  kernel: Kernel,
  options: PfkeyEventOptions = {},
): Promise<EventStream<AnyPfkeyMessage>> {
  const { receiveBufferBytes } = options;
  const socket = await openPfkeySocket(kernel, receiveBufferBytes === undefined ? {} : { receiveBufferBytes });
  let refused = 0;
  const read = (
    buffer: Uint8Array,
    start: number,
    end: number,
    push: (event: KernelEvent<AnyPfkeyMessage>) => void,
  ) => {
    const event = decoded(buffer.slice(start, end), decodePfkey);
    if (event.type === 'message' && isOwnAnswer(event.message)) refused ||= event.message.errno;
    else push(event);
  };
  const stream = new EventStream(socket, options.queueMax ?? QUEUE_MAX, read);
  try {
    for (const satype of options.register ?? []) {
      const header = { errno: 0, satype, seq: REGISTER_SEQ, pid: process.pid };
      socket.send(encodePfkey({ kind: 'REGISTER', ...header, extensions: {} }));
      // The kernel has answered when the send returns.
      socket.drain();
      if (refused !== 0) throw kernelRefused('REGISTER', refused);
    }
  } catch (error) {
    stream.close();
    throw error;
  }
  return stream;
}

const isOwnAnswer = ({ kind, seq, pid }: AnyPfkeyMessage): boolean =>
  kind === 'REGISTER' && seq === REGISTER_SEQ && pid === process.pid;
