import { type Policy, type SaId, usersaId } from '../../client/index.ts';
import { allRules, type Rules } from '../rules.ts';
import type { Counters } from '../sa/counters.ts';
import type { SaRecord } from '../sa/record.ts';
import { SaTable } from '../sa/table.ts';
import type { Durable, Effect, Purpose, ReadPurpose, TakeoverReport, Write } from './effects.ts';
import type { FrameBody, Role } from './frames.ts';
import { newPeer, type Peer } from './peer.ts';
import type { ReplicaSettings } from './settings.ts';
import { type Account, type Ask, type Held, newHeld, type Phase, type Takeover, type Used } from './under-way.ts';

/** Full readings asked for at a time: one that is being carried out and one that sees what changed after it began. */
const RESYNCS_MAX = 2;
/** Changes remembered while readings are under way, some megabytes. */
const MEANWHILE_MAX = 100_000;

/** CONFIG_HZ of Linux goes from 100 to 1200; below it on machines that are no gateways. */
const HZ_MIN = 100;
const HZ_MAX = 1200;

/** All that a node's replica knows, and the effects it wants. The modules beside this one are functions over it. */
export class State {
  readonly settings: ReplicaSettings;
  readonly rules: Rules;
  readonly sas = new SaTable();
  readonly policies = new Map<string, Policy>();
  role: Role = 'standby';
  term = 0;
  phase: Phase = 'starting';
  /** Standby: a whole account of the active has been received, and nobody has reigned since (S5). */
  complete = false;
  /** Standby: which whole account that was, also when somebody has reigned since. */
  account: Account | undefined;
  /** The latest term in which another node may have reigned. */
  reignTerm = 0;
  /** The latest term that this node has agreed to, or has wanted to begin. */
  promised = 0;
  /** Standby: the vote that this node has given last, and what held before. */
  vote: { readonly peer: Peer; readonly term: number; readonly before: number } | undefined;
  /** The latest term that this node has wanted to begin, and has not. */
  withdrawn = 0;
  readonly peers: ReadonlyMap<string, Peer>;
  /** With whom a handover is under way, or was the last one. */
  partner: Peer | undefined;
  /** Standby: all that the active knew at this time, by this node's clock, has arrived. */
  provenMs: number | undefined;
  readonly counts = {
    aevents: 0,
    updatesSent: 0,
    updatesReceived: 0,
    swept: 0,
    overruns: 0,
    resyncs: 0,
    staleFrames: 0,
    writesFailed: 0,
    /** SAs of which two nodes have used the same numbers. */
    overlaps: 0,
  };

