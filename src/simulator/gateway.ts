import type { VirtualClock } from '../kernel/emulated/index.ts';
import type { ReplicaSettings } from '../replica/index.ts';
import { Daemon, type DaemonTimes, type Watch } from './daemon.ts';
import { Disk } from './disk.ts';
import { MachineClock } from './machine-clock.ts';
import type { Random } from './random.ts';
import type { Schedule } from './schedule.ts';
import { SteppedKernel } from './stepped-kernel.ts';
import type { Wire } from './wire.ts';

/** What a gateway shares with the others. */
export interface Site {
  readonly clock: VirtualClock;
  readonly schedule: Schedule;
  /** From this node to each other one. */
  wires(node: string): ReadonlyMap<string, Wire>;
  readonly times: DaemonTimes;
  readonly release: string;
  settings(node: string): ReplicaSettings;
  watch(gateway: Gateway): Watch;
  onStored(gateway: Gateway, term: number): void;
  /** The shared addresses come to a gateway, or leave it. */
  move(gateway: Gateway, name: 'claim' | 'release'): void;
}

export type HookFault = 'fails undone' | 'fails done';

/** How long a daemon's events wait until it is scheduled, and a hook takes, at the most. */
const WAKE_MS_MAX = 1;
const HOOK_MS_MAX = 30;

/** One machine: a kernel that forwards, a disk, and a daemon, each of which can fail by itself. */
export class Gateway {
  readonly name: string;
  readonly disk: Disk;
  readonly clock: MachineClock;
  on = true;
  bootId = 1;
  /** Nothing that it sends arrives anywhere, and nothing arrives at it, except on the link. */
  fenced = false;
  kernel: SteppedKernel;
  daemon: Daemon | undefined;
  hookFault: HookFault | undefined;
  readonly #site: Site;
  readonly #random: Random;
  readonly #first: 'active' | 'standby';

  constructor(site: Site, name: string, first: 'active' | 'standby', random: Random) {
    this.#site = site;
    this.name = name;
    this.#first = first;
    this.#random = random;
    const upMs = 1000 * random.between(0, 100_000) + random.between(0, 999);
    this.clock = new MachineClock(site.clock, upMs, random.between(-5_000, 5_000));
    this.disk = new Disk(site.schedule, random, ({ term }) => site.onStored(this, term));
    this.kernel = this.#newKernel();
  }

  /** Its kernel may forward: an active reigns here, whether its daemon runs or not. */
  get reigns(): boolean {
    if (!this.on) return false;
    const { daemon, disk, bootId } = this;
    if (daemon?.alive && daemon.started) return daemon.state.role === 'active';
    return disk.stored?.role === 'active' && disk.stored.bootId === bootId;
  }

  startDaemon(): void {
    if (!this.on || this.daemon?.alive) return;
    const { schedule, times } = this.#site;
    const around = {
      schedule,
      wires: this.#site.wires(this.name),
      times,
      random: this.#random,
      kernel: this.kernel,
      disk: this.disk,
      bootId: this.bootId,
      realtimeMs: () => this.clock.realtimeMs(),
      runHook: (name: 'claim' | 'release', done: (failure: string | undefined) => void) => this.#runHook(name, done),
      watch: this.#site.watch(this),
    };
    this.daemon = new Daemon(around, this.#site.settings(this.name), this.#first);
  }

  /** The daemon is gone; its kernel goes on. */
  killDaemon(): void {
    this.daemon?.die();
    this.daemon = undefined;
  }

  /** Kernel and SAs are gone. */
  powerOff(): void {
    if (!this.on) return;
    this.daemon?.die(true);
    this.daemon = undefined;
    this.on = false;
    this.kernel = this.#newKernel();
    this.#site.move(this, 'release');
  }

  powerOn(): void {
    if (this.on) return;
    this.on = true;
    this.bootId++;
    this.fenced = false;
  }

  #newKernel(): SteppedKernel {
    const { schedule, release } = this.#site;
    const later = (run: () => void): void =>
      schedule.after(this.#random.between(1, 16 * WAKE_MS_MAX) / 16, () => this.daemon?.run(run));
    return new SteppedKernel(this.clock, { release, later });
  }

  #runHook(name: 'claim' | 'release', done: (failure: string | undefined) => void): void {
    const { bootId } = this;
    this.#site.schedule.after(this.#random.between(1, HOOK_MS_MAX), () => {
      // A program goes on when the daemon that has started it is gone.
      if (!this.on || this.bootId !== bootId) return;
      const fault = this.hookFault;
      this.hookFault = undefined;
      if (fault !== 'fails undone') this.#site.move(this, name);
      done(fault === undefined ? undefined : 'status 1');
    });
  }
}
