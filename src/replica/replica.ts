import { type Result, type Sa, type SaId, saIdOf } from '../client/index.ts';
import type { AnyXfrmMessage } from '../xfrm/index.ts';
import {
  adopt,
  catchUp,
  drop,
  isOutdated,
  onAevents,
  onPolicyGone,
  onReadThresholds,
  putPolicy,
  putSa,
  sendCounters,
} from './active/account.ts';
import { adapt, readThresholdsDue, restoreThresholds } from './active/adapt.ts';
import {
  askForGrants,
  canRaise,
  forgetAsked,
  onSoftExpire,
  removeLeftCeilings,
  unbind,
  warnOfCeilings,
} from './active/grants.ts';
import { noteMove } from './active/quiet.ts';
import { onReadCounters, sweep } from './active/sweep.ts';
import { onOverlapRead, onUsedRead } from './active/used.ts';
import { type DryRun, dryRun } from './dry-run.ts';
import { onPeerFrame } from './peer-frames.ts';
import { goOn, handOver, onDrained, onReleased, onResigned } from './reign/handover.ts';
import { abandonHandover, demote, dismiss, promote, resync, switchover } from './reign/operator.ts';
import { claim, onHello } from './reign/reign.ts';
import { becomeActive, onOpened, onTermStored, open } from './reign/takeover.ts';
import { askForVotes, countVotes, onVoteStored, onWithdrawn } from './reign/votes.ts';
import { countersOf, isParked } from './sa/counters.ts';
import { policyKey } from './sa/install.ts';
import type { Thresholds } from './sa/record.ts';
import { type Aevents, saKey } from './sa/table.ts';
import { notePong } from './sa/told.ts';
import { forgetPings, pingOf } from './standby/clock.ts';
import { sortOutDeleted } from './standby/held.ts';
import { applyCounters, onCollision, reconcile } from './standby/mirror.ts';
import { shutUnfinished } from './standby/unfinished.ts';
import type { Durable, Effect, Reading, ReadPurpose, Write } from './state/effects.ts';
import type { Frame } from './state/frames.ts';
import type { Peer } from './state/peer.ts';
import type { ReplicaSettings } from './state/settings.ts';
import { State } from './state/state.ts';
import { onWritten } from './written.ts';

/** Numbers of `grants` frames in a life of the daemon: those of a later one are higher. */
const LIFE = 2 ** 32;

/**
 * The replica of one node: SAs, policies and counters, role and term, and what to do about everything that happens. No I/O and no
 * clock: inputs are methods, `nowMs` is any clock that only goes forward, and what is to be done is collected by `take`.
 *
 * Its floors, each of which knows those before it alone: `sa/` is one SA, `state/` what the node knows, `active/` and `standby/` the two roles,
 * `reign/` who has which (docs/architecture.md).
 */
export class Replica {
  /** To look at. Whoever changes it from outside changes what the node believes. */
  readonly state: State;

  constructor(settings: ReplicaSettings) {
    this.state = new State(settings);
  }

  /** What is to be done, in order. */
  take(): Effect[] {
    const { effects } = this.state;
    this.state.effects = [];
    return effects;
  }

  /** Something waits for `flush`. */
  get hasDirty(): boolean {
    return this.state.dirty.length > 0 || (this.state.wanting.size > 0 && canRaise(this.state));
  }

  /** `life`: how often this node's daemon has started before, if its disk counts that. */
  start(
    { term, role, promised = 0, opening }: Durable,
    keptLimits: Iterable<readonly [string, bigint]> = [],
    life = 0,
  ): void {
    for (const [sa, limit] of keptLimits) this.state.keptLimits.set(sa, limit);
    this.state.term = term;
    this.state.role = role;
    this.state.promised = promised;
    this.state.nextAsk = life * LIFE + 1;
    this.state.unfinished = opening === true && role === 'standby';
    this.state.read('start');
  }

