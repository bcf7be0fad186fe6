import { type Policy, type Result, type Sa, type SaId, saIdOf, usersaId } from '../client/index.ts';
import { AeFlag, type AeventCursor, type AnyXfrmMessage, type XfrmMessage } from '../xfrm/index.ts';
import type { Durable, Effect, Purpose, Reading, ReadPurpose, TakeoverReport, Write } from './effects.ts';
import type { CountersEntry, Frame, FrameBody, Hello, Role } from './frames.ts';
import {
  deletePolicy,
  deleteSa,
  newSa,
  policyKey,
  putPolicy,
  sameLimits,
  sameSa,
  setCounters,
  updateSa,
} from './install.ts';
import { type PlanSettings, type Position, parked, switchoverPosition, takeoverPosition } from './plan.ts';
import { noteRate } from './rate.ts';
import {
  type Counters,
  countersOf,
  directionOf,
  KERNEL_THRESHOLDS,
  type SaRecord,
  SaTable,
  type Thresholds,
} from './sa.ts';
import { type Selection, selectsPolicy, selectsSa } from './select.ts';

export interface ReplicaSettings {
  readonly cluster: string;
  readonly node: string;
  readonly version: string;
  readonly littleEndian: boolean;
  readonly selection: Selection;
  readonly plan: PlanSettings;
  /** `immediate`: the standby keeps SAs in its kernel, unable to send. `takeover`: it holds them back until it takes over. */
  readonly install: 'immediate' | 'takeover';
  /** How long the kernel must be quiet before a planned switchover reads the final counters, and how long that is waited for. */
  readonly drainMs: number;
  readonly drainMaxMs: number;
}

type Phase = 'starting' | 'steady' | 'takingOver' | 'awaitingHandover' | 'handingOver';

interface Takeover {
  readonly kind: 'takeover' | 'switchover';
  readonly startedMs: number;
  readonly positions: Map<number, Position>;
  unseenMs: number;
  failed: number;
  retried: boolean;
}

/** Counter updates in one frame: a few dozen kilobytes, so that a frame never holds up what is more urgent. */
const ENTRIES_MAX = 1024;
const EEXIST = 17;
const ESRCH = 3;
const ENOENT = 2;

/**
 * The replica of one node: SAs, policies and counters, role and term, and what to do about everything that happens. No I/O and no
 * clock: inputs are methods, `nowMs` is any clock that only goes forward, and what is to be done is collected by `take`.
 */
export class Replica {
  readonly settings: ReplicaSettings;
  readonly sas = new SaTable();
  readonly policies = new Map<string, Policy>();
  role: Role = 'standby';
  term = 0;
  phase: Phase = 'starting';
  /** Standby: a whole account of the active has been received (S5). */
  complete = false;
  /** The other node, as it said hello on the link that is up. */
  peer: (Hello & { readonly term: number }) | undefined;
  /** Standby: all that the active knew at this time, by this node's clock, has arrived. */
  provenMs: number | undefined;
  readonly counts = {
    aevents: 0,
    updatesSent: 0,
    updatesReceived: 0,
    overruns: 0,
    resyncs: 0,
    staleFrames: 0,
    writesFailed: 0,
  };

  #effects: Effect[] = [];
  #dirty: SaRecord[] = [];
  #nextHandle = 1;
  #streaming = false;
  #takeover: Takeover | undefined;
  #drain: { untilMs: number; before: Map<number, Counters> | undefined } | undefined;
  /** The operator of this node wants it demoted. */
  #demoteAsked = false;
  /** The promotion under way was offered by the active, not asked for here. */
  #offered = false;

  constructor(settings: ReplicaSettings) {
    this.settings = settings;
  }

  /** What is to be done, in order. */
  take(): Effect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  /** Something waits to be sent or to be written to the kernel. */
  get hasDirty(): boolean {
    return this.#dirty.length > 0;
  }

  // --- life ---------------------------------------------------------------------------------------------------------

  start({ term, role }: Durable): void {
    this.term = term;
    this.role = role;
    this.#emit({ type: 'read', purpose: 'start' });
  }

  onConnected(): void {
    this.#sendHello();
  }

  onDisconnected(): void {
    this.peer = undefined;
    this.#streaming = false;
    this.abandonHandover('the link was lost; run promote again to take over without the other node');
    this.#dirty = this.role === 'active' ? [] : this.#dirty;
    for (const record of this.sas) if (this.role === 'active') record.dirty = false;
  }

  // --- the kernel of this node ------------------------------------------------------------------------------------------

