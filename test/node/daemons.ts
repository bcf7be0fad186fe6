import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Kernel } from '../../src/kernel/index.ts';
import { callControl, checkHooks, initCluster, readConfig, type Status, startNode } from '../../src/node/index.ts';
import { freePort } from '../link/peers.ts';

/** Real nodes over loopback TLS, on any kernel. */

/** More than a busy machine takes for anything that these tests wait for. */
const WAIT_MS = 60_000;
/** For tests with these nodes: longer than any wait in them. */
export const TEST_TIMEOUT_MS = 2 * WAIT_MS;
/** Asking often enough to be quick, seldom enough to leave the processor to the daemons. */
const ASK_MS = 10;

/** Nodes of a cluster; a pair has the first two. */
type Name = 'a' | 'b' | 'c';

/**
 * Settings of the nodes, unless a test says otherwise. No link is lost, no hook killed and no handover given up because the machine is busy;
 * a link that is closed is noticed at once all the same.
 */
const SETTINGS = {
  link: { ping_ms: 20, timeout_ms: 20_000 },
  hooks: { timeout_ms: WAIT_MS },
  takeover: { handover_timeout_ms: WAIT_MS },
} as const;

interface ClusterOptions {
  readonly names?: readonly Name[];
  readonly via?: 'netlink' | 'pfkey';
}

export class Cluster implements AsyncDisposable {
  readonly directory: string;
  readonly port: number;
  readonly lines: Record<Name, { level: number; msg: string }[]> = { a: [], b: [], c: [] };
  readonly nodes: Partial<Record<Name, Awaited<ReturnType<typeof startNode>>>> = {};

  private constructor(directory: string, port: number) {
    this.directory = directory;
    this.port = port;
  }

  static async make({ names = ['a', 'b'], via = 'netlink' }: ClusterOptions = {}): Promise<Cluster> {
    const directory = await mkdtemp(join(tmpdir(), 'xfrmsync-node-'));
    const port = await freePort();
    const nodes: { name: Name; address: string; port?: number }[] = [];
    // Of a pair one node listens, of more each but the last.
    for (const name of names)
      nodes.push({ name, address: '127.0.0.1', ...(names.length > 2 ? { port: await freePort() } : {}) });
    await initCluster({ directory, cluster: 'test', nodes, port });
    const cluster = new Cluster(directory, port);
    for (const name of names) await cluster.set(name, ...Object.entries(SETTINGS).flat());
    if (via !== 'netlink') for (const name of names) await cluster.set(name, 'kernel', { type: 'emulated', via });
    return cluster;
  }

  file(name: Name, file = 'xfrmsync.toml'): string {
    return join(this.directory, name, file);
  }

  /** Tables and keys to put in. */
  async set(name: Name, ...changes: (string | Record<string, unknown>)[]): Promise<void> {
    let text = await readFile(this.file(name), 'utf8');
    for (let i = 0; i < changes.length; i += 2) {
      const table = `[${changes[i]}]\n`;
      if (!text.includes(table)) text += `\n${table}`;
      for (const [key, value] of Object.entries(changes[i + 1] ?? {})) {
        const line = `${key} = ${JSON.stringify(value)}\n`;
        const [before, after] = text.split(table) as [string, string];
        const end = after.search(/^\[/m);
        const own = (end < 0 ? after : after.slice(0, end)).replace(new RegExp(`^${key} = .*\n`, 'm'), '');
        text = before + table + line + own + (end < 0 ? '' : after.slice(end));
      }
    }
    await writeFile(this.file(name), text);
  }

  async start(name: Name, kernel: Kernel): Promise<void> {
    const config = await readConfig(this.file(name));
    await checkHooks(config);
    const log = pino({ level: 'debug' }, { write: (line) => void this.lines[name].push(JSON.parse(line)) });
    this.nodes[name] = await startNode(config, { kernel }, log, '0.0.0');
  }

  async stop(name: Name): Promise<void> {
    await this.nodes[name]?.stop();
    delete this.nodes[name];
  }

  /** As SIGTERM does. */
  async resign(name: Name): Promise<void> {
    await this.nodes[name]?.stop({ resign: true });
    delete this.nodes[name];
  }

  control(name: Name, request: Parameters<typeof callControl>[1]): Promise<object> {
    return callControl(this.file(name, 'control.sock'), request, WAIT_MS);
  }

  async status(name: Name, sas = false): Promise<Status> {
    return (await this.control(name, { command: 'status', sas })) as Status;
  }

  async until(name: Name, right: (status: Status) => boolean): Promise<Status> {
    let status: Status | undefined;
    await this.when(
      async () => {
        status = await this.status(name);
        return right(status);
      },
      () => `${name} does not become what it should: ${JSON.stringify(status)}`,
    );
    return status as unknown as Status;
  }

  /** Until the condition holds. Gives up before the test's own time-out, which would leave the nodes running. */
  async when(right: () => boolean | Promise<boolean>, what: () => string = () => `not so: ${right}`): Promise<void> {
    const deadline = performance.now() + WAIT_MS;
    while (!(await right())) {
      if (performance.now() > deadline) {
        const lines = (['a', 'b', 'c'] as const).map((name) =>
          this.lines[name].map(({ msg }) => `${name}: ${msg}`).join('\n'),
        );
        throw new Error([`after ${WAIT_MS} ms ${what()}`, ...lines].join('\n'));
      }
      await new Promise((resolve) => setTimeout(resolve, ASK_MS));
    }
  }

  said(name: Name, text: string): string[] {
    return this.lines[name].map(({ msg }) => msg).filter((msg) => msg.includes(text));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of ['a', 'b', 'c'] as const) await this.stop(name);
    await rm(this.directory, { recursive: true, force: true });
  }
}
