import {
  ClientError,
  openReplayEvents,
  ReplayClient,
  ReplayCursor,
  type Request,
  type Result,
  type SaId,
  saIdOf,
  saIdOfPfkey,
  XfrmClient,
} from '../client/index.ts';
import type { Batch, Kernel, KernelSocket, PfkeySocket } from '../kernel/index.ts';
import { DecodeError, forEachMessage } from '../netlink/index.ts';
import { type AnyPfkeyMessage, decodePfkey, PfkeyMsg } from '../pfkey/index.ts';
import type { Reading, Replica, Thresholds } from '../replica/index.ts';
import { decodeMessage, XfrmGroup } from '../xfrm/index.ts';
import { type KernelEvents, type KernelInterface, thresholdsOf } from './kernel-interface.ts';
import { PfkeyReplay, wishedOf } from './pfkey-replay.ts';

/** What PF_KEY cannot say: policies with interface ids and marks, and migrations. No AEVENTS, no SAs. */
const NETLINK_GROUPS = [XfrmGroup.POLICY, XfrmGroup.MIGRATE];

/**
 * Requests by netlink have numbers from here on: PF_KEY tells of what they have done with their number and the socket's port, which may be the
 * process id of PF_KEY programs of this process. After 2^31 requests they begin at 1, and are not known as own any more: then the SAs are read.
 */
const OWN_SEQ_FIRST = 0x8000_0000;

/** Byte offset in sadb_msg. */
const TYPE_AT = 1;

/**
 * PF_KEY with the replay-notification extension (docs/pfkey.md): counters, thresholds and replay state, and word of SAs that come, change, go
 * and expire. What PF_KEY cannot express goes by netlink to the same kernel: SAs themselves, dumps, limits, policies. Never NEWAE or GETAE.
 *
 * SAs with a mark, which PF_KEY cannot name, are left alone.
 */
export class PfkeyInterface implements KernelInterface {
  readonly name = 'pfkey';
  readonly #netlink: XfrmClient;
  readonly #requests: ReplayClient;
  readonly #socket: PfkeySocket;
  readonly #policies: KernelSocket;
  readonly #events: KernelEvents;
  readonly #replay: PfkeyReplay;
  readonly #cursor = new ReplayCursor();
  #marked = 0;

