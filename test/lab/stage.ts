/** The running lab, inside the guest: world, SAs, daemons, applications and attacker, and how one waits while all of them go on. */
import { mkdirSync } from 'node:fs';
import { type Attacker, startAttacker } from './attacker.ts';
import { Daemons, peerSeen } from './daemons.ts';
import { Expectations } from './expectations.ts';
import type { States } from './kept.ts';
import { hookFile } from './lab.ts';
import { type Connection, policyLines, stateLines } from './sas.ts';
import { parseStates } from './state-text.ts';
import { TICK_MS, Traffic, type TrafficOptions } from './traffic.ts';
import { buildWorld, claim, GATEWAYS, type Gateway, ip, ipBatch } from './world.ts';

export interface StageOptions {
  /** The CLI's JavaScript file. */
  program: string;
  connections: readonly Connection[];
  traffic: TrafficOptions;
  /** SAs and policies come from elsewhere: `connections` say what applications use, and `adopt` tells their SPIs. */
  withoutSas?: boolean;
  progress: (text: string) => void;
}

/** No arrival for so long: nothing is under way any more. */
const QUIET_MS = 400;
const QUIET_WAIT_MAX_MS = 10_000;
const SYNC_TIMEOUT_MS = 60_000;
const SYNC_POLL_MS = 200;
const DIRECTORY = '/run/xfrmsync-lab';

export class Stage {
  readonly daemons: Daemons;
  readonly expectations: Expectations;
  readonly startMs = performance.now();
  readonly #options: StageOptions;
  #connections: readonly Connection[];
  #traffic!: Traffic;
  #attacker!: Attacker;
  #timer: NodeJS.Timeout | undefined;
  #fault: unknown;

  constructor(options: StageOptions) {
    this.#options = options;
    this.#connections = options.connections;
    this.daemons = new Daemons(options.program, DIRECTORY);
    this.expectations = new Expectations((text) => this.say(text));
  }

  get connections(): readonly Connection[] {
    return this.#connections;
  }
  get traffic(): Traffic {
    return this.#traffic;
  }
  get attacker(): Attacker {
    return this.#attacker;
  }
  get sas(): number {
    return this.#connections.length * 2;
  }

  /** All machines, the SAs and policies of gwa, which has the shared addresses, and of the peer. No daemon runs, nothing is sent. */
  build(): void {
    const connections = this.#connections;
    const tunnels = (family: 4 | 6) =>
      connections.filter((c) => c.mode === 'tunnel' && c.family === family).map((c) => c.n);
    this.say(`building the world: ${this.sas} SAs`);
    buildWorld({ 4: tunnels(4), 6: tunnels(6) });
    if (!this.#options.withoutSas) {
      for (const host of ['gwa', 'peer'] as const)
        ipBatch(host, [...stateLines(connections, host), ...policyLines(connections, host)]);
    }
    claim('gwa', hookFile('claim'));
    this.#traffic = new Traffic(connections, this.#options.traffic);
    this.#attacker = startAttacker();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    mkdirSync(DIRECTORY, { recursive: true, mode: 0o700 });
  }

  /**
   * Other SAs in the place of all that are there, on the active gateway and the peer: new SPIs and keys, an empty recording, applications
   * that count from 0. The connections must be of the same kind and number, as policies and addresses stay.
   */
  renew(active: Gateway, connections: readonly Connection[]): void {
    this.#connections = connections;
    for (const host of [active, 'peer'] as const)
      ipBatch(host, ['xfrm state flush', ...stateLines(connections, host === 'peer' ? 'peer' : 'gwa')]);
    this.#traffic.close();
    this.#attacker.close();
    this.#traffic = new Traffic(connections, this.#options.traffic);
    this.#attacker = startAttacker();
  }

  /** The SAs that are or were there, of whatever generation; traffic goes on as it is. */
  adopt(connections: readonly Connection[]): void {
    this.#connections = connections;
  }

  #tick(): void {
    try {
      this.#attacker.poll(this.#traffic.nowMs());
      this.#traffic.tick();
    } catch (error) {
      this.#fault ??= error;
    }
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    await this.daemons.stop();
    this.#attacker?.close();
  }

  async states(namespace: Gateway | 'peer'): Promise<States> {
    return parseStates(await ip(namespace, ['-s', 'xfrm', 'state']));
  }

  async standbyComplete(gateway: Gateway): Promise<void> {
    // Asking the kernel costs a fiftieth of asking the daemon, whose answer then counts.
    const deadline = performance.now() + SYNC_TIMEOUT_MS;
    while (performance.now() < deadline && !(await ip(gateway, ['xfrm', 'state', 'count'])).includes(` ${this.sas}`)) {
      await this.pass(SYNC_POLL_MS);
    }
    const status = await this.daemons.until(
      gateway,
      'a complete standby',
      (s) => s.role === 'standby' && peerSeen(s) && s.complete && s.sas === this.sas,
    );
    this.say(`${gateway} is a complete standby with ${status.sas} SAs, term ${status.term}`);
  }

  /** Time goes by, and traffic flows if it was started. @throws what went wrong in the applications or the recording */
  async pass(ms: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, ms));
    if (this.#fault !== undefined) throw this.#fault;
  }

  /** Until nothing is under way any more. */
  async quiet(): Promise<void> {
    const deadline = performance.now() + QUIET_WAIT_MAX_MS;
    const start = this.#traffic.nowMs();
    const since = () => Math.min(this.#traffic.quietMs(), this.#traffic.nowMs() - start);
    while (since() < QUIET_MS && performance.now() < deadline) await this.pass(TICK_MS);
  }

  async waitFor(condition: () => boolean, what: string, timeoutMs = 60_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!condition()) {
      if (performance.now() > deadline) throw new Error(`after ${timeoutMs / 1000} s it is not so that ${what}`);
      await this.pass(TICK_MS / 2);
    }
  }

  check(name: string, ok: boolean, detail: string): void {
    this.expectations.check(name, ok, detail);
  }

  say(text: string): void {
    this.#options.progress(`${((performance.now() - this.startMs) / 1000).toFixed(1).padStart(6)} s  ${text}`);
  }

  lastWords(): void {
    for (const gateway of GATEWAYS) this.say(`the daemon on ${gateway} said last:\n${this.daemons.lastWords(gateway)}`);
  }
}
