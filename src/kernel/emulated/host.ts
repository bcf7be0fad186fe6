import { randomUUID } from 'node:crypto';
import { MessageWriter } from './build.ts';
import { type Clock, systemClock } from './clock.ts';
import { PfkeyWriter } from './pfkey/writer.ts';
import { type Profile, type ProfileOptions, profile } from './profile.ts';
import { ReplayNotifier } from './replay-notify.ts';
import { Timers } from './timers.ts';

export interface HostOptions extends ProfileOptions {
  readonly clock?: Clock;
  /** A random unsigned 32-bit number: SPIs out of a range, port ids. */
  readonly random?: () => number;
  /** How a socket hands over later what is not drained: on another turn of the event loop. */
  readonly later?: (run: () => void) => void;
  /** The port id that the first socket of a namespace gets. */
  readonly processId?: number;
}

/** Groups are 1 to 32 (netlink rounds the eight of XFRM up). */
export const GROUP_MAX = 32;

/** One emulated machine: what its network namespaces share. */
export class Host {
  readonly profile: Profile;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: () => number;
  readonly later: (run: () => void) => void;
  readonly processId: number;
  readonly bootId: string = randomUUID();
  /** Members of each group in all namespaces together: netlink keeps one mask of listeners for a protocol. */
  readonly listeners: Uint32Array = new Uint32Array(GROUP_MAX + 1);
  /** Who hears of sequence numbers. */
  readonly replayNotifier = new ReplayNotifier();
  readonly writer: MessageWriter;
  readonly pfkeyWriter = new PfkeyWriter();
  /** Allocations fail: see `EmulatedNamespace.memoryPressure`. */
  memoryPressure = false;
  /** The number of the last ACQUIRE. Netlink and PF_KEY count on their own, but both with each. */
  acquireSeq = 0;
  /** The last reqid that PF_KEY has chosen for a template (af_key.c:gen_reqid). */
  pfkeyReqid = 0x3fff;
  /** The next policy index, without its direction (xfrm_policy.c:xfrm_gen_index). */
  policyIndex = 0;

  constructor(options: HostOptions = {}) {
    this.profile = profile(options);
    this.clock = options.clock ?? systemClock();
    this.timers = new Timers(this.clock);
    this.random = options.random ?? (() => Math.floor(Math.random() * 0x1_0000_0000));
    this.later = options.later ?? ((run) => void setImmediate(run));
    this.processId = options.processId ?? process.pid;
    this.writer = new MessageWriter(this.profile.pad64);
  }

  /** The time of day in seconds, as SAs keep it. */
  seconds(): number {
    return Math.floor(this.clock.realtimeMs() / 1000);
  }

  jiffies(): number {
    return Math.floor((this.clock.monotonicMs() * this.profile.hz) / 1000);
  }

  jiffyMs(jiffy: number): number {
    return Math.ceil((jiffy * 1000) / this.profile.hz);
  }
}