  private constructor(open: Opened, events: KernelEvents) {
    this.#netlink = open.netlink;
    this.#requests = open.requests;
    this.#socket = open.socket;
    this.#policies = open.policies;
    this.#events = events;
    this.#replay = new PfkeyReplay(open.requests, (id) =>
      events.happened((replica, nowMs) => replica.onTimerStarted(id, nowMs)),
    );
    for (const socket of [open.socket, open.policies]) {
      socket.onOverrun(() => {
        this.#replay.forgetAll();
        events.happened((replica) => replica.onOverrun());
      });
      socket.onError(events.failed);
    }
  }

  static async open(kernel: Kernel, receiveBufferBytes: number, events: KernelEvents): Promise<PfkeyInterface> {
    const opened: { close(): void }[] = [];
    const open = async <T extends { close(): void }>(opening: Promise<T>): Promise<T> => {
      const one = await opening;
      opened.push(one);
      return one;
    };
    try {
      const requests = await open(ReplayClient.open(kernel));
      const socket = await open(openReplayEvents(kernel, receiveBufferBytes));
      const netlink = await open(XfrmClient.open(kernel, { firstSeq: OWN_SEQ_FIRST }));
      const policies = await open(kernel.open({ groups: NETLINK_GROUPS, receiveBufferBytes }));
      return new PfkeyInterface({ netlink, requests, socket, policies }, events);
    } catch (error) {
      for (const one of opened) one.close();
      throw error;
    }
  }

  receive(): void {
    const { happened } = this.#events;
    this.#socket.receive((batch) => happened((replica, nowMs) => this.#tellOfSas(batch, replica, nowMs)));
    this.#policies.receive((batch) => happened((replica, nowMs) => this.#tellOfPolicies(batch, replica, nowMs)));
  }

  drain(): void {
    this.#socket.drain();
    this.#policies.drain();
  }

  /** In order: neighbours of one kind go together. */
  async batch(requests: readonly Request[]): Promise<Result[]> {
    const results: Result[] = [];
    for (let i = 0; i < requests.length; ) {
      const way = wayOf(requests[i] as Request);
      let end = i + 1;
      while (end < requests.length && wayOf(requests[end] as Request) === way) end++;
      results.push(...(await this.#run(way, requests.slice(i, end))));
      i = end;
    }
    return results;
  }

  async #run(way: Way, requests: readonly Request[]): Promise<Result[]> {
    switch (way) {
      case 'set':
        return this.#replay.set(requests as Request<'NEWAE'>[]);
      case 'get':
        return this.#replay.get((requests as Request<'GETAE'>[]).map(wishedOf));
      case 'refused':
        return requests.map(({ kind }) => ({
          error: new ClientError(
            'ERR_REQUEST',
            kind,
            'not sent: PF_KEY cannot name an SA that has a mark: use kernel.via = "netlink"',
          ),
        }));
      case 'netlink':
        return this.#overNetlink(requests);
    }
  }

  async #overNetlink(requests: readonly Request[]): Promise<Result[]> {
    const results = await this.#netlink.batch(requests);
    // Before it is used: of a new SA nothing would be heard.
    const made = requests.flatMap((request, i) =>
      request.kind === 'NEWSA' && results[i]?.error === undefined ? [saIdOf(request)] : [],
    );
    for (const id of made) this.#replay.forget(id);
    if (made.length > 0) await this.#replay.hear(made);
    return results;
  }

  async read(policies: boolean): Promise<Reading> {
    const all = await this.#netlink.dumpSas();
    const sas = all.filter(({ attributes }) => attributes.mark === undefined);
    const marked = all.length - sas.length;
    if (marked !== this.#marked && marked > 0)
      this.#events.trouble(
        `${marked} SAs with a mark are left alone: PF_KEY cannot name them, kernel.via = "netlink" can`,
      );
    this.#marked = marked;
    return { sas, policies: policies ? await this.#netlink.dumpPolicies() : [] };
  }

  async readThresholds(id: SaId): Promise<Thresholds | undefined> {
    const [result] = await this.#replay.get([id]);
    if (result?.error?.errno === ESRCH) return undefined;
    if (result?.error !== undefined) throw result.error;
    const { reply } = result ?? {};
    return reply?.kind === 'NEWAE' ? thresholdsOf(reply) : undefined;
  }

  close(): void {
    for (const one of [this.#socket, this.#policies, this.#requests, this.#netlink]) one.close();
  }

  #tellOfSas(batch: Batch, replica: Replica, nowMs: number): void {
    const { view, count, offsets, lengths } = batch;
    for (let i = 0; i < count; i++) {
      const start = offsets[i] as number;
      const end = start + (lengths[i] as number);
      if (view.getUint8(start + TYPE_AT) !== PfkeyMsg.X_REPLAY_NOTIFY) {
        this.#onMessage(batch.buffer.subarray(start, end), replica);
        continue;
      }
      const cursor = this.#cursor.reset(batch, start, end);
      const { requestSeq, requestPid } = cursor;
      // What this node has set itself it knows.
      if (!this.#requests.isOwn(requestSeq, requestPid)) replica.onAevents(cursor, nowMs);
    }
  }

  #onMessage(bytes: Uint8Array, replica: Replica): void {
    if (!named.has(bytes[TYPE_AT] as number)) return;
    try {
      this.#onNamed(decodePfkey(bytes), replica);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.#events.trouble(`the kernel sent a PF_KEY message that cannot be read: ${error.message}`);
    }
  }

  #onNamed(message: AnyPfkeyMessage, replica: Replica): void {
    if (message.errno !== 0) return;
    const id = saIdOfPfkey(message);
    if (message.kind === 'FLUSH') {
      this.#replay.forgetAll();
      replica.onFlushed();
    } else if (id !== undefined) {
      // SAs that this node makes are heard of already, and its own ceilings it knows.
      const isOwn = message.pid === this.#netlink.portId && message.seq >= OWN_SEQ_FIRST;
      const isSoft = message.kind === 'EXPIRE' && message.extensions.lifetimeHard === undefined;
      const isGone = message.kind === 'DELETE' || (message.kind === 'EXPIRE' && !isSoft);
      if (isGone || (message.kind === 'ADD' && !isOwn)) this.#replay.forget(id);
      if (message.kind === 'UPDATE' && isOwn) return;
      replica.onSaNamed(isGone ? 'gone' : isSoft ? 'softExpired' : 'changed', id);
    }
  }

  #tellOfPolicies(batch: Batch, replica: Replica, nowMs: number): void {
    for (let i = 0; i < batch.count; i++) {
      const start = batch.offsets[i] as number;
      const tell = (at: number, length: number): void => {
        try {
          replica.onKernelMessage(decodeMessage(batch.buffer.slice(at, at + length)), nowMs);
        } catch (error) {
          if (!(error instanceof DecodeError)) throw error;
          this.#events.trouble(`the kernel sent a message that cannot be read: ${error.message}`);
        }
      };
      forEachMessage(batch.buffer, tell, start, start + (batch.lengths[i] as number));
    }
  }
}

interface Opened {
  readonly netlink: XfrmClient;
  readonly requests: ReplayClient;
  readonly socket: PfkeySocket;
  readonly policies: KernelSocket;
}

const ESRCH = 3;

/** Messages that name SAs. */
const named: ReadonlySet<number> = new Set([
  PfkeyMsg.ADD,
  PfkeyMsg.UPDATE,
  PfkeyMsg.DELETE,
  PfkeyMsg.EXPIRE,
  PfkeyMsg.FLUSH,
]);

type Way = 'set' | 'get' | 'netlink' | 'refused';

function wayOf(request: Request): Way {
  switch (request.kind) {
    case 'NEWAE':
      return 'set';
    case 'GETAE':
      return 'get';
    case 'NEWSA':
    case 'UPDSA':
    case 'DELSA':
    case 'GETSA':
      return request.attributes.mark === undefined ? 'netlink' : 'refused';
    default:
      return 'netlink';
  }
}
