/** The world of a demo: folder, processes, hosts, and how they are asked. */
import { rm } from 'node:fs/promises';
import { XfrmClient } from '../client/index.ts';
import { unixKernel } from '../kernel/index.ts';
import { type ControlRequest, callControl, type Status } from '../node/index.ts';
import { nowMs } from './clock.ts';
import { freePorts, gatewayOf, NODES, type NodeName, type Ports, pathsOf, type Via, writeConfigs } from './configs.ts';
import { type Connection, installRequests, type Side } from './connections.ts';
import { makeFolder } from './folder.ts';
import { Hosts } from './hosts.ts';
import { PathClient } from './path-client.ts';
import { Processes, programFile } from './processes.ts';
import { Random } from './random.ts';
import type { Stop } from './stop.ts';

export interface WorldOptions {
  /** The CLI's JavaScript file. */
  readonly program: string;
  readonly connections: readonly Connection[];
  readonly ratePps: number;
  readonly via: Via;
  readonly seed: number;
  readonly stop: Stop;
}

type Machine = NodeName | 'peer';
const processName = (machine: Machine): string => (machine === 'peer' ? 'peer' : `gateway-${machine}`);

/** Ports that were free can be taken by others before they are used: then all is started once more, with other ones. */
const ATTEMPTS = 4;
const PORT_TAKEN = /EADDRINUSE/;
const START_MS = 60_000;
/** The hosts have random numbers of their own, whatever else was random before. */
const HOSTS_SEED = 0x686f7374;
const POLL_MS = 25;
/** An answer that the daemon has at hand, on a busy machine. */
const ASK_MS = 20_000;

export class World {
  readonly folder: string;
  readonly hosts: Hosts;
  readonly path: PathClient;
  readonly #options: WorldOptions;
  readonly #processes: Processes;
  #onEnd: (error: Error) => void;

  private constructor(folder: string, hosts: Hosts, path: PathClient, processes: Processes, options: WorldOptions) {
    this.folder = folder;
    this.hosts = hosts;
    this.path = path;
    this.#processes = processes;
    this.#options = options;
    this.#onEnd = (error) => options.stop.now(error);
  }