  // --- the kernel of this node ----------------------------------------------------------------------------------------

  /** Counters of SAs moved: all that a kernel says at once. The hot path of an active node. */
  onAevents(cursor: Aevents, nowMs: number): void {
    // While SAs are being handed over, readings count and events do not: they show the shut numbers.
    const { role, phase } = this.state;
    if (role === 'active' && phase !== 'handingOver') onAevents(this.state, cursor, nowMs);
  }

  onKernelMessage(message: AnyXfrmMessage, nowMs: number): void {
    const s = this.state;
    const active = s.role === 'active';
    switch (message.kind) {
      case 'NEWSA':
        s.noteEvent(saKey(saIdOf(message)), true);
        // One that was put in parked, by this node before it was active, has moved since.
        if (active && isParked(message, countersOf(message))) s.readSa(saIdOf(message), 0);
        else if (active) putSa(s, message, nowMs);
        break;
      case 'UPDSA':
        // The event shows the request, not the SA (xfrm_user.c:xfrm_add_sa); ask for the SA.
        if (active) s.readSa(saIdOf(message), 0);
        break;
      case 'DELSA':
        this.#onGone(message.body, message.attributes.mark);
        break;
      case 'EXPIRE':
        if (message.body.hard !== 0)
          this.#onGone(saIdOf({ body: message.body.state, attributes: {} }), message.attributes.mark);
        else if (active) onSoftExpire(s, saIdOf({ body: message.body.state, attributes: message.attributes }));
        break;
      case 'NEWPOLICY':
      case 'UPDPOLICY':
        s.noteEvent(policyKey(message), true);
        if (active) putPolicy(s, message);
        break;
      case 'DELPOLICY':
        if (active && !onPolicyGone(s, message)) this.resync();
        break;
      case 'FLUSHSA':
      case 'FLUSHPOLICY':
      case 'POLEXPIRE':
      case 'MIGRATE':
        // A flush does not say what it took, and a migration makes and deletes SAs without a word about them.
        this.onFlushed();
        break;
    }
  }

  /** An event has named an SA and has not shown it, as those of PF_KEY do; `changed`: or it is new. The account reads it. */
  onSaNamed(what: 'changed' | 'gone' | 'softExpired', id: SaId): void {
    const s = this.state;
    const active = s.role === 'active';
    switch (what) {
      case 'changed':
        s.noteNamed(saKey(id));
        if (active) s.readSa(id, 0);
        break;
      case 'gone':
        this.#onGone(id, id.mark);
        break;
      case 'softExpired':
        if (active) onSoftExpire(s, id);
        break;
    }
  }

  /** SAs are gone, and an event has not said which. */
  onFlushed(): void {
    if (this.state.role === 'active') this.resync();
  }

  /** The kernel's timer for an SA was started anew, by whom its thresholds were set: its next packet need not be announced at once. */
  onTimerStarted(id: SaId, nowMs: number): void {
    const s = this.state;
    const record = s.role === 'active' ? s.sas.find(id) : undefined;
    if (record === undefined) return;
    if (record.quiet) s.touch(record);
    noteMove(s, record, nowMs);
  }

  /** Events were lost: read everything anew. */
  onOverrun(): void {
    const s = this.state;
    s.counts.overruns++;
    // A standby's account comes from the active; what its own kernel says matters from the takeover on, which reads it.
    if (s.role !== 'active') return;
    s.log('warn', 'events of the kernel were lost (receive buffer overrun): reading all SAs anew');
    this.resync();
    s.lostMeanwhile = true;
  }

