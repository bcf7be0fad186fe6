import { loadStatusOf } from '../node/index.ts';
import type { Frame, TakeoverReport, Write } from '../replica/index.ts';
import type { XfrmAttributes } from '../xfrm/index.ts';
import type { Life } from './flow.ts';
import type { Gateway } from './gateway.ts';
import { keyNumber } from './sas.ts';

/**
 * The safety rules of docs/safety.md, checked by what packets, frames and disks show: nothing here asks a replica what it believes, except
 * to see that a frame of an older term has changed nothing.
 */

export type RuleName = 'S1' | 'S2' | 'S3' | 'S4' | 'S5' | 'S6' | 'S7' | 'recovery';

export interface Violation {
  readonly rule: RuleName;
  readonly atMs: number;
  readonly text: string;
  /** Which flow it is about. */
  readonly flow: number | undefined;
}

/** What is known of an SA in one life, over all nodes. */
interface Books {
  /** Numbers sent, and by whom last. */
  readonly sent: Map<number, string>;
  readonly accepted: Map<number, string>;
  /** The highest number that anybody has sent, accepted, or been told to begin behind. */
  oseq: number;
  seq: number;
  /** The highest outbound number of which each node has been told. */
  readonly known: Map<Gateway, number>;
  /** It was deleted on the active, and these have been told. */
  readonly deadOn: Set<Gateway>;
  deleted: boolean;
  /** By the last takeover: how far both numbers have moved beyond what was used, and from where. */
  opened: string;
  skipped: number;
  /** Numbers up to this one were passed over, as another node had used them. */
  leapt: number;
  closed: number;
  closedFrom: number;
}

interface NodeBooks {
  /** Which SA a handle of the other node means. */
  readonly handles: Map<number, number>;
  /** A whole account has come since the daemon began. */
  whole: boolean;
  begun: boolean;
}

const TWO_32 = 2 ** 32;
const END = TWO_32 - 1;
/** More than twice what any SA receives between two readings. */
const ROOM = 500;
/** By then a daemon has looked at everything that has happened without it. */
const LOOKS_MS = 500;
/** The byte that fills all keys here, in the forms in which it could be said. */
const SECRET = /a7a7a7|167,\s?167,\s?167|p6enp6/i;

const statusOf = await loadStatusOf();

/** Its window is at the end of all numbers: a daemon died while it was shut, and its key manager has to make a new one. */
function isUsedUp(gateway: Gateway, life: Life): boolean {
  const { replayVal, replayEsnVal } = gateway.kernel.get(life.id)?.sa.attributes ?? {};
  return (replayEsnVal ?? replayVal)?.seq === END;
}

export class Checks {
  violation: Violation | undefined;
  /** Packets of peers that a window refused which a takeover had closed, and how many that may be by the reports. */
  packetsLost = 0;
  lossBound = 0;
  readonly #books = new Map<number, Books>();
  readonly #records = new WeakMap<object, { term: number; oseq: number; seq: number; packets: number }>();
  readonly #nodes = new Map<Gateway, NodeBooks>();
  /** Who has begun which term. */
  readonly #begun = new Map<number, string>();
  readonly #now: () => number;
  readonly #strict: boolean;
  readonly #fencing: boolean;
  /** S1 holds: there is a fence, or the kernels keep to their grants. */
  #numbersAreKept: boolean;
  /** SAs can stop at their ceilings. */
  readonly #hasCeilings: boolean;
  readonly #nodesAreMany: boolean;
  /** A grant is more than an SA carries until it is looked at. */
  readonly #hasRoom: boolean;
  readonly #lives: ReadonlyMap<number, Life>;
  readonly #whenIdle: (gateway: Gateway, happen: () => void) => void;
  /** The highest term that any disk has. */
  #storedTerm = 0;

