/** The demo: a failover between ordinary processes, measured from outside. */
import { nowMs } from './clock.ts';
import { Demo, type DemoOptions } from './conductor.ts';
import { pathsOf } from './configs.ts';
import { CONNECTIONS_MAX } from './connections.ts';
import { Live, wantsColours } from './live.ts';
import type { DemoResult } from './result.ts';
import { Interrupted, Stop } from './stop.ts';
import { coloured, plain, table } from './table.ts';
import type { World } from './world.ts';

export type { DemoOptions } from './conductor.ts';
export type { DemoResult } from './result.ts';
export { Interrupted } from './stop.ts';
/** Two SAs on each connection. */
export const SAS_MAX = 2 * CONNECTIONS_MAX;

export interface RunOptions extends DemoOptions {
  /** A live picture instead of lines. */
  readonly live: boolean;
  /** Leave everything running until somebody ends it. */
  readonly keep: boolean;
  /** The result as one JSON object behind everything else. */
  readonly json: boolean;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs the demo and prints what happens and the result. Nothing of it is left when it returns or throws.
 *
 * @throws Interrupted on SIGINT, SIGTERM and SIGHUP; Error if the demo could not be carried out
 */
export async function runDemo(options: RunOptions): Promise<DemoResult> {
  const stop = new Stop();
  const interrupt = (signal: NodeJS.Signals): void => stop.now(new Interrupted(signal));
  for (const signal of SIGNALS) process.on(signal, interrupt);
  const startMs = nowMs();
  const lines: string[] = [];
  const write = (text: string): void => void process.stdout.write(`${text}\n`);
  const demo = new Demo(options, stop, (text) => {
    const line = `${((nowMs() - startMs) / 1000).toFixed(1).padStart(5)} s  ${text}`;
    lines.push(line);
    if (live === undefined) write(line);
    else live.event(line);
  });
  const live = options.live ? new Live(demo, process.stdout, options) : undefined;
  let result: DemoResult | undefined;
  try {
    live?.start();
    result = await demo.run();
    live?.stop();
    // The picture is gone with its screen: what happened stays readable.
    if (live) write(lines.join('\n'));
    write(table(result, wantsColours() ? coloured : plain));
    if (options.keep && demo.world) await kept(demo, demo.world, write);
    if (options.json) write(JSON.stringify(result));
    return result;
  } catch (error) {
    live?.stop();
    if (live) write(lines.join('\n'));
    throw error;
  } finally {
    await demo.close();
    for (const signal of SIGNALS) process.off(signal, interrupt);
  }
}

/** Until somebody ends it; processes may be ended too. */
async function kept(demo: Demo, world: World, write: (text: string) => void): Promise<void> {
  const { folder } = world;
  const [a, b, peer] = [pathsOf(folder, 'a'), pathsOf(folder, 'b'), pathsOf(folder, 'peer')];
  world.mayEnd((error) => write(error.message.split('\n')[0] ?? ''));
  write(`
Everything runs on, with traffic. To try, in another terminal:

  xfrmsync status -c ${a.config}
  xfrmsync sa list --kernel ${b.kernel}
  xfrmsync monitor --kernel ${peer.kernel}
  xfrmsync promote -c ${b.config}
  kill -9 ${world.pid('a') ?? ''}    # gateway a; then promote b, and start a again:
  xfrmsync daemon -c ${a.config}

Ctrl-C ends it.`);
  await demo.goOn().catch((error: unknown) => {
    if (!(error instanceof Interrupted)) throw error;
  });
}