  onRead(purpose: ReadPurpose, reading: Reading, nowMs: number): void {
    const s = this.state;
    switch (purpose) {
      case 'start':
        s.phase = 'steady';
        s.claimByMs = nowMs + s.settings.claimAfterMs;
        if (s.role === 'active') adopt(s, reading, nowMs);
        else removeLeftCeilings(s, reading);
        if (s.unfinished) shutUnfinished(s, reading, nowMs);
        s.sendHello();
        for (const peer of s.present) if (peer.hello) onHello(s, peer, peer.hello);
        s.log('info', `started as ${s.role}, term ${s.term}`, { sas: s.sas.size, policies: s.policies.size });
        break;
      case 'resync':
        s.resyncsPending--;
        if (s.role === 'active' && s.phase !== 'handingOver') adopt(s, reading, nowMs);
        break;
      case 'reconcile':
        if (s.role === 'standby') reconcile(s, reading);
        break;
      case 'takeover':
        open(s, reading);
        break;
      case 'drain':
        onDrained(s, reading, nowMs);
        break;
      case 'final':
        handOver(s, reading, nowMs);
        break;
      case 'used':
        onUsedRead(s, reading);
        break;
      case 'overlap':
        onOverlapRead(s, reading, nowMs);
        break;
    }
    s.readDone();
  }

  onReadSa(handle: number, sa: Sa | undefined, nowMs: number): void {
    const s = this.state;
    const record = s.sas.byHandle(handle);
    // While SAs are being opened nothing may park them again.
    if (s.role === 'standby' && record !== undefined && s.phase !== 'takingOver') onCollision(s, record, sa);
    else if (s.role === 'active' && sa !== undefined && !isOutdated(s, sa)) putSa(s, sa, nowMs, true);
    s.readDone();
  }

  onReadThresholds(handle: number, thresholds: Thresholds): void {
    if (this.state.role === 'active') onReadThresholds(this.state, handle, thresholds);
  }

  onReadCounters(handle: number, result: Result, nowMs: number): void {
    const s = this.state;
    if (s.role === 'active' && s.phase === 'steady') onReadCounters(s, handle, result, nowMs);
  }

  onWritten(writes: readonly Write[], results: readonly Result[]): void {
    onWritten(this.state, writes, results);
  }

  // --- the other nodes --------------------------------------------------------------------------------------------------

  onConnected(name: string): void {
    const peer = this.#peer(name);
    peer.linked = true;
    forgetPings(peer);
    this.state.sendHello(peer);
  }

  onDisconnected(name: string): void {
    const s = this.state;
    const peer = this.#peer(name);
    const reigned = s.reigning === peer;
    peer.linked = false;
    peer.hello = undefined;
    peer.streaming = false;
    peer.behind.clear();
    peer.rounds.watched = undefined;
    forgetAsked(s);
    forgetPings(peer);
    countVotes(s);
    // Whoever must be available does not wait for a standby that is not there.
    if (s.role === 'active' && s.settings.grants.mode === 'available') unbind(s, peer);
    if (reigned) {
      // What it had named of a new account stays beside what was known before.
      s.staleSas = undefined;
      s.stalePolicies = undefined;
    }
    if (peer !== s.partner) return;
    s.resigned = false;
    this.abandonHandover('the link was lost; run promote again to take over without the other node');
  }

  onFrame(name: string, frame: Frame, nowMs: number): void {
    const s = this.state;
    const peer = this.#peer(name);
    if (frame.type === 'hello') {
      onHello(s, peer, frame);
    } else if (peer.hello === undefined) {
      // Nothing counts before a hello.
    } else if (frame.term < s.term && s.rules.terms) {
      // S4: no effect, and the sender learns the term.
      s.counts.staleFrames++;
      s.sendHello(peer);
    } else if (frame.type === 'bye') {
      s.log('warn', `${name} closed the link: ${frame.reason}`);
    } else {
      onPeerFrame(s, peer, frame, nowMs);
    }
  }