  constructor(about: {
    now: () => number;
    strict: boolean;
    fencing: boolean;
    mode: 'safe' | 'available';
    nodes: number;
    numbersMin: number;
    lives: ReadonlyMap<number, Life>;
    whenIdle: (gateway: Gateway, happen: () => void) => void;
  }) {
    this.#now = about.now;
    this.#strict = about.strict;
    this.#fencing = about.fencing;
    this.#hasCeilings = about.mode === 'safe';
    this.#hasRoom = about.numbersMin >= ROOM;
    this.#numbersAreKept = about.fencing || about.mode === 'safe';
    this.#nodesAreMany = about.nodes > 2;
    this.#lives = about.lives;
    this.#whenIdle = about.whenIdle;
  }

  report(rule: RuleName, text: string, flow?: number): void {
    this.violation ??= { rule, atMs: this.#now(), text, flow };
  }

  #of(key: number): Books {
    let books = this.#books.get(key);
    if (books === undefined) {
      const first = this.#lives.get(key)?.plan.first ?? 0;
      books = {
        sent: new Map(),
        accepted: new Map(),
        oseq: first,
        seq: first,
        known: new Map(),
        deadOn: new Set(),
        deleted: false,
        opened: '',
        skipped: 0,
        leapt: 0,
        closed: 0,
        closedFrom: Number.POSITIVE_INFINITY,
      };
      this.#books.set(key, books);
    }
    return books;
  }