  /** Counters of SAs moved: every NEWAE of a datagram. The hot path of an active node. */
  onAevents(cursor: AeventCursor, nowMs: number): void {
    if (this.role !== 'active') return;
    while (cursor.next()) {
      this.counts.aevents++;
      const record = this.sas.findAevent(cursor);
      if (record === undefined) continue; // not selected, or its NEWSA has not been read yet
      const { counters } = record;
      const byHand = (cursor.flags & AeFlag.CU) !== 0;
      // An event that waited in the socket while the kernel was read: older than what is known (S3).
      if (!byHand && cursor.packets < counters.packets) continue;
      // Values set by hand may be thresholds too, which the event does not show.
      if (byHand) this.#emit({ type: 'readThresholds', handles: [record.handle] });
      counters.oseq = cursor.oseq;
      counters.oseqHi = cursor.oseqHi;
      counters.seq = cursor.seq;
      counters.seqHi = cursor.seqHi;
      if (this.settings.plan.inbound === 'window') counters.bitmap = cursor.bitmap();
      counters.bytes = cursor.bytes;
      counters.packets = cursor.packets;
      counters.addTime = cursor.addTime;
      counters.useTime = cursor.useTime;
      noteRate(record.rate, counters.packets, nowMs);
      this.#touch(record);
    }
  }

  onKernelMessage(message: AnyXfrmMessage, nowMs: number): void {
    switch (message.kind) {
      case 'NEWSA':
        if (this.role === 'active') this.#putSa(message, nowMs);
        break;
      case 'UPDSA': {
        // The event shows the request, not the SA (xfrm_user.c:xfrm_add_sa); ask for the SA.
        const record = this.sas.find(saIdOf(message));
        if (this.role === 'active') this.#readSa(saIdOf(message), record?.handle ?? 0);
        break;
      }
      case 'DELSA':
        this.#onGone(message.body, message.attributes.mark);
        break;
      case 'EXPIRE':
        if (message.body.hard !== 0)
          this.#onGone(saIdOf({ body: message.body.state, attributes: {} }), message.attributes.mark);
        break;
      case 'NEWPOLICY':
      case 'UPDPOLICY':
        if (this.role === 'active') this.#putPolicy(message);
        break;
      case 'DELPOLICY':
        this.#onPolicyGone(message);
        break;
      case 'FLUSHSA':
      case 'FLUSHPOLICY':
      case 'POLEXPIRE':
      case 'MIGRATE':
        // A flush does not say what it took, and a migration makes and deletes SAs without a word about them.
        this.resync();
        break;
    }
  }

  /** Events were lost: read everything anew. */
  onOverrun(): void {
    this.counts.overruns++;
    this.#log('warn', 'events of the kernel were lost (receive buffer overrun): reading all SAs anew');
    this.resync();
  }

  /** Reads the kernel (active) or asks for a new account (standby). */
  resync(): void {
    this.counts.resyncs++;
    if (this.role === 'active') this.#emit({ type: 'read', purpose: 'resync' });
    else if (this.peer?.role === 'active') this.#send({ type: 'resyncRequest' });
  }