  #peer(name: string): Peer {
    const peer = this.state.peers.get(name);
    if (peer === undefined) throw new Error(`no node ${name} in this cluster`);
    return peer;
  }

  /**
   * Sends the counters that moved since the last call (active), or writes them to the kernel (standby). `takes`: whether the link to a node
   * takes more now; one that does not gets the latest counters by `onWritable`.
   */
  flush(takes?: (peer: string) => boolean): void {
    const s = this.state;
    if (s.role === 'active') {
      sendCounters(s, takes);
      askForGrants(s);
    } else if (s.phase === 'steady' || s.phase === 'awaitingHandover') {
      applyCounters(s);
    } else {
      return;
    }
    for (const record of s.dirty) record.dirty = false;
    s.dirty = [];
  }

  /** The link to this node takes more again. */
  onWritable(name: string): void {
    const peer = this.#peer(name);
    if (peer.streaming && peer.behind.size > 0) catchUp(this.state, peer);
  }

  /** The time of day when the clock of all inputs was at 0, whenever somebody looks: it may be set. Without it clocks are not compared. */
  setTimeOfDay(epochMs: number): void {
    this.state.epochMs = epochMs;
  }

  /** A sign of life beside the effects. */
  ping(name: string, nowMs: number): Frame {
    return { ...pingOf(this.state, this.#peer(name), nowMs), term: this.state.term };
  }

  /** The event socket has been read to its end: everything up to now is said. Not while the account may lack something. */
  answerPing(name: string, timeMs: number, takes?: (peer: string) => boolean): void {
    const s = this.state;
    const peer = this.#peer(name);
    const isUnsure = s.unsure.size > 0;
    s.unsure.clear();
    if (s.role !== 'active' || s.phase !== 'steady' || s.resyncsPending > 0 || !peer.streaming) return;
    if (s.effects.some(({ type }) => type === 'readThresholds' || (isUnsure && type === 'readCounters'))) {
      // Somebody has set thresholds, and what the kernel holds back by them is not known yet, or how far an SA has come: after that.
      s.emit({ type: 'pong', to: name, timeMs });
      return;
    }
    this.flush(takes);
    // What it could not take must arrive before.
    if (peer.behind.size > 0) return;
    s.send(peer, { type: 'pong', timeMs });
    notePong(peer.rounds, timeMs, peer.pingedMs);
  }

  /** From time to time; nodes hear each other at least so often. A standby asks the active how far its account goes. */
  tick(nowMs: number): void {
    const s = this.state;
    for (const peer of s.present) s.send(peer, pingOf(s, peer, nowMs));
    if (s.role === 'active' && s.phase === 'steady') {
      if (nowMs >= s.claimByMs) claim(s);
      readThresholdsDue(s);
      adapt(s, nowMs);
      sweep(s, nowMs);
    }
    // A restart must find what this node is now, not what it was.
    if (s.unstored && s.phase === 'steady') s.persist({ term: s.term, role: s.role });
    if (s.role === 'standby') sortOutDeleted(s, nowMs);
    warnOfCeilings(s);
    countVotes(s, nowMs);
  }

  // --- the operator -------------------------------------------------------------------------------------------------------

  /**
   * Makes this node active: planned if the active is there, a takeover if not. `force` takes over from an active that is there; `restore`
   * brings back what the active has deleted all at once.
   */
  promote(nowMs: number, how: { readonly force: boolean; readonly restore?: boolean }): void {
    promote(this.state, nowMs, how);
  }

  /** A planned switchover or nothing: the active hands over, whichever of the two nodes is told. Never a takeover. */
  switchover(nowMs: number, to?: string): void {
    switchover(this.state, nowMs, to);
  }

  /**
   * Gives up being active: a standby takes over in a planned switchover, `to` or the first one that has everything. Without a standby only
   * with `force`.
   */
  demote(how: { readonly force: boolean }, to?: string): void {
    demote(this.state, how, to);
  }

  /** Standbys that are not connected are gone for good: nobody waits for them. Whoever says so answers for it. */
  dismiss(): void {
    dismiss(this.state);
  }

  /** Reads the kernel anew (active), or asks the active for a whole account (standby). */
  resync(): void {
    resync(this.state);
  }

  /** What was asked of the other node will not come. */
  abandonHandover(reason: string): void {
    abandonHandover(this.state, reason);
  }

  /** What `promote` would do now, with the kernel as `reading` has it. */
  dryRun(reading: Reading, nowMs: number, { force }: { readonly force: boolean }): DryRun {
    return dryRun(this.state, reading, nowMs, force);
  }

  /** This daemon ends. A standby that says so is not waited for; an active leaves thresholds as it found them. */
  resign(): void {
    const s = this.state;
    if (s.role === 'standby' && s.phase === 'steady') s.send(s.present, { type: 'resign' });
    if (s.role === 'active') restoreThresholds(s);
  }

  // --- how effects ended ----------------------------------------------------------------------------------------------------

  onPersisted({ term, role, promised = 0 }: Durable, nowMs: number): void {
    const s = this.state;
    if (s.unstored && term === s.term && role === s.role) {
      s.unstored = false;
      s.log('info', `stored: ${role}, term ${term}`);
    }
    if (s.takeover?.term === term) {
      if (s.takeover.opened) becomeActive(s, s.takeover, nowMs);
      else if (s.rules.durable) onTermStored(s, s.takeover);
    } else if (s.takeover?.term === promised && s.takeover.votes === undefined) askForVotes(s, s.takeover, nowMs);
    else if (s.vote?.term === promised) onVoteStored(s, promised);
    else if (role === 'standby' && s.phase === 'handingOver') onResigned(s, nowMs);
  }

  /** The term could not be stored: what depended on it does not happen. */
  onPersistFailed(reason: string, nowMs: number): void {
    const s = this.state;
    // Said once: it is tried again with each tick.
    if (!s.unstored || s.phase !== 'steady') s.log('error', `cannot store the term: ${reason}`);
    s.unstored = true;
    if (s.vote) onWithdrawn(s, s.vote.term);
    if (s.phase === 'handingOver') goOn(s, `its role cannot be stored (${reason})`);
    if (s.takeover?.opened) {
      s.log('error', 'after a restart this node would be a standby, as long as its role cannot be stored');
      becomeActive(s, s.takeover, nowMs);
    }
    if (s.phase !== 'takingOver') return;
    s.phase = 'steady';
    s.takeover = undefined;
    s.refuse(
      `the new term cannot be stored (${reason}); nothing was changed. Free space or mend the state directory, then promote again`,
    );
  }

  onHook(name: 'claim' | 'release', failure: string | undefined): void {
    this.state.hooksPending--;
    if (failure !== undefined) this.state.log('error', `the ${name} hook failed: ${failure}`);
    const { report } = this.state;
    if (name === 'release') {
      if (failure === undefined) this.#open();
      onReleased(this.state, failure);
    }
    if (name === 'claim' && report !== undefined) this.state.emit({ type: 'promoted', report });
    if (name === 'claim') this.state.report = undefined;
  }

  /** The addresses are given up: inbound windows may be in step with the active's again. */
  #open(): void {
    const s = this.state;
    if (!s.keepsShut) return;
    s.keepsShut = false;
    // Otherwise the account that comes does it.
    if (s.role === 'standby' && s.complete) for (const record of s.sas) s.touch(record);
  }

  onMark(name: 'opened' | 'parked'): void {
    if (name === 'parked') this.state.read('final');
    else onOpened(this.state);
  }

  #onGone(id: Omit<SaId, 'mark'>, mark: SaId['mark'] | undefined): void {
    const s = this.state;
    const whole = mark === undefined ? id : { ...id, mark };
    s.noteEvent(saKey(whole), false);
    const record = s.sas.find(whole);
    if (record === undefined) return;
    if (s.role === 'active') drop(s, record);
    // What goes on a standby is no business of the active. It may be this node's own doing, and the SA put in anew since: look.
    else s.readSa(record.id, record.handle);
  }
}
