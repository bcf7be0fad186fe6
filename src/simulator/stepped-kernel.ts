import { ClientError, type Policy, type Request, type Result, type Sa, type SaId, saIdOf } from '../client/index.ts';
import {
  type Clock,
  EmulatedKernel,
  type EmulatedSocket,
  findInbound,
  NO_SLOT,
  newInboundFacts,
  outputSa,
  readSa,
  Verdict,
  watchSas,
} from '../kernel/emulated/index.ts';
import type { Batch } from '../kernel/index.ts';
import { forEachMessage, hostLittleEndian, NlmF, NlmsgType } from '../netlink/index.ts';
import { policyKey, saKey } from '../replica/index.ts';
import { AeFlag, type AnyXfrmMessage, decodeMessage, encodeMessage, XfrmGroup } from '../xfrm/index.ts';
import { keyNumber, policy } from './sas.ts';

/**
 * An emulated machine that is asked and listened to step by step: every request goes through bytes, and nothing waits for a turn of the
 * event loop.
 */

const TWO_32 = 1n << 32n;
const NLMSG_HDRLEN = 16;
const GROUPS = [XfrmGroup.SA, XfrmGroup.EXPIRE, XfrmGroup.POLICY, XfrmGroup.AEVENTS, XfrmGroup.MIGRATE];
const RECEIVE_BUFFER_BYTES = 1 << 20;
/** More events than the smallest receive buffer holds. */
const EVENTS_TO_OVERRUN = 4;
const RELEASE = '6.12.117';

export interface SteppedKernelOptions {
  readonly release?: string;
  readonly hz?: number;
  /** How a socket with a receiver hands over what has come. */
  readonly later?: (run: () => void) => void;
}

function encoded(request: Request, flags: number, seq: number): Uint8Array {
  return encodeMessage({
    ...request,
    flags: (request.flags ?? 0) | NlmF.REQUEST | flags,
    seq,
    pid: 0,
  } as AnyXfrmMessage);
}

/** An SA as the kernel has it, with its numbers whole. */
export interface SaNow {
  readonly sa: Sa;
  readonly oseq: bigint;
  readonly seq: bigint;
  readonly bytes: bigint;
  readonly packets: bigint;
  readonly addTime: bigint;
}

export class SteppedKernel {
  /** What `execute` was asked. */
  readonly requests: Request[] = [];
  /** Makes a request fail with this errno; called before the kernel sees it. */
  fault: (request: Request) => number | undefined = () => undefined;
  readonly #kernel: EmulatedKernel;
  /** Which key each SA has, by slot: to decode an SA for each packet would take longer than all the rest. */
  readonly #keys = new Map<number, number>();
  readonly #socket: EmulatedSocket;
  #events: EmulatedSocket | undefined;
  #seq = 0;
  #ports = 0;