  /** Everything runs and answers when it returns; there are no SAs yet. */
  static async build(options: WorldOptions): Promise<World> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await World.#try(options);
      } catch (error) {
        if (attempt === ATTEMPTS || !PORT_TAKEN.test((error as Error).message)) throw error;
      }
    }
  }

  static async #try(options: WorldOptions): Promise<World> {
    const folder = await makeFolder();
    let trouble: Error | undefined;
    let built: World | undefined;
    // Until all is up a process that ends is a reason to try again; afterwards it is the end.
    const processes = new Processes(folder, (error) => {
      if (built === undefined) trouble ??= error;
      else built.#onEnd(error);
    });
    let hosts: Hosts | undefined;
    try {
      hosts = await Hosts.open({ ...options, random: new Random(options.seed ^ HOSTS_SEED) });
      const path = new PathClient(processes.start({ name: 'path', file: programFile('path'), args: [folder] }));
      const world = new World(folder, hosts, path, processes, options);
      const ports = await freePorts();
      await writeConfigs(folder, { sas: 2 * options.connections.length, via: options.via }, ports, {
        path: await options.stop.or(path.call('ports')),
        hosts: hosts.ports(),
      });
      await world.#wire(ports);
      for (const machine of ['peer', ...NODES] as const) world.start(machine);
      for (const machine of ['peer', ...NODES] as const) await world.#answers(machine, () => trouble);
      built = world;
      return world;
    } catch (error) {
      await processes.stop();
      hosts?.close();
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  async #wire({ gateways, peer }: Ports): Promise<void> {
    const { a, b } = gateways;
    this.hosts.wire({ gwa: a.inside, gwb: b.inside, peer: peer.inside });
    await this.path.call('wire', { gwa: a.outside, gwb: b.outside, peer: peer.outside });
  }

  start(machine: Machine): void {
    const command = machine === 'peer' ? 'gateway' : 'daemon';
    const args = [command, '-c', pathsOf(this.folder, machine).config];
    this.#processes.start({ name: processName(machine), file: this.#options.program, args });
  }

  kill(machine: Machine): Promise<void> {
    return this.#processes.kill(processName(machine));
  }

  pid(machine: Machine): number | undefined {
    return this.#processes.pid(processName(machine));
  }

  ask(node: NodeName, request: ControlRequest, timeoutMs = ASK_MS): Promise<object> {
    return callControl(pathsOf(this.folder, node).control, request, timeoutMs);
  }

  async status(node: NodeName, sas = false): Promise<Status> {
    return (await this.ask(node, { command: 'status', sas })) as Status;
  }

  /** From now on a process that ends is no fault: `tell` hears of it. */
  mayEnd(tell: (error: Error) => void): void {
    this.#onEnd = tell;
  }

  /** SAs and policies of all connections, as a key manager would install them. */
  async install(machine: Machine): Promise<void> {
    const side: Side = machine === 'peer' ? 'peer' : 'gateway';
    const requests = this.#options.connections.flatMap((connection) => installRequests(connection, side));
    await this.#withKernel(machine, async (client) => {
      const failed = (await client.batch(requests)).find(({ error }) => error !== undefined);
      if (failed?.error) throw new Error(`${processName(machine)} refused an SA or a policy: ${failed.error.message}`);
    });
  }

  /**
   * Packets that the SAs of a machine have refused so far: as replayed, as too late, or as wrongly signed. With extended numbers one below
   * the window is taken for one of the next 2^32, and its signature does not hold (RFC 4303, appendix A2).
   */
  async refused(machine: Machine): Promise<number> {
    const sas = await this.#withKernel(machine, (client) => client.dumpSas());
    return sas.reduce((n, { body: { stats } }) => n + stats.replay + stats.replayWindow + stats.integrityFailed, 0);
  }

  /** Until `right` says yes to the node's status. @throws Error after `limitMs`, with what was awaited and the daemon's last words */
  async until(node: NodeName, what: string, limitMs: number, right: (status: Status) => boolean): Promise<Status> {
    let last = 'no answer';
    const deadline = nowMs() + limitMs;
    while (nowMs() < deadline) {
      try {
        const status = await this.status(node);
        if (right(status)) return status;
        last = statusText(status);
      } catch (error) {
        // Not listening yet.
        last = (error as Error).message;
      }
      await this.#options.stop.sleep(POLL_MS);
    }
    throw new Error(
      `after ${limitMs / 1000} s gateway ${node} is not ${what}: ${last}; it said last:\n${this.#processes.lastWords(processName(node))}`,
    );
  }

  /** Until hosts and path have heard from the gateway. Returns since when. */
  async holds(node: NodeName, limitMs: number): Promise<number> {
    const gateway = gatewayOf(node);
    const deadline = nowMs() + limitMs;
    while (nowMs() < deadline) {
      const { holder, holderSinceMs } = await this.path.call('counts');
      if (holder === gateway && this.hosts.holder === gateway) return Math.max(holderSinceMs, this.hosts.holderSinceMs);
      await this.#options.stop.sleep(POLL_MS / 5);
    }
    throw new Error(
      `after ${limitMs / 1000} s gateway ${node} does not hold the shared addresses; it said last:\n${this.#processes.lastWords(processName(node))}`,
    );
  }

  async close(): Promise<void> {
    this.hosts.close();
    await this.#processes.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #answers(machine: Machine, trouble: () => Error | undefined): Promise<void> {
    const deadline = nowMs() + START_MS;
    let last = '';
    while (nowMs() < deadline) {
      const error = trouble();
      if (error) throw error;
      try {
        await this.#withKernel(machine, (client) => client.sadInfo());
        if (machine !== 'peer') await this.status(machine);
        return;
      } catch (error) {
        last = (error as Error).message;
      }
      await this.#options.stop.sleep(POLL_MS);
    }
    const name = processName(machine);
    throw new Error(
      `${name} does not answer after ${START_MS / 1000} s: ${last}; it said last:\n${this.#processes.lastWords(name)}`,
    );
  }

  async #withKernel<T>(machine: Machine, action: (client: XfrmClient) => Promise<T>): Promise<T> {
    const client = await XfrmClient.open(unixKernel(pathsOf(this.folder, machine).kernel), { timeoutMs: START_MS });
    try {
      return await this.#options.stop.or(action(client));
    } finally {
      client.close();
    }
  }
}

const statusText = ({ role, term, complete, sas, installed, peers }: Status): string =>
  `${role} in term ${term}, ${complete ? 'complete' : 'not complete'}, ${installed} of ${sas} SAs in the kernel, ${peers.every(({ connected }) => connected) ? 'connected' : 'not connected'}`;