  effects: Effect[] = [];
  /** Records whose counters moved since they were sent (active) or written to the kernel (standby). */
  dirty: SaRecord[] = [];
  nextHandle = 1;
  /** Hooks that were asked for and have not ended. */
  hooksPending = 0;
  /** Active: the shared addresses have been taken. */
  claimed = false;
  /** Active since the start: when they are taken even if another node is not heard of. */
  claimByMs = 0;
  takeover: Takeover | undefined;
  /** Role and term are not on disk as they are. */
  unstored = false;
  /** Standby: this daemon's last life has died in a takeover, and SAs may be open. */
  unfinished = false;
  /** How the takeover went; told once the addresses are claimed. */
  report: TakeoverReport | undefined;
  /** Active: what the counters were when the node was last read during a handover, and until when quiet is waited for. */
  drain:
    | {
        readonly untilMs: number;
        before: Map<number, Counters> | undefined;
        shuts: number;
        readonly shut: Set<SaRecord>;
      }
    | undefined;
  /** Active: why the handover under way is not to be finished. */
  abandoned: string | undefined;
  /** It has stepped down and may still have the addresses: nothing is let in that the new active may have let in (S2). */
  keepsShut = false;
  /** This node has just handed over, and the other one has not said yet that it is active. */
  resigned = false;
  /** The operator of this node wants it demoted. */
  demoteAsked = false;
  /** The promotion under way was offered by the active, not asked for here. */
  offered = false;
  /** Standby: what the active has deleted lately. */
  held: Held = newHeld();
  /** Standby: what the account under way has not named yet. */
  staleSas: Set<SaRecord> | undefined;
  stalePolicies: Set<string> | undefined;
  /** Active: grants that were asked for and are not acknowledged yet, by the number of the frame; and SAs for which one is to be asked for. */
  readonly asked = new Map<number, Ask>();
  readonly wanting = new Set<SaRecord>();
  /** Active: SAs with a ceiling of which the kernel would not say that they receive. */
  readonly unheard = new Set<SaRecord>();
  /**
   * Active: SAs that were read in place of others; what events say of their identity may be older, until the event socket was read to its
   * end. And how far they have come, if it is not.
   */
  readonly unsure = new Map<SaRecord, number>();
  /** Standby: SAs that a takeover of this node has left open. Their numbers are its own: any account takes their place. */
  readonly leftOpen = new Set<SaRecord>();
  nextAsk = 1;
  /** Standby: grants of SAs that the account under way has not named yet. */
  readonly earlyGrants = new Map<number, number>();
  /** The time of day when this node's own clock was at 0; undefined: nobody has said. */
  epochMs: number | undefined;
  /** Standby: what this node has used while it was active beside the other one, until that one has been told. */
  used: Used | undefined;
  /** Active: its kernel is being read to compare what others have used. */
  comparing = false;
  /** Limits of key managers that ceilings hide. */
  readonly keptLimits = new Map<string, bigint>();
  /** Active: said once while no standby is there that ceilings will be reached. */
  warnedOfCeilings = false;
  /** Active: SAs that are not known to be silent. */
  readonly awake = new Set<SaRecord>();
  /** Active: where the sweep is, until when it has come, and how many SAs it may read. */
  sweep: { rest: Iterator<SaRecord>; untilMs: number; credit: number } | undefined;
  /** Active: SAs whose thresholds may have to be set, or are to be read. */
  readonly adapting = new Set<SaRecord>();
  readonly thresholdsDue = new Set<SaRecord>();
  /** The HZ of this node's kernel, as far as it is known: within these. */
  readonly hz: { low: number; high: number };
  /** Readings of the whole kernel that are asked for and have not come: until then the account may lack what events did not say. */
  resyncsPending = 0;
  /** Readings of any kind under way, and what events said meanwhile: a reading that began before them must not undo them (S3). */
  readsPending = 0;
  readonly goneMeanwhile = new Set<string>();
  readonly newMeanwhile = new Set<string>();
  /** Events were lost while readings were under way: what was said meanwhile can be older than what was read. */
  lostMeanwhile = false;
  /** A reading was not followed because of what events said meanwhile. */
  doubted = false;

  constructor(settings: ReplicaSettings) {
    this.settings = settings;
    this.peers = new Map(settings.peers.map((name, i) => [name, newPeer(name, i)]));
    this.rules = { ...allRules, ...settings.rules };
    this.hz = { low: settings.hz ?? HZ_MIN, high: settings.hz ?? HZ_MAX };
  }

  /** Nodes that have said hello on a link that is up. */
  get present(): Peer[] {
    return [...this.peers.values()].filter(({ hello }) => hello !== undefined);
  }

  /** Standbys that get every change. */
  get standbys(): Peer[] {
    return [...this.peers.values()].filter(({ streaming }) => streaming);
  }

  /** A node that is present and active. Of several the one of the newest term, which the others have to learn. */
  get reigning(): Present | undefined {
    let reigning: Present | undefined;
    for (const peer of this.present)
      if (isActive(peer) && (reigning === undefined || isNewer(peer, reigning))) reigning = peer;
    return reigning;
  }

  /** Nodes of the cluster that are more than half of it. */
  get majority(): number {
    return Math.floor((this.peers.size + 1) / 2) + 1;
  }

  /** Standbys that may take over with what they have been told by this node: outbound numbers are used only as far as they know. */
  get bound(): Peer[] {
    return [...this.peers.values()].filter(({ bound }) => bound);
  }

  touch(record: SaRecord): void {
    if (record.dirty) return;
    record.dirty = true;
    this.dirty.push(record);
  }

  readSa(id: SaId, handle: number): void {
    const { mark } = id;
    const request = { kind: 'GETSA', body: usersaId(id), attributes: mark === undefined ? {} : { mark } } as const;
    this.readsPending++;
    this.emit({ type: 'readSa', handle, request });
  }