  constructor(clock: Clock, { release = RELEASE, hz = 250, later = () => {} }: SteppedKernelOptions = {}) {
    // Nothing here is left to chance: SPIs are given, and port ids count up.
    this.#kernel = new EmulatedKernel({ clock, release, hz, later, random: () => ++this.#ports, processId: 1 });
    watchSas(this.#kernel.engine, (slot) => this.#keys.delete(slot));
    this.#socket = this.#kernel.openNow();
  }

  // --- the daemon's half ---------------------------------------------------------------------------------------------------

  /** A daemon starts to listen: what was said before is not for it. */
  listen(): EmulatedSocket {
    this.deafen();
    this.#events = this.#kernel.openNow({ groups: GROUPS, receiveBufferBytes: RECEIVE_BUFFER_BYTES });
    return this.#events;
  }

  /** The receive buffer of a daemon that listens has its size again. */
  makeRoom(): void {
    this.#events?.setReceiveBuffer(RECEIVE_BUFFER_BYTES);
  }

  /** Nobody listens any more. */
  deafen(): void {
    this.#events?.close();
    this.#events = undefined;
  }

  /** The kernel has no memory for the next event, and says nothing. */
  loseNext(): void {
    this.#events?.loseNext();
  }

  /** What waits for the daemon; valid until the next call. */
  read(): { readonly overrun: boolean; readonly batch: Batch } | undefined {
    this.makeRoom();
    return this.#events?.read();
  }

  execute(request: Request): Result {
    this.requests.push(request);
    const errno = this.fault(request);
    return errno === undefined ? this.#ask(request) : failed(request, errno);
  }

  dump(): { sas: Sa[]; policies: Policy[] } {
    const all = (request: Request): AnyXfrmMessage[] => {
      this.#socket.send(encoded(request, NlmF.DUMP, ++this.#seq));
      return this.#answers().messages;
    };
    const sas = all({ kind: 'GETSA', body: null, attributes: {} });
    const policies = all({ kind: 'GETPOLICY', body: null, attributes: {} });
    return {
      sas: sas.flatMap((m) => (m.kind === 'NEWSA' ? [{ body: m.body, attributes: m.attributes }] : [])),
      policies: policies.flatMap((m) => (m.kind === 'NEWPOLICY' ? [{ body: m.body, attributes: m.attributes }] : [])),
    };
  }

  thresholds(id: SaId): { packets: number; timerMs: number } | undefined {
    const asked = (flags: number) => {
      const { mark, ...saId } = id;
      const zero = { w0: 0, w1: 0, w2: 0, w3: 0 };
      const body = { saId, saddr: zero, flags, reqid: 0 };
      const { reply } = this.#ask({ kind: 'GETAE', body, attributes: mark === undefined ? {} : { mark } });
      return reply?.kind === 'NEWAE' ? reply.attributes : {};
    };
    const { replayThresh } = asked(AeFlag.RTHR);
    const { etimerThresh } = asked(AeFlag.ETHR);
    if (replayThresh === undefined || etimerThresh === undefined) return undefined;
    return { packets: replayThresh, timerMs: etimerThresh * 100 };
  }

  // --- what a key manager or the traffic does ----------------------------------------------------------------------------

  add(sa: Sa): void {
    this.must({ kind: 'NEWSA', ...sa });
  }

  delete(id: SaId): void {
    const { mark, ...body } = id;
    this.#ask({ kind: 'DELSA', body, attributes: mark === undefined ? {} : { mark } });
  }

  /** A request that has to succeed. */
  must(request: Request): void {
    const { error } = this.#ask(request);
    if (error !== undefined) throw error;
  }

  get(id: SaId): SaNow | undefined {
    const { mark, ...body } = id;
    const { reply } = this.#ask({ kind: 'GETSA', body, attributes: mark === undefined ? {} : { mark } });
    return reply?.kind === 'NEWSA' ? saNow(reply) : undefined;
  }

  get sas(): Map<string, Sa> {
    return new Map(this.dump().sas.map((sa) => [saKey(saIdOf(sa)), sa]));
  }

  get policies(): Map<string, Policy> {
    return new Map(this.dump().policies.map((policy) => [policyKey(policy), policy]));
  }

  /** A packet goes out on an SA; its number, or undefined if the SA drops it. */
  transmit(id: SaId, bytes = 100n): bigint | undefined {
    const { engine } = this.#kernel;
    const slot = findInbound(engine, this.#facts(id));
    if (slot === NO_SLOT) return undefined;
    const { sent, seq, seqHi } = outputSa(engine, slot, Number(bytes));
    return sent ? BigInt(seqHi) * TWO_32 + BigInt(seq) : undefined;
  }

  /** A packet that was sent with number `n` comes in; true if it is accepted. */
  accept(id: SaId, n: bigint, bytes = 100n): boolean {
    const facts = this.#facts(id);
    facts.seq = Number(n % TWO_32);
    facts.seqHi = Number(n / TWO_32);
    facts.bytes = Number(bytes);
    return this.#kernel.input(facts) === Verdict.ACCEPT;
  }

  /** The number in the key of an SA (`sas.ts`); undefined if there is none of that identity. */
  keyOf(id: SaId): number | undefined {
    const slot = findInbound(this.#kernel.engine, this.#facts(id));
    if (slot === NO_SLOT) return undefined;
    const known = this.#keys.get(slot);
    if (known !== undefined) return known;
    const key = keyNumber(readSa(this.#kernel.engine, slot));
    this.#keys.set(slot, key);
    return key;
  }

  expire(id: SaId): void {
    const found = this.get(id);
    if (found === undefined) return;
    this.must({ kind: 'EXPIRE', body: { state: found.sa.body, hard: 1 }, attributes: {} });
  }

  /** The receive buffer is as small as it can be, and too much is said: what comes now is lost, until the daemon reads. */
  overrun(): void {
    const events = this.#events;
    if (events === undefined) return;
    events.setReceiveBuffer(0);
    const { drops } = events;
    // A policy without a template is of no concern to a replica.
    const { body } = policy('10.254.0.0');
    for (let i = 0; i < EVENTS_TO_OVERRUN; i++) this.must({ kind: 'UPDPOLICY', body, attributes: {} });
    this.must({ kind: 'DELPOLICY', body: { sel: body.sel, index: 0, dir: body.dir }, attributes: {} });
    if (events.drops === drops) throw new Error('nothing was lost');
  }

  #facts({ daddr, spi, proto, family, mark }: SaId) {
    return Object.assign(newInboundFacts(), { daddr, spi, proto, family, mark: mark?.value ?? 0 });
  }

  #ask(request: Request): Result {
    this.#socket.send(encoded(request, NlmF.ACK, ++this.#seq));
    const { messages, errno } = this.#answers();
    if (errno !== 0) return failed(request, errno);
    const [reply] = messages;
    return reply === undefined ? {} : { reply };
  }

  #answers(): { messages: AnyXfrmMessage[]; errno: number } {
    const { batch } = this.#socket.read();
    const { buffer, view } = batch;
    const messages: AnyXfrmMessage[] = [];
    let errno = 0;
    for (let i = 0; i < batch.count; i++) {
      const from = batch.offsets[i] as number;
      const each = (at: number, length: number): void => {
        const type = view.getUint16(at + 4, hostLittleEndian);
        if (type === NlmsgType.ERROR) errno = -view.getInt32(at + NLMSG_HDRLEN, hostLittleEndian);
        else if (type !== NlmsgType.DONE) messages.push(decodeMessage(buffer.slice(at, at + length)));
      };
      forEachMessage(buffer, each, from, from + (batch.lengths[i] as number));
    }
    return { messages, errno };
  }
}

const failed = (request: Request, errno: number): Result => ({
  error: new ClientError('ERR_KERNEL', request.kind, `errno ${errno}`, { errno }),
});

function saNow({ body, attributes }: Sa): SaNow {
  const { replayEsnVal: esn, replayVal: plain } = attributes;
  const whole = (high = 0, low = 0): bigint => BigInt(high) * TWO_32 + BigInt(low);
  const { bytes, packets, addTime } = body.curlft;
  return {
    sa: { body, attributes },
    oseq: esn ? whole(esn.oseqHi, esn.oseq) : whole(0, plain?.oseq),
    seq: esn ? whole(esn.seqHi, esn.seq) : whole(0, plain?.seq),
    bytes,
    packets,
    addTime,
  };
}