  #node(gateway: Gateway): NodeBooks {
    let node = this.#nodes.get(gateway);
    if (node === undefined) {
      node = { handles: new Map(), whole: false, begun: false };
      this.#nodes.set(gateway, node);
    }
    return node;
  }

  /** By force, without a whole account: without a fence nothing is promised of numbers then. */
  onForced(): void {
    if (!this.#fencing) this.#numbersAreKept = false;
  }

  // --- packets ----------------------------------------------------------------------------------------------------------

  onSent(gateway: Gateway, flow: number, key: number, n: number): void {
    const books = this.#of(key);
    const by = books.sent.get(n);
    // A ceiling counts packets: whoever sets their count moves it.
    const isMoved = this.#hasCeilings && this.#lives.get(key)?.recounted === true;
    if (by !== undefined && this.#numbersAreKept && !isMoved)
      this.report('S1', `${gateway.name} sends number ${n} of SA ${flow} (key ${key}), which ${by} has sent`, flow);
    books.sent.set(n, gateway.name);
    books.oseq = Math.max(books.oseq, n);
  }

  onAccepted(gateway: Gateway, life: Life, n: number): void {
    if (life.plan.window === 'none') return;
    const books = this.#of(life.key);
    const by = books.accepted.get(n);
    if (by !== undefined && this.#strict && this.#fencing) {
      const text = `${gateway.name} accepts number ${n} of SA ${life.flow} (key ${life.key}), which ${by} has accepted`;
      this.report('S2', text, life.flow);
    }
    books.accepted.set(n, gateway.name);
    books.seq = Math.max(books.seq, n);
  }

  /** A packet that comes for the first time is refused. */
  onRefused(gateway: Gateway, life: Life, n: number): void {
    const books = this.#of(life.key);
    if (!gateway.reigns) return;
    if (gateway.kernel.get(life.id) === undefined && (life.expires || this.#stopsUnseen(gateway, life))) return;
    if (n > books.seq && this.#fencing && !isUsedUp(gateway, life)) {
      const text = `${gateway.name} refuses number ${n} of SA ${life.flow} (key ${life.key}), and nothing above ${books.seq} was used`;
      this.report('S7', text, life.flow);
    }
    if (n > books.closedFrom && n <= books.closedFrom + books.closed) this.packetsLost++;
  }

  /**
   * An inbound SA whose kernel does not say which way it goes has a ceiling until it is seen to receive: it expires if its daemon cannot see
   * that in time (docs/safety.md, grants).
   */
  #stopsUnseen({ daemon }: Gateway, { sa }: Life): boolean {
    const isThere = daemon?.listens && daemon.state.phase === 'steady' && daemon.nowMs - daemon.wokeMs > LOOKS_MS;
    return this.#hasCeilings && sa.attributes.saDir === undefined && !(this.#hasRoom && isThere);
  }

  // --- the kernel -------------------------------------------------------------------------------------------------------

  /** A key manager has deleted an SA on the active. */
  onDeleted(key: number): void {
    this.#of(key).deleted = true;
  }

  onCountersByHand(key: number, oseq: number, seq: number): void {
    const books = this.#of(key);
    books.oseq = Math.max(books.oseq, oseq);
    books.seq = Math.max(books.seq, seq);
  }

  onWrites(gateway: Gateway, writes: readonly Write[]): void {
    const term = gateway.daemon?.state.term ?? 0;
    for (const { request, purpose } of writes) {
      if (purpose.op === 'open' && this.#nodesAreMany) this.#onBroughtBack(gateway, request);
      if (request.kind === 'NEWSA') {
        const key = keyNumber(request);
        const { deadOn } = this.#of(key);
        // Of several standbys each hears of it in its own time.
        if (this.#nodesAreMany ? deadOn.has(gateway) : deadOn.size > 0) {
          const names = [...deadOn].map(({ name }) => name).join(' and ');
          const text = `${gateway.name} makes an SA (key ${key}) that was deleted, as ${names} had been told`;
          this.report('S3', text, this.#lives.get(key)?.flow);
        }
      }
      if (purpose.op === 'leap') this.#onLeap(gateway, request);
      if (purpose.op !== 'open') continue;
      if (term > this.#storedTerm) this.report('S4', `${gateway.name} opens SAs in term ${term}, which is on no disk`);
      const key = request.kind === 'NEWSA' ? keyNumber(request) : this.#keyOf(gateway, request);
      if (key !== undefined && (request.kind === 'NEWSA' || request.kind === 'NEWAE'))
        this.#onOpened(gateway, key, request.attributes);
    }
  }

  /** Of several standbys, one that could not know of a deletion takes over: the SA is there again, for all. */
  #onBroughtBack(gateway: Gateway, request: Write['request']): void {
    const key = request.kind === 'NEWSA' ? keyNumber(request) : this.#keyOf(gateway, request);
    const books = key === undefined ? undefined : this.#of(key);
    if (books === undefined || books.deadOn.has(gateway)) return;
    books.deadOn.clear();
    books.deleted = false;
  }

  #onLeap(gateway: Gateway, request: Write['request']): void {
    const key = this.#keyOf(gateway, request);
    if (key === undefined || request.kind !== 'NEWAE') return;
    const { replayVal: plain, replayEsnVal: esn } = request.attributes;
    this.#of(key).leapt = esn ? esn.oseqHi * TWO_32 + esn.oseq : (plain?.oseq ?? 0);
  }

  #keyOf(gateway: Gateway, request: Write['request']): number | undefined {
    if (request.kind !== 'NEWAE') return undefined;
    const { mark } = request.attributes;
    return gateway.kernel.keyOf({ ...request.body.saId, ...(mark === undefined ? {} : { mark }) });
  }

  #onOpened(gateway: Gateway, key: number, attributes: XfrmAttributes): void {
    const { replayVal: plain, replayEsnVal: esn } = attributes;
    const flow = this.#lives.get(key)?.flow;
    if (plain === undefined && esn === undefined) return;
    const oseq = esn ? esn.oseqHi * TWO_32 + esn.oseq : (plain?.oseq ?? 0);
    const seq = esn ? esn.seqHi * TWO_32 + esn.seq : (plain?.seq ?? 0);
    const books = this.#of(key);
    const known = books.known.get(gateway) ?? 0;
    const isOut = this.#lives.get(key)?.plan.direction === 'out';
    // A takeover that has been given up may still write what it had to, before it shuts everything.
    if (isOut && oseq < known && gateway.daemon?.state.phase === 'takingOver')
      this.report('S3', `${gateway.name} begins SA ${flow} (key ${key}) at ${oseq}, and had been told ${known}`, flow);
    const is64 = this.#lives.get(key)?.plan.window === 'esn';
    const exhausted = (esn ?? plain)?.oseq === END && (!is64 || esn?.oseqHi === END);
    const opened = `${gateway.name} in term ${gateway.daemon?.state.term}`;
    const usedUp = (esn ?? plain)?.seq === END;
    // What is written once more in the same takeover is counted once.
    if (books.opened !== opened) {
      books.opened = opened;
      books.skipped = isOut && !exhausted ? oseq - Math.max(books.oseq, books.leapt) : 0;
      books.closed = isOut || usedUp ? 0 : seq - books.seq;
      books.closedFrom = books.seq;
    }
    if (isOut && !exhausted) books.oseq = Math.max(books.oseq, oseq);
    if (!isOut) books.seq = Math.max(books.seq, seq);
  }

  /** A node begins a takeover: it wants to store the new term. */
  onTakeover(gateway: Gateway): void {
    const term = gateway.daemon?.state.takeover?.term ?? 0;
    const by = this.#begun.get(term) ?? gateway.name;
    this.#begun.set(term, by);
    if (by !== gateway.name) this.report('S4', `${gateway.name} begins term ${term}, which ${by} has begun`);
    if (!this.#node(gateway).whole && gateway.daemon?.force !== true)
      this.report('S5', `${gateway.name} takes over without --force, and has no whole account`);
  }

  // --- disks and frames -------------------------------------------------------------------------------------------------

  onStored(term: number): void {
    this.#storedTerm = Math.max(this.#storedTerm, term);
  }

  onSend(gateway: Gateway, frame: Frame): void {
    if (frame.term > this.#storedTerm)
      this.report('S4', `${gateway.name} speaks in term ${frame.term}, which is on no disk`);
    // Who hands over has had the whole account; its final counters are exact.
    if (frame.type === 'handoverDone') this.#node(gateway).whole = true;
  }

  /** A daemon begins, or is not active any more without having handed over. */
  onBegun(gateway: Gateway): void {
    const node = this.#node(gateway);
    node.handles.clear();
    node.whole = false;
    node.begun = false;
  }

  /** Before a frame is taken in; what it returns looks at what has become of it. */
  onFrame(gateway: Gateway, from: string, frame: Frame): () => void {
    const { daemon } = gateway;
    if (daemon === undefined) return () => {};
    const { state } = daemon;
    if (frame.term < state.term && frame.type !== 'hello') return this.#mustBeIdle(gateway, frame);
    const wasActive = state.role === 'active';
    if (!wasActive && frame.term >= state.term && state.reigning?.name === from) this.#onAccount(gateway, frame);
    return () => {
      if (wasActive && state.role !== 'active') this.onBegun(gateway);
      if (state.role === 'standby' && (frame.type === 'counters' || frame.type === 'sa')) this.#lookAtRecords(gateway);
    };
  }

  /** S4: an older term has no effect but an answer. */
  #mustBeIdle(gateway: Gateway, frame: Frame): () => void {
    const state = gateway.daemon?.state;
    if (state === undefined) return () => {};
    const digest = (): string => {
      const { role, phase, complete, provenMs, sas, policies } = state;
      const numbers = [...sas].map(({ counters: c }) => [c.oseq, c.oseqHi, c.seq, c.seqHi, c.packets]);
      return JSON.stringify([role, phase, complete, provenMs, policies.size, numbers]);
    };
    const before = digest();
    const { length } = state.effects;
    return () => {
      const wanted = state.effects
        .slice(length)
        .filter((e) => e.type !== 'log' && !(e.type === 'send' && e.frame.type === 'hello'));
      const [first] = wanted;
      if (first === undefined && digest() === before) return;
      const what = first === undefined ? 'its state' : first.type;
      const text = `${gateway.name}, in term ${state.term}, is moved by a ${frame.type} frame of term ${frame.term}: ${what}`;
      this.report('S4', text);
    };
  }

  #onAccount(gateway: Gateway, frame: Frame): void {
    const node = this.#node(gateway);
    switch (frame.type) {
      case 'snapshotBegin':
        node.handles.clear();
        node.begun = true;
        break;
      case 'snapshotEnd':
        node.whole ||= node.begun;
        break;
      case 'sa': {
        const key = keyNumber(frame.sa);
        node.handles.set(frame.handle, key);
        const { replayVal, replayEsnVal: esn } = frame.sa.attributes;
        const { oseq = 0 } = esn ?? replayVal ?? {};
        this.#onTold(gateway, key, { oseq, oseqHi: esn?.oseqHi ?? 0 });
        break;
      }
      case 'saDelete': {
        const key = node.handles.get(frame.handle);
        node.handles.delete(frame.handle);
        // What was to be written before that is written first.
        if (key !== undefined && this.#of(key).deleted)
          this.#whenIdle(gateway, () => {
            // Another one may have brought it back meanwhile.
            if (this.#of(key).deleted) this.#of(key).deadOn.add(gateway);
          });
        break;
      }
      case 'counters':
        for (const { handle, counters } of frame.entries) {
          const key = node.handles.get(handle);
          if (key !== undefined) this.#onTold(gateway, key, counters);
        }
        break;
    }
  }

  #onTold(gateway: Gateway, key: number, { oseq, oseqHi }: { readonly oseq: number; readonly oseqHi: number }): void {
    const { known } = this.#of(key);
    if (oseq !== END) known.set(gateway, Math.max(known.get(gateway) ?? 0, oseqHi * TWO_32 + oseq));
  }

  /** S3: within a term, the counters of a replica do not go back. */
  #lookAtRecords({ name, daemon }: Gateway): void {
    if (daemon === undefined) return;
    const { sas, term, leftOpen } = daemon.state;
    for (const record of sas) {
      // What a takeover of its own has left open is no account of this term.
      if (leftOpen.has(record)) continue;
      const { oseq, oseqHi, seq, seqHi, packets } = record.counters;
      const now = { term, oseq: oseqHi * TWO_32 + oseq, seq: seqHi * TWO_32 + seq, packets };
      const before = this.#records.get(record);
      this.#records.set(record, now);
      if (before?.term !== term) continue;
      for (const counter of ['oseq', 'seq', 'packets'] as const) {
        if (now[counter] >= before[counter]) continue;
        const key = keyNumber(record.sa);
        const flow = this.#lives.get(key)?.flow;
        const text = `${counter} of SA ${flow} (key ${key}) goes back from ${before[counter]} to ${now[counter]} in the replica of ${name}`;
        this.report('S3', text, flow);
      }
    }
  }

  // --- what nodes say -----------------------------------------------------------------------------------------------------

  onPromoted(gateway: Gateway, report: TakeoverReport): void {
    if (report.kind === 'none') return;
    if (!this.#fencing) return;
    for (const sa of gateway.daemon?.state.sas ?? []) {
      const key = keyNumber(sa.sa);
      const life = this.#lives.get(key);
      if (life === undefined) continue;
      const { skipped, closed, opened } = this.#of(key);
      if (opened !== `${gateway.name} in term ${report.term}`) continue;
      this.lossBound += life.plan.direction === 'in' && life.plan.window !== 'none' ? Math.max(0, closed) : 0;
      if (skipped > report.skipMax)
        this.report('S7', `SA ${life.flow} skips ${skipped} numbers, the report says ${report.skipMax}`, life.flow);
      if (closed > report.closedMax)
        this.report(
          'S7',
          `SA ${life.flow} is closed for ${closed} numbers, the report says ${report.closedMax}`,
          life.flow,
        );
    }
  }

  /** S6. */
  onSaid(gateway: Gateway, text: string): void {
    if (SECRET.test(text)) this.report('S6', `${gateway.name} says a key: ${text.slice(0, 80)}`);
  }

  onStatus(gateway: Gateway): void {
    const { daemon } = gateway;
    if (daemon === undefined) return;
    const about = { kernel: 'emulated', via: 'netlink', nowMs: daemon.nowMs, sas: true };
    this.onSaid(gateway, JSON.stringify(statusOf(daemon.state, about)));
  }
}