  read(purpose: ReadPurpose): void {
    // One that is under way may have passed what changed now; of those that wait, one is enough.
    if (purpose === 'resync' && this.resyncsPending === RESYNCS_MAX) return;
    if (purpose === 'resync') this.resyncsPending++;
    this.readsPending++;
    this.emit({ type: 'read', purpose });
  }

  readDone(): void {
    if (--this.readsPending > 0) return;
    this.goneMeanwhile.clear();
    this.newMeanwhile.clear();
    // An SA that came back, or went, with the lost events: only a reading that begins now can tell.
    const again = this.lostMeanwhile && this.doubted;
    this.lostMeanwhile = false;
    this.doubted = false;
    if (again && this.role === 'active') this.read('resync');
  }

  /** Whether events said that this is gone, whatever a reading has. */
  isGoneMeanwhile(key: string): boolean {
    return this.#noted(this.goneMeanwhile, key);
  }

  /** Whether events said that this is there, though a reading does not have it. */
  isNewMeanwhile(key: string): boolean {
    return this.#noted(this.newMeanwhile, key);
  }

  #noted(keys: ReadonlySet<string>, key: string): boolean {
    const noted = this.rules.generations && keys.has(key);
    this.doubted ||= noted;
    return noted;
  }

  /** An event said that something is there, or gone. */
  noteEvent(key: string, isThere: boolean): void {
    if (this.readsPending === 0) return;
    const [to, from] = isThere ? [this.newMeanwhile, this.goneMeanwhile] : [this.goneMeanwhile, this.newMeanwhile];
    from.delete(key);
    to.add(key);
    if (to.size <= MEANWHILE_MAX) return;
    // Too much happens at once to remember it: read once more instead.
    to.clear();
    this.read('resync');
  }

  /**
   * An event said that something is there and did not show it, so that it is read after the readings under way: what they have of it may be
   * old, and that it went before counts no more.
   */
  noteNamed(key: string): void {
    this.goneMeanwhile.delete(key);
  }

  persist(durable: Omit<Durable, 'promised'>): void {
    const { promised } = this;
    this.emit({ type: 'persist', durable: promised > durable.term ? { ...durable, promised } : durable });
  }

  /** Hooks run one after the other; until they have, who has the addresses is not settled. */
  hook(name: 'claim' | 'release', from?: string): void {
    this.hooksPending++;
    this.emit({ type: 'hook', name, ...(from === undefined ? {} : { from }) });
  }

  write(writes: readonly Write[]): void {
    if (writes.length > 0) this.emit({ type: 'write', writes });
  }

  send(to: Peer | readonly Peer[], body: FrameBody): void {
    const peers = Array.isArray(to) ? (to as readonly Peer[]) : [to as Peer];
    if (peers.length === 0) return;
    this.emit({ type: 'send', to: peers.map(({ name }) => name), frame: { ...body, term: this.term } });
  }

  /** To all standbys that get every change. */
  tell(body: FrameBody): void {
    this.send(this.standbys, body);
  }

  sendHello(to?: Peer): void {
    const { cluster, node, version, littleEndian } = this.settings;
    const linked = [...this.peers.values()].filter((peer) => peer.linked);
    this.send(to ?? linked, { type: 'hello', cluster, node, version, littleEndian, role: this.role });
  }

  refuse(reason: string): void {
    if (this.offered && this.partner) this.send(this.partner, { type: 'handoverRefused', reason });
    else this.emit({ type: 'refused', reason });
    this.offered = false;
  }

  log(level: 'info' | 'warn' | 'error', text: string, fields?: object): void {
    this.emit({ type: 'log', level, text, ...(fields === undefined ? {} : { fields }) });
  }

  emit(...effects: Effect[]): void {
    this.effects.push(...effects);
  }
}

type Present = Peer & { readonly hello: NonNullable<Peer['hello']> };

const isActive = (peer: Peer): peer is Present => peer.hello?.role === 'active';

const isNewer = (one: Present, other: Present): boolean =>
  one.hello.term > other.hello.term || (one.hello.term === other.hello.term && one.name < other.name);

export const write = (op: Purpose['op'], handle: number, request: Write['request']): Write => ({
  request,
  purpose: { op, handle },
});