  onRead(purpose: ReadPurpose, reading: Reading, nowMs: number): void {
    switch (purpose) {
      case 'start':
        this.phase = 'steady';
        if (this.role === 'active') this.#adopt(reading, nowMs);
        this.#sendHello();
        this.#log('info', `started as ${this.role}, term ${this.term}`, {
          sas: this.sas.size,
          policies: this.policies.size,
        });
        break;
      case 'resync':
        if (this.role === 'active') this.#adopt(reading, nowMs);
        break;
      case 'reconcile':
        this.#reconcile(reading);
        break;
      case 'takeover':
        this.#open(reading);
        break;
      case 'drain':
        this.#onDrained(reading, nowMs);
        break;
      case 'final':
        this.#handOver(reading, nowMs);
        break;
    }
  }

  onReadSa(handle: number, sa: Sa | undefined, nowMs: number): void {
    if (this.role === 'active') {
      if (sa) this.#putSa(sa, nowMs);
      return;
    }
    // Standby: NEWSA met an SA with the same identity. The same one stays and gets our counters; another one goes.
    const record = this.sas.byHandle(handle);
    if (record === undefined) return;
    if (sa !== undefined && sameSa(sa, record.sa)) {
      record.installed = true;
      const limits: Write[] = sameLimits(sa, record.sa) ? [] : [write('update', handle, updateSa(record))];
      this.#write([...limits, write('counters', handle, setCounters(record, parked(record)))]);
    } else {
      this.#write([write('delete', handle, deleteSa(record)), ...this.#installing(record)]);
    }
  }

  onReadThresholds(handle: number, thresholds: Thresholds | undefined): void {
    const record = this.sas.byHandle(handle);
    if (record === undefined || thresholds === undefined || this.role !== 'active') return;
    const { packets, timerMs } = record.thresholds;
    if (packets === thresholds.packets && timerMs === thresholds.timerMs) return;
    record.thresholds = thresholds;
    this.#announce(record);
  }

  onWritten(writes: readonly Write[], results: readonly Result[]): void {
    writes.forEach(({ request, purpose }, i) => {
      const errno = results[i]?.error?.errno;
      const record = this.sas.byHandle(purpose.handle);
      if (results[i]?.error === undefined) {
        if (record && purpose.op === 'install') record.installed = true;
        return;
      }
      if (purpose.op === 'install' && errno === EEXIST && record) {
        this.#readSa(record.id, record.handle);
      } else if (purpose.op === 'counters' && errno === ESRCH && record) {
        record.installed = false;
        this.#write(this.#installing(record));
      } else if (purpose.op === 'open') {
        if (this.#takeover) this.#takeover.failed++;
        if (record) record.installed = false;
      } else if ((purpose.op === 'delete' && errno === ESRCH) || (purpose.op === 'policyDelete' && errno === ENOENT)) {
        // Gone already, as wished.
      } else {
        this.counts.writesFailed++;
        this.#log('warn', `the kernel refused ${request.kind}: ${results[i]?.error?.message}`, {
          op: purpose.op,
          spi: record?.id.spi,
        });
      }
    });
  }

  // --- the other node -----------------------------------------------------------------------------------------------------

  onFrame(frame: Frame, nowMs: number): void {
    if (frame.type === 'hello') {
      this.#onHello(frame);
      return;
    }
    if (this.peer === undefined) return;
    if (frame.term < this.term) {
      // S4: no effect, and the sender learns the term.
      this.counts.staleFrames++;
      this.#sendHello();
      return;
    }
    switch (frame.type) {
      case 'ping':
        if (this.role === 'active') this.#emit({ type: 'pong', timeMs: frame.timeMs });
        return;
      case 'resyncRequest':
        if (this.role === 'active') this.#streamSnapshot();
        return;
      case 'handoverRequest':
        this.#onHandoverRequest();
        return;
      case 'handoverOffer':
        this.#offered = true;
        this.promote(nowMs, { force: false });
        return;
      case 'handoverRefused':
        this.abandonHandover(`${this.peer.node} refused: ${frame.reason}`);
        return;
      case 'handoverDone':
        if (this.phase === 'awaitingHandover') this.#beginTakeover('switchover', nowMs);
        return;
      case 'bye':
        this.#log('warn', `${this.peer.node} closed the link: ${frame.reason}`);
        return;
    }
    if (this.role === 'standby' && this.peer.role === 'active') this.#onAccount(frame, nowMs);
  }

  /** Sends the counters that moved since the last call (active), or writes them to the kernel (standby). */
  flush(): void {
    if (this.#dirty.length === 0) return;
    if (this.role === 'active') {
      if (!this.#streaming) return;
      for (let i = 0; i < this.#dirty.length; i += ENTRIES_MAX) {
        const entries = this.#dirty.slice(i, i + ENTRIES_MAX).filter((r) => this.sas.byHandle(r.handle) === r);
        this.counts.updatesSent += entries.length;
        if (entries.length > 0)
          this.#send({ type: 'counters', entries: entries.map(({ handle, counters }) => ({ handle, counters })) });
      }
    } else if (this.phase === 'steady' || this.phase === 'awaitingHandover') {
      const writes = this.#dirty
        .filter((r) => r.installed)
        .map((r) => write('counters', r.handle, setCounters(r, parked(r))));
      this.#write(writes);
    } else {
      return;
    }
    for (const record of this.#dirty) record.dirty = false;
    this.#dirty = [];
  }

  /** Standby: asks the active how far its account goes. */
  ping(nowMs: number): void {
    if (this.role === 'standby' && this.peer?.role === 'active') this.#send({ type: 'ping', timeMs: nowMs });
  }

  // --- the operator ----------------------------------------------------------------------------------------------------------

  /** Makes this node the active one: planned if the active is there, a takeover if not. `force` takes over from an active that is there. */
  promote(nowMs: number, { force }: { readonly force: boolean }): void {
    if (this.role === 'active') return void this.#refuse('this node is active already');
    if (this.phase !== 'steady') return void this.#refuse(`this node is busy (${this.phase}); try again in a moment`);
    if (!this.complete && !force) {
      return void this.#refuse(
        'this standby is not complete: it would take over only a part of the SAs; use --force if that is better than none',
      );
    }
    if (this.peer?.role === 'active' && !force) {
      this.phase = 'awaitingHandover';
      this.#send({ type: 'handoverRequest' });
      return;
    }
    this.#beginTakeover('takeover', nowMs);
  }

  /** Gives up being active: the standby takes over in a planned switchover. Without a standby only with `force`. */
  demote({ force }: { readonly force: boolean }): void {
    if (this.role !== 'active') return void this.#refuse('this node is not active');
    if (this.phase !== 'steady') return void this.#refuse(`this node is busy (${this.phase}); try again in a moment`);
    if (this.peer?.role === 'standby') {
      this.#demoteAsked = true;
      this.#send({ type: 'handoverOffer' });
    } else if (force) {
      this.#stepDown('by the operator, without a standby', this.term);
      this.#emit({ type: 'demoted' });
    } else {
      this.#refuse('no standby is connected, nobody would forward; use --force to stop forwarding all the same');
    }
  }

  /** What was asked of the other node will not come. */
  abandonHandover(reason: string): void {
    if (this.phase === 'awaitingHandover') this.phase = 'steady';
    else if (!this.#demoteAsked) return;
    this.#demoteAsked = false;
    this.#refuse(`no handover: ${reason}`);
  }

  onPersisted(): void {
    if (this.phase === 'takingOver') this.#emit({ type: 'read', purpose: 'takeover' });
  }

  /** The term could not be stored: what depended on it does not happen. */
  onPersistFailed(reason: string): void {
    this.#log('error', `cannot store the term: ${reason}`);
    if (this.phase !== 'takingOver') return;
    this.phase = 'steady';
    this.term--;
    this.#takeover = undefined;
    this.#refuse(
      `the new term cannot be stored durably (${reason}); nothing was changed. Free space or mend the state directory, then promote again`,
    );
  }

  onHook(name: 'claim' | 'release', failure: string | undefined): void {
    if (failure !== undefined) this.#log('error', `the ${name} hook failed: ${failure}`);
    if (name !== 'release' || this.phase !== 'handingOver') return;
    if (failure !== undefined) {
      this.phase = 'steady';
      this.#demoteAsked = false;
      this.#send({ type: 'handoverRefused', reason: `its release hook failed: ${failure}` });
      return;
    }
    this.#emit({ type: 'read', purpose: 'drain' });
  }

  onMark(name: 'opened' | 'parked', nowMs: number): void {
    if (name === 'parked') {
      this.#emit({ type: 'read', purpose: 'final' });
      return;
    }
    const takeover = this.#takeover;
    if (takeover === undefined) return;
    if (takeover.failed > 0 && !takeover.retried) {
      // SAs that were missing or in the way: put them in anew, once.
      takeover.retried = true;
      takeover.failed = 0;
      for (const record of this.sas) {
        const position = takeover.positions.get(record.handle);
        if (record.installed || position === undefined || position.exhausted) continue;
        this.#write([
          write('delete', record.handle, deleteSa(record)),
          write('open', record.handle, newSa(record, position.counters)),
        ]);
        record.installed = true;
      }
      this.#emit({ type: 'mark', name: 'opened' });
      return;
    }
    this.#becomeActive(takeover, nowMs);
  }

  // --- taking over -----------------------------------------------------------------------------------------------------------

  #beginTakeover(kind: Takeover['kind'], nowMs: number): void {
    const unseenMs = kind === 'switchover' ? 0 : Math.max(0, nowMs - (this.provenMs ?? nowMs));
    this.phase = 'takingOver';
    this.#takeover = { kind, startedMs: nowMs, unseenMs, positions: new Map(), failed: 0, retried: false };
    this.term = Math.max(this.term, this.peer?.term ?? 0) + 1;
    this.#emit({ type: 'persist', durable: { term: this.term, role: 'active' } });
  }

  /** Writes every SA's new position: a counter write for those that are in the kernel, the whole SA for those that are not. */
  #open(reading: Reading): void {
    const takeover = this.#takeover;
    if (takeover === undefined) return;
    const here = new Set<SaRecord>();
    for (const sa of reading.sas) {
      const record = this.sas.find(saIdOf(sa));
      if (record === undefined || !sameSa(sa, record.sa)) continue;
      here.add(record);
      takeHigher(record, countersOf(sa));
    }
    const writes: Write[] = [];
    for (const record of this.sas) {
      const position =
        takeover.kind === 'switchover'
          ? switchoverPosition(record)
          : takeoverPosition(record, this.settings.plan, takeover.unseenMs);
      takeover.positions.set(record.handle, position);
      record.installed = true;
      if (position.exhausted) continue;
      const request = here.has(record) ? setCounters(record, position.counters) : newSa(record, position.counters);
      writes.push(write('open', record.handle, request));
    }
    this.#write([...writes, ...[...this.policies.values()].map((policy) => write('policy', 0, putPolicy(policy)))]);
    this.#emit({ type: 'mark', name: 'opened' });
  }

  #becomeActive(takeover: Takeover, nowMs: number): void {
    const { kind, positions, failed, unseenMs, startedMs } = takeover;
    const all = [...positions.values()];
    for (const record of this.sas) {
      const position = positions.get(record.handle);
      if (position && !position.exhausted) Object.assign(record.counters, position.counters);
      record.dirty = false;
      this.#nextHandle = Math.max(this.#nextHandle, record.handle + 1);
    }
    this.#dirty = [];
    this.#takeover = undefined;
    this.#offered = false;
    this.role = 'active';
    this.phase = 'steady';
    const exhausted = all.filter((p) => p.exhausted).length;
    const report: TakeoverReport = {
      kind,
      role: 'active',
      term: this.term,
      sas: this.sas.size,
      failed,
      exhausted,
      takeoverMs: nowMs - startedMs,
      unseenMs,
      skipMax: Math.max(0, ...all.map((p) => p.skip)),
      closedMax: Math.max(0, ...all.map((p) => p.closed)),
    };
    if (exhausted > 0) this.#log('error', `${exhausted} SAs have no sequence numbers left and stay shut: re-key them`);
    this.#log(failed > 0 ? 'error' : 'info', `active in term ${this.term}`, report);
    this.#emit({ type: 'hook', name: 'claim' }, { type: 'promoted', report });
    // What the kernel said while this node was not active yet is read in one go.
    this.#emit({ type: 'read', purpose: 'resync' });
    this.#sendHello();
    if (this.peer?.role === 'standby') this.#streamSnapshot();
  }

  // --- handing over -------------------------------------------------------------------------------------------------------------

  #onHandoverRequest(): void {
    if (this.role !== 'active') return void this.#send({ type: 'handoverRefused', reason: 'it is not active' });
    if (this.phase !== 'steady')
      return void this.#send({ type: 'handoverRefused', reason: `it is busy (${this.phase})` });
    this.phase = 'handingOver';
    this.#drain = undefined;
    this.#emit({ type: 'hook', name: 'release' });
  }

  /** Addresses are gone; packets on their way still come in. Two readings without a difference, and the SAs are shut. */
  #onDrained(reading: Reading, nowMs: number): void {
    if (this.phase !== 'handingOver') return;
    this.#adopt(reading, nowMs);
    const { drainMs, drainMaxMs } = this.settings;
    const now = new Map([...this.sas].map((r) => [r.handle, { ...r.counters }]));
    const drain = this.#drain ?? { untilMs: nowMs + drainMaxMs, before: undefined };
    const { before } = drain;
    const quiet = before !== undefined && [...now].every(([handle, c]) => before.get(handle)?.packets === c.packets);
    drain.before = now;
    this.#drain = drain;
    if (!quiet && nowMs < drain.untilMs) {
      this.#emit({ type: 'wait', ms: drainMs }, { type: 'read', purpose: 'drain' });
      return;
    }
    const outgoing = [...this.sas].filter((r) => directionOf(r) !== 'in');
    this.#write(outgoing.map((r) => write('counters', r.handle, setCounters(r, parked(r)))));
    this.#emit({ type: 'mark', name: 'parked' });
  }

  /** The SAs are shut. What slipped out between reading and shutting is in the packet count. */
  #handOver(reading: Reading, nowMs: number): void {
    if (this.phase !== 'handingOver') return;
    for (const sa of reading.sas) {
      const record = this.sas.find(saIdOf(sa));
      const before = record && this.#drain?.before?.get(record.handle);
      if (record === undefined || before === undefined) continue;
      const last = countersOf(sa);
      if (directionOf(record) === 'in') {
        Object.assign(record.counters, last);
      } else {
        const sent = before.oseq + (last.packets - before.packets);
        Object.assign(record.counters, last, {
          oseq: sent % 2 ** 32,
          oseqHi: before.oseqHi + Math.floor(sent / 2 ** 32),
        });
      }
      this.#touch(record);
    }
    this.flush();
    // Durable first: once the other node starts, this one must never come back as active by itself.
    this.#emit({ type: 'persist', durable: { term: this.term, role: 'standby' } });
    this.#send({ type: 'handoverDone' });
    this.#drain = undefined;
    this.#becomeStandby();
    this.complete = true;
    this.provenMs = nowMs;
    this.#sendHello();
    if (this.#demoteAsked) this.#emit({ type: 'demoted' });
    this.#demoteAsked = false;
    this.#log('info', 'handed over: every SA is shut, this node is a standby');
  }

  /** A newer term exists, or the operator wants it: shut every SA, give up the addresses. */
  #stepDown(reason: string, term: number): void {
    this.#log('warn', `no longer active: ${reason}`);
    this.#write([...this.sas].map((r) => write('counters', r.handle, setCounters(r, parked(r)))));
    this.#becomeStandby();
    this.term = term;
    this.#emit({ type: 'hook', name: 'release' }, { type: 'persist', durable: { term, role: 'standby' } });
  }

  #becomeStandby(): void {
    this.role = 'standby';
    this.phase = 'steady';
    this.complete = false;
    this.provenMs = undefined;
    this.#streaming = false;
    this.#dirty = [];
    for (const record of this.sas) {
      record.dirty = false;
      record.installed = true;
    }
  }

  // --- hello --------------------------------------------------------------------------------------------------------------------

  #onHello(frame: Hello & { term: number }): void {
    const { cluster, node, littleEndian } = this.settings;
    const quarrel =
      frame.cluster !== cluster
        ? `it belongs to cluster "${frame.cluster}", this node to "${cluster}"`
        : frame.node === node
          ? `it has this node's own name "${node}"`
          : frame.littleEndian !== littleEndian
            ? 'its machine has another byte order'
            : undefined;
    if (quarrel !== undefined) {
      this.#log('error', `refused the other node: ${quarrel}`);
      this.#send({ type: 'bye', reason: quarrel });
      this.#emit({ type: 'disconnect', reason: quarrel });
      return;
    }
    const first = this.peer === undefined;
    const before = this.peer?.role;
    this.peer = frame;
    if (first) this.#log('info', `connected to ${frame.node}`, { role: frame.role, term: frame.term });
    if (this.phase === 'starting') return;
    if (frame.term > this.term) {
      if (this.role === 'active')
        this.#stepDown(`${frame.node} is ${frame.role} in the newer term ${frame.term}`, frame.term);
      else {
        this.term = frame.term;
        this.#emit({ type: 'persist', durable: { term: frame.term, role: this.role } });
      }
      this.#sendHello();
    } else if (frame.term === this.term && frame.role === 'active' && this.role === 'active') {
      const mine = node < frame.node;
      this.#log('error', `both nodes are active in term ${this.term}: ${mine ? node : frame.node} stays active`);
      if (!mine) {
        this.#stepDown('two nodes were active in one term', this.term);
        this.#sendHello();
      }
    }
    if (this.role === 'active' && frame.role === 'standby' && (first || before !== 'standby' || !this.#streaming)) {
      this.#streamSnapshot();
    }
  }

  #sendHello(): void {
    const { cluster, node, version, littleEndian } = this.settings;
    this.#send({ type: 'hello', cluster, node, version, littleEndian, role: this.role });
  }

  // --- the account: what an active sends and a standby takes in -----------------------------------------------------------------------

  #streamSnapshot(): void {
    this.#streaming = true;
    this.#emit({ type: 'stream', frames: this.#snapshot() });
  }

  *#snapshot(): Generator<Frame> {
    const { term } = this;
    yield { type: 'snapshotBegin', term, sas: this.sas.size, policies: this.policies.size };
    for (const { handle, thresholds, sa, counters } of this.sas) {
      yield { type: 'sa', term, handle, thresholds, sa };
      yield { type: 'counters', term, entries: [{ handle, counters }] };
    }
    for (const policy of this.policies.values()) yield { type: 'policy', term, policy };
    yield { type: 'snapshotEnd', term };
  }

  #staleBefore: Set<number> | undefined;
  #stalePolicies: Set<string> | undefined;

  #onAccount(frame: Frame, nowMs: number): void {
    switch (frame.type) {
      case 'snapshotBegin':
        this.#staleBefore = new Set([...this.sas].map((r) => r.handle));
        this.#stalePolicies = new Set(this.policies.keys());
        break;
      case 'sa':
        this.#takeIn(frame.handle, frame.sa, frame.thresholds, nowMs);
        break;
      case 'saDelete': {
        const record = this.sas.byHandle(frame.handle);
        if (record) this.#forget(record);
        break;
      }
      case 'policy': {
        const key = policyKey(frame.policy);
        this.policies.set(key, frame.policy);
        this.#stalePolicies?.delete(key);
        if (this.settings.install === 'immediate') this.#write([write('policy', 0, putPolicy(frame.policy))]);
        break;
      }
      case 'policyDelete':
        this.policies.delete(policyKey(frame.policy));
        if (this.settings.install === 'immediate') this.#write([write('policyDelete', 0, deletePolicy(frame.policy))]);
        break;
      case 'counters':
        for (const entry of frame.entries) this.#takeInCounters(entry, nowMs);
        break;
      case 'pong':
        if (this.complete) this.provenMs = Math.max(this.provenMs ?? 0, frame.timeMs);
        break;
      case 'snapshotEnd':
        for (const handle of this.#staleBefore ?? []) {
          const record = this.sas.byHandle(handle);
          if (record) this.#forget(record);
        }
        for (const key of this.#stalePolicies ?? []) this.policies.delete(key);
        this.#staleBefore = undefined;
        this.#stalePolicies = undefined;
        this.complete = true;
        this.#emit({ type: 'read', purpose: 'reconcile' });
        this.#log('info', 'this standby is complete', { sas: this.sas.size, policies: this.policies.size });
        break;
    }
  }

  #takeIn(handle: number, sa: Sa, thresholds: Thresholds, nowMs: number): void {
    const id = saIdOf(sa);
    const old = this.sas.find(id) ?? this.sas.byHandle(handle);
    const same = old !== undefined && sameSa(old.sa, sa);
    const record: SaRecord = {
      handle,
      id,
      sa,
      counters: same ? { ...old.counters } : countersOf(sa),
      thresholds,
      rate: same ? old.rate : { sinceMs: nowMs, sincePackets: Number(sa.body.curlft.packets), peakPps: 0 },
      dirty: false,
      installed: same && old.installed,
      fresh: true,
      next: undefined,
    };
    if (old) {
      this.sas.remove(old);
      this.#staleBefore?.delete(old.handle);
    }
    this.#staleBefore?.delete(handle);
    this.sas.add(record);
    if (this.settings.install !== 'immediate') return;
    if (!same) this.#write([...(old ? [write('delete', 0, deleteSa(old))] : []), ...this.#installing(record)]);
    else if (!record.installed) this.#write(this.#installing(record));
    else if (!sameLimits(old.sa, sa)) this.#write([write('update', handle, updateSa(record))]);
  }

  #takeInCounters({ handle, counters }: CountersEntry, nowMs: number): void {
    const record = this.sas.byHandle(handle);
    if (record === undefined) return;
    this.counts.updatesReceived++;
    const bitmap = counters.bitmap ?? record.counters.bitmap;
    Object.assign(record.counters, counters, { bitmap });
    noteRate(record.rate, counters.packets, nowMs);
    this.#touch(record);
  }

  #forget(record: SaRecord): void {
    this.sas.remove(record);
    if (record.installed || this.settings.install === 'immediate') this.#write([write('delete', 0, deleteSa(record))]);
  }

  /** What this node's kernel still has from earlier, and the active does not, goes. */
  #reconcile(reading: Reading): void {
    if (this.role !== 'standby') return;
    const writes: Write[] = [];
    for (const sa of reading.sas) {
      if (selectsSa(this.settings.selection, sa) && this.sas.find(saIdOf(sa)) === undefined) {
        writes.push(write('delete', 0, deleteSa({ id: saIdOf(sa) })));
      }
    }
    for (const policy of reading.policies) {
      if (selectsPolicy(this.settings.selection, policy) && !this.policies.has(policyKey(policy))) {
        writes.push(write('policyDelete', 0, deletePolicy(policy)));
      }
    }
    if (writes.length > 0) this.#log('info', `removed ${writes.length} SAs and policies that the active does not have`);
    this.#write(writes);
  }

  // --- the active's own account ---------------------------------------------------------------------------------------------------------

  /** Makes the account equal to what was read. */
  #adopt(reading: Reading, nowMs: number): void {
    const gone = new Set(this.sas);
    for (const sa of reading.sas) {
      const record = this.#putSa(sa, nowMs);
      if (record) gone.delete(record);
    }
    for (const record of gone) this.#drop(record);
    const gonePolicies = new Set(this.policies.keys());
    for (const policy of reading.policies) gonePolicies.delete(this.#putPolicy(policy) ?? '');
    for (const key of gonePolicies) this.#dropPolicy(key);
  }

  #putSa(message: Sa, nowMs: number): SaRecord | undefined {
    const { body, attributes } = message;
    const sa: Sa = { body, attributes };
    if (!selectsSa(this.settings.selection, sa)) return undefined;
    const id = saIdOf(sa);
    const known = this.sas.find(id);
    const counters = countersOf(sa);
    if (known && sameSa(known.sa, sa)) {
      const changed = !sameLimits(known.sa, sa);
      known.sa = sa;
      if (takeHigher(known, counters)) this.#touch(known);
      if (changed) this.#announce(known);
      return known;
    }
    if (known) this.#drop(known);
    const record: SaRecord = {
      handle: this.#nextHandle++,
      id,
      sa,
      counters,
      thresholds: KERNEL_THRESHOLDS,
      rate: { sinceMs: nowMs, sincePackets: counters.packets, peakPps: 0 },
      dirty: false,
      installed: true,
      fresh: true,
      next: undefined,
    };
    this.sas.add(record);
    this.#announce(record);
    this.#touch(record);
    this.#emit({ type: 'readThresholds', handles: [record.handle] });
    return record;
  }

  #putPolicy(message: Policy): string | undefined {
    const policy: Policy = { body: message.body, attributes: message.attributes };
    if (!selectsPolicy(this.settings.selection, policy)) return undefined;
    const key = policyKey(policy);
    const known = this.policies.get(key);
    this.policies.set(key, policy);
    if ((known === undefined || !samePolicy(known, policy)) && this.#streaming) this.#send({ type: 'policy', policy });
    return key;
  }

  #onGone(id: Omit<SaId, 'mark'>, mark: SaId['mark'] | undefined): void {
    const record = this.sas.find(mark === undefined ? id : { ...id, mark });
    if (record === undefined) return;
    if (this.role === 'active') this.#drop(record);
    else record.installed = false; // local to this node: not the active's business
  }

  #onPolicyGone({ attributes }: XfrmMessage<'DELPOLICY'>): void {
    if (this.role !== 'active') return;
    if (attributes.policy === undefined) this.resync();
    else this.#dropPolicy(policyKey({ body: attributes.policy, attributes }));
  }

  #drop(record: SaRecord): void {
    this.sas.remove(record);
    if (this.#streaming) this.#send({ type: 'saDelete', handle: record.handle });
  }

  #dropPolicy(key: string): void {
    const policy = this.policies.get(key);
    this.policies.delete(key);
    if (policy && this.#streaming) this.#send({ type: 'policyDelete', policy });
  }

  #announce({ handle, thresholds, sa }: SaRecord): void {
    if (this.#streaming) this.#send({ type: 'sa', handle, thresholds, sa });
  }

  // --- small things -----------------------------------------------------------------------------------------------------------------------

  #touch(record: SaRecord): void {
    if (record.dirty) return;
    record.dirty = true;
    this.#dirty.push(record);
  }

  #installing(record: SaRecord): Write[] {
    return [
      write('install', record.handle, newSa(record, record.counters)),
      write('counters', record.handle, setCounters(record, parked(record))),
    ];
  }

  #readSa(id: SaId, handle: number): void {
    const { mark } = id;
    const request = { kind: 'GETSA', body: usersaId(id), attributes: mark === undefined ? {} : { mark } } as const;
    this.#emit({ type: 'readSa', handle, request });
  }

  #write(writes: readonly Write[]): void {
    if (writes.length > 0) this.#emit({ type: 'write', writes });
  }

  #send(body: FrameBody): void {
    this.#emit({ type: 'send', frame: { ...body, term: this.term } });
  }

  #refuse(reason: string): void {
    if (this.#offered) this.#send({ type: 'handoverRefused', reason });
    else this.#emit({ type: 'refused', reason });
    this.#offered = false;
  }

  #log(level: 'info' | 'warn' | 'error', text: string, fields?: object): void {
    this.#emit({ type: 'log', level, text, ...(fields === undefined ? {} : { fields }) });
  }

  #emit(...effects: Effect[]): void {
    this.#effects.push(...effects);
  }
}

