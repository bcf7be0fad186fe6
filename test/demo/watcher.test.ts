import { describe, expect, it } from 'vitest';
import { Stop } from '../../src/demo/stop.ts';
import { watch } from '../../src/demo/watcher.ts';

describe('the watcher', () => {
  const answers = (list: readonly boolean[]) => {
    let at = 0;
    const ask = async (): Promise<void> => {
      const isThere = list[at++] ?? false;
      if (!isThere) throw new Error('no answer');
    };
    return { ask, asked: () => at };
  };

  it('is sure after three misses in a row, not before', async () => {
    const { ask, asked } = answers([true, false, false, true, false, false, false]);
    await new Promise<number>((resolve) => watch(ask, resolve));
    expect(asked()).toBe(7);
  });

  it('says nothing when it was stopped', async () => {
    let refuse: (error: Error) => void = () => {};
    const asked = new Promise<never>((_, reject) => {
      refuse = reject;
    });
    const dead: number[] = [];
    const watcher = watch(
      () => asked,
      (ms) => dead.push(ms),
    );
    watcher.stop();
    refuse(new Error('no answer'));
    await asked.catch(() => {});
    await new Promise((resolve) => setImmediate(resolve));
    expect(dead).toEqual([]);
  });
});

describe('a stop', () => {
  it('ends every wait, those under way and those to come, with its first error', async () => {
    const stop = new Stop();
    const waits = [stop.sleep(60_000), stop.or(new Promise(() => {}))];
    stop.now(new Error('first'));
    stop.now(new Error('second'));
    for (const wait of [...waits, stop.sleep(1), stop.or(Promise.resolve())])
      await expect(wait).rejects.toThrow('first');
  });

  it('leaves alone what is done', async () => {
    const stop = new Stop();
    await expect(stop.or(Promise.resolve(7))).resolves.toBe(7);
    await expect(stop.or(Promise.reject(new Error('own')))).rejects.toThrow('own');
    stop.now(new Error('later'));
    expect(stop.error?.message).toBe('later');
  });
});
