import type { Faults } from './faults.ts';
import type { Host } from './host.ts';
import type { Listener } from './listener.ts';
import { PfkeySockets } from './pfkey/sockets.ts';
import { SaTimers } from './sa-timers.ts';
import { Sad } from './sad.ts';
import { Spd } from './spd.ts';
import { defaultSysctls, type Sysctls } from './sysctl.ts';
import { Timer } from './timers.ts';

/** Counters of /proc/net/xfrm_stat that the packet interface can raise. */
export type XfrmStat =
  | 'XfrmInNoStates'
  | 'XfrmInStateProtoError'
  | 'XfrmInStateModeError'
  | 'XfrmInStateSeqError'
  | 'XfrmInStateExpired'
  | 'XfrmInStateMismatch'
  | 'XfrmInStateInvalid'
  | 'XfrmInNoPols'
  | 'XfrmInTmplMismatch'
  | 'XfrmInPolBlock'
  | 'XfrmInStateDirError'
  | 'XfrmAcquireError'
  | 'XfrmOutStateDirError'
  | 'XfrmOutNoStates'
  | 'XfrmOutStateSeqError'
  | 'XfrmOutStateExpired'
  | 'XfrmOutPolBlock'
  | 'XfrmOutPolError'
  | 'XfrmOutStateInvalid';

/** What runs in a namespace without a request. */
export interface Runs {
  replayTimer(slot: number): void;
  lifetimeTimer(slot: number): void;
  /** Whether any PF_KEY socket is registered, whenever that may have changed. */
  pfkeyRegistered(any: boolean): void;
}

/** One network namespace: its databases, sysctls, counters, and the sockets in it. */
export class Namespace {
  readonly host: Host;
  readonly sad = new Sad();
  readonly spd: Spd;
  readonly sysctls: Sysctls = defaultSysctls();
  readonly stats = new Map<XfrmStat, number>();
  readonly sockets = new Map<number, Listener>();
  /** Members of any group, in the order in which they get an event. */
  readonly members = new Set<Listener>();

  /** The PF_KEY sockets. */
  readonly pfkey: PfkeySockets;

  /** What requests are to be refused with, by the wish of a test; undefined: nothing. */
  refusals: Faults<number> | undefined;

  /** A kernel thread that makes the policy tables grow, where it has a CPU of its own. */
  readonly #growth = new Timer(() => this.spd.grow());

  /** The replay timer and the lifetime timer of each SA. */
  readonly replayTimers: SaTimers;
  readonly lifetimeTimers: SaTimers;

  constructor(host: Host, runsIn: (ns: Namespace) => Runs) {
    this.host = host;
    const runs = runsIn(this);
    this.spd = new Spd(host.profile.policyByAge);
    this.pfkey = new PfkeySockets(runs.pfkeyRegistered);
    const now = (): number => host.clock.monotonicMs();
    this.replayTimers = new SaTimers(host.timers, now, 'last armed first', runs.replayTimer);
    this.lifetimeTimers = new SaTimers(host.timers, now, 'first armed first', runs.lifetimeTimer);
  }

  #policiesAreCrowded = false;

  /** What a system call has left to kernel threads: with a single CPU they run when it is through. */
  runThreads(): void {
    if (this.sad.isCrowded) this.sad.growAsTheKernel();
    if (!this.#policiesAreCrowded) return;
    this.#policiesAreCrowded = false;
    this.spd.grow();
  }

  /** A policy came to a crowded direction: the tables grow after the system call, or a moment later. */
  growPolicyTables(): void {
    if (!this.host.profile.smp) this.#policiesAreCrowded = true;
    else if (this.#growth.dueMs === Number.POSITIVE_INFINITY) {
      this.host.timers.arm(this.#growth, this.host.jiffyMs(this.host.jiffies() + 1));
    }
  }

  stat(name: XfrmStat): void {
    this.stats.set(name, (this.stats.get(name) ?? 0) + 1);
  }

  /** Delivers what the host's writer holds to the members of a group here. False: there is none on the whole host. */
  multicast(group: number): boolean {
    const { writer, listeners, memoryPressure } = this.host;
    if (listeners[group] === 0) return false;
    const bit = 1 << (group - 1);
    for (const member of this.members) {
      if ((member.groups & bit) === 0) continue;
      // A copy that cannot be made is an overrun (af_netlink.c:do_one_broadcast).
      if (memoryPressure) member.overrun();
      else member.deliver(writer.bytes, writer.at, group);
    }
    return true;
  }
}
