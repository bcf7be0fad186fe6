import { type Request, type Result, type SaId, XfrmClient } from '../client/index.ts';
import type { Batch, Kernel, KernelSocket } from '../kernel/index.ts';
import { DecodeError, forEachMessage, hostLittleEndian } from '../netlink/index.ts';
import type { Reading, Replica, Thresholds } from '../replica/index.ts';
import { AeFlag, AeventCursor, decodeMessage, XfrmGroup, XfrmMsg } from '../xfrm/index.ts';
import { type KernelEvents, type KernelInterface, thresholdsOf } from './kernel-interface.ts';

const GROUPS = [XfrmGroup.SA, XfrmGroup.EXPIRE, XfrmGroup.POLICY, XfrmGroup.AEVENTS, XfrmGroup.MIGRATE];

/** In a NEWAE: the port of who has asked for it, and `xfrm_aevent_id.flags`. */
const NLMSG_PID_AT = 12;
const AEVENT_FLAGS_AT = 16 + 40;

/** XFRM netlink: a socket for requests, and one that hears of everything. */
export class NetlinkInterface implements KernelInterface {
  readonly name = 'netlink';
  readonly #client: XfrmClient;
  readonly #socket: KernelSocket;
  readonly #events: KernelEvents;
  readonly #cursor = new AeventCursor();

  private constructor(client: XfrmClient, socket: KernelSocket, events: KernelEvents) {
    this.#client = client;
    this.#socket = socket;
    this.#events = events;
    socket.onOverrun(() => events.happened((replica) => replica.onOverrun()));
    socket.onError(events.failed);
  }

  static async open(kernel: Kernel, receiveBufferBytes: number, events: KernelEvents): Promise<NetlinkInterface> {
    const client = await XfrmClient.open(kernel);
    try {
      return new NetlinkInterface(client, await kernel.open({ groups: GROUPS, receiveBufferBytes }), events);
    } catch (error) {
      client.close();
      throw error;
    }
  }

  receive(): void {
    this.#socket.receive((batch) => this.#events.happened((replica, nowMs) => this.#tell(batch, replica, nowMs)));
  }

  drain(): void {
    this.#socket.drain();
  }

  batch(requests: readonly Request[]): Promise<Result[]> {
    return this.#client.batch(requests);
  }

  async read(policies: boolean): Promise<Reading> {
    const sas = await this.#client.dumpSas();
    return { sas, policies: policies ? await this.#client.dumpPolicies() : [] };
  }

  async readThresholds(id: SaId): Promise<Thresholds | undefined> {
    const aevent = await this.#client.getAevent(id, { thresholds: true });
    return aevent && thresholdsOf(aevent);
  }

  close(): void {
    this.#socket.close();
    this.#client.close();
  }

  #tell(batch: Batch, replica: Replica, nowMs: number): void {
    for (let i = 0; i < batch.count; i++) {
      const start = batch.offsets[i] as number;
      forEachMessage(
        batch.buffer,
        (at, length) => this.#onMessage(batch, at, length, replica, nowMs),
        start,
        start + (batch.lengths[i] as number),
      );
    }
  }

  #onMessage({ buffer, view }: Batch, at: number, length: number, replica: Replica, nowMs: number): void {
    if (view.getUint16(at + 4, hostLittleEndian) === XfrmMsg.NEWAE) {
      if (!this.#isOwn(view, at, length)) replica.onAevents(this.#cursor.reset(buffer, at, at + length), nowMs);
      return;
    }
    try {
      // A copy: what the replica keeps must not point into the receive buffer.
      const message = decodeMessage(buffer.slice(at, at + length));
      // This node's own ceilings: it knows.
      if (message.kind === 'UPDSA' && message.pid === this.#client.portId) return;
      replica.onKernelMessage(message, nowMs);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.#events.trouble(`the kernel sent a message that cannot be read: ${error.message}`);
    }
  }

  /** Says what this node has set itself. The kernel leaves the port of other events as it finds it. */
  #isOwn(view: DataView, at: number, length: number): boolean {
    return (
      length >= AEVENT_FLAGS_AT + 4 &&
      view.getUint32(at + AEVENT_FLAGS_AT, hostLittleEndian) === AeFlag.CU &&
      view.getUint32(at + NLMSG_PID_AT, hostLittleEndian) === this.#client.portId
    );
  }
}
