/** Stands for keepalived: asks the active node whether it is there, and says so when it is not. Knows nothing of what the demo does. */
import { nowMs } from './clock.ts';

const INTERVAL_MS = 50;
const MISSES = 3;

export interface Watcher {
  stop(): void;
}

/** `ask` rejects when there is no answer; after three times in a row `onDead` is called, once. */
export function watch(ask: () => Promise<unknown>, onDead: (atMs: number) => void): Watcher {
  let misses = 0;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const check = async (): Promise<void> => {
    const startMs = nowMs();
    try {
      await ask();
      misses = 0;
    } catch {
      misses += 1;
    }
    if (stopped) return;
    if (misses < MISSES) timer = setTimeout(check, Math.max(0, INTERVAL_MS - (nowMs() - startMs)));
    else onDead(nowMs());
  };
  void check();
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