const write = (op: Purpose['op'], handle: number, request: Write['request']): Write => ({
  request,
  purpose: { op, handle },
});

function samePolicy(a: Policy, b: Policy): boolean {
  const settled = ({ body, attributes }: Policy): string =>
    JSON.stringify(
      [
        { ...body, curlft: null, index: 0 },
        { ...attributes, pad: null },
      ],
      (_, v) => (typeof v === 'bigint' ? `${v}` : v),
    );
  return settled(a) === settled(b);
}

/** Takes over counters that are ahead, never ones that are behind (S3). A parked number is not a number. True if anything moved. */
function takeHigher({ counters }: SaRecord, other: Counters): boolean {
  const end = 2 ** 32 - 1;
  const isParked = other.oseq === end && (other.oseqHi === 0 || other.oseqHi === end);
  let moved = false;
  if (
    !isParked &&
    (other.oseqHi > counters.oseqHi || (other.oseqHi === counters.oseqHi && other.oseq > counters.oseq))
  ) {
    counters.oseq = other.oseq;
    counters.oseqHi = other.oseqHi;
    moved = true;
  }
  if (other.seqHi > counters.seqHi || (other.seqHi === counters.seqHi && other.seq >= counters.seq)) {
    moved ||=
      other.seq !== counters.seq ||
      other.seqHi !== counters.seqHi ||
      other.bitmap?.some((w, i) => w !== counters.bitmap?.[i]) === true;
    counters.seq = other.seq;
    counters.seqHi = other.seqHi;
    counters.bitmap = other.bitmap;
  }
  for (const name of ['bytes', 'packets', 'useTime'] as const) {
    if (other[name] > counters[name]) {
      counters[name] = other[name];
      moved = true;
    }
  }
  return moved;
}
