import { endianness } from 'node:os';
import { type KernelSocket, linuxKernel } from 'xfrmsync';
import { interleave, SLICE_MS, type Slice } from '../measure.ts';
import { numberOf, PeerProcess } from '../peer-process.ts';
import { type Aim, compared, type Result, skipped } from '../report.ts';
import { compilePeer } from '../toolchain.ts';
import { espAddition, getAe, larvalAllocation, newAe } from './request-bytes.ts';
import type { Row } from './row.ts';

const unit = 'acks/s';
const peer = 'C sendmsg + recvmmsg loop (cc -O2)';
const target = 0.7;
const GETAE: Aim = { name: 'requests/getae', what: 'pipelined GETAE, reply and ack each', unit, peer, target };
const NEWAE: Aim = { name: 'requests/newae', what: 'pipelined NEWAE, ack each', unit, peer, target };

const NLMSG_ERROR = 2;
const LITTLE = endianness() === 'LE';
const BATCH = 64;
const RECEIVE_BUFFER_BYTES = 4 << 20;

/** What the kernel has said since the last look. */
class Replies {
  acks = 0;
  failed = 0;
  messages = 0;
  lastErrno = 0;

  constructor(socket: KernelSocket) {
    socket.receive(({ view, count, offsets }) => {
      for (let i = 0; i < count; i++) {
        const at = offsets[i] as number;
        if (view.getUint16(at + 4, LITTLE) === NLMSG_ERROR) {
          const error = view.getInt32(at + 16, LITTLE);
          if (error !== 0) {
            this.failed++;
            this.lastErrno = -error;
          }
          this.acks++;
        } else {
          this.messages++;
        }
      }
    });
  }
}

/** The same request many times in one datagram. */
class Pipeline {
  readonly #socket: KernelSocket;
  readonly #replies: Replies;
  #sequence = 0;

  constructor(socket: KernelSocket) {
    this.#socket = socket;
    this.#replies = new Replies(socket);
  }

  /** One request; the errno of its ack. */
  ask(request: Uint8Array): number {
    this.#replies.failed = 0;
    this.#send(request, 1);
    return this.#replies.failed === 0 ? 0 : this.#replies.lastErrno;
  }

  slice(request: Uint8Array): Slice {
    const datagram = new Uint8Array(BATCH * request.length);
    const view = new DataView(datagram.buffer);
    for (let i = 0; i < BATCH; i++) datagram.set(request, i * request.length);
    this.#replies.failed = 0;
    const start = process.hrtime.bigint();
    const limit = start + BigInt(SLICE_MS) * 1_000_000n;
    let end = start;
    let messages = 0;
    while (end < limit) {
      for (let i = 0; i < BATCH; i++) view.setUint32(i * request.length + 8, ++this.#sequence, LITTLE);
      this.#send(datagram, BATCH);
      messages += BATCH;
      end = process.hrtime.bigint();
    }
    if (this.#replies.failed > 0) throw new Error(`requests: the kernel answered errno ${this.#replies.lastErrno}`);
    return { messages, ns: Number(end - start) };
  }

  /** The kernel carries requests out before send returns, so the acks are waiting. */
  #send(datagram: Uint8Array, acks: number): void {
    const before = this.#replies.acks;
    this.#socket.send(datagram);
    this.#socket.drain();
    const got = this.#replies.acks - before;
    if (got !== acks) throw new Error(`requests: ${acks} acks awaited, ${got} came`);
  }
}

async function compare(
  aim: Aim,
  pipeline: Pipeline,
  theirs: PeerProcess,
  prepare: () => Uint8Array,
  used: string,
  log: (text: string) => void,
): Promise<Result> {
  const theirSlice = async (): Promise<Slice> => {
    const hex = Buffer.from(prepare()).toString('hex');
    const answer = await theirs.ask(`run ${SLICE_MS} ${BATCH} ${hex}`);
    if (numberOf(answer, 'failed') > 0) throw new Error('requests: the kernel refused a request of the peer');
    return { messages: numberOf(answer, 'messages'), ns: numberOf(answer, 'ns') };
  };
  const sides = [
    { name: 'xfrmsync', run: () => pipeline.slice(prepare()) },
    { name: peer, run: theirSlice },
  ];
  const [ours = [], others = []] = await interleave(sides, (text) => log(`${aim.name}: ${text}`));
  return compared(aim, ours, others, `${used}, ${BATCH} requests a sendmsg, all acknowledged without error`);
}

const SPI_FIRST = 0x1000;
const EXISTING_SPI = 0x0f00;

export const requests: Row = {
  name: 'requests',
  aims: [GETAE, NEWAE],
  needsNamespace: true,
  async run(log) {
    const program = compilePeer('requests');
    if ('missing' in program) return [GETAE, NEWAE].map((aim) => skipped(aim, program.missing));
    await using theirs = new PeerProcess('requests', program);
    await using socket = await linuxKernel().open({ receiveBufferBytes: RECEIVE_BUFFER_BYTES });
    const pipeline = new Pipeline(socket);
    let spi = SPI_FIRST;
    // A larval SA lives 30 s (xfrm_acq_expires): each slice gets its own.
    const freshLarval = (): Uint8Array => {
      const errno = pipeline.ask(larvalAllocation(++spi));
      if (errno !== 0) throw new Error(`requests: ALLOCSPI answered errno ${errno}`);
      return getAe(spi);
    };
    const results = [await compare(GETAE, pipeline, theirs, freshLarval, 'larval SA made by ALLOCSPI', log)];
    const errno = pipeline.ask(espAddition(EXISTING_SPI));
    if (errno !== 0) {
      results.push(skipped(NEWAE, `this kernel takes no ESP SA (NEWSA: errno ${errno}), and NEWAE needs one`));
    } else {
      const request = newAe(EXISTING_SPI);
      results.push(await compare(NEWAE, pipeline, theirs, () => request, 'ESP SA with null cipher', log));
    }
    return results;
  },
};
