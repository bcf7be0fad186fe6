import { describe, expect, it } from 'vitest';
import { saIdOf } from '../../src/client/index.ts';
import { keyNumber, sa } from '../../src/simulator/sas.ts';
import { recordOf, type TestNode, TIMER_MS, World } from './world.ts';

/** Events that name SAs and do not show them, and timers that start when thresholds are set: PF_KEY's way. */

const id = (spi: number) => saIdOf(sa(spi));
const OUT = 0x101;

function pair(): World {
  const world = new World();
  for (const spi of [OUT, 0x102]) world.a.kernel.add(sa(spi));
  return world.begin();
}

/** What netlink tells is not heard. */
const deaf = (node: TestNode): void => void node.kernel.read();
const keyAt = (node: TestNode, spi: number): number | undefined => {
  const record = recordOf(node, id(spi));
  return record && keyNumber(record.sa);
};

describe('an SA that is named', () => {
  it('as changed is read, and told if it is new or another one', () => {
    const world = pair();
    const { a, b } = world;
    a.kernel.add(sa(0x105));
    a.kernel.delete(id(OUT));
    a.kernel.add(sa(OUT, { key: 9 }));
    deaf(a);
    a.replica.onSaNamed('changed', id(0x105));
    a.replica.onSaNamed('changed', id(OUT));
    a.replica.onSaNamed('changed', id(0x999));
    world.settle();
    expect([keyAt(b, 0x105), keyAt(b, OUT), keyAt(b, 0x999)]).toEqual([1, 9, undefined]);
  });

  it('as gone is gone', () => {
    const world = pair();
    const { a, b } = world;
    a.kernel.delete(id(OUT));
    deaf(a);
    a.replica.onSaNamed('gone', id(OUT));
    world.settle();
    expect(recordOf(b, id(OUT))).toBeUndefined();
    expect(b.kernel.get(id(OUT))).toBeUndefined();
  });

  it('while everything is being read: what was read before does not bring it back, what is read afterwards counts', () => {
    const world = pair();
    const { a, b } = world;
    a.replica.resync();
    // The reading begins before any of this; its result is looked at when all of it has been told.
    const old = a.kernel.dump();
    a.kernel.delete(id(OUT));
    a.kernel.delete(id(0x102));
    a.kernel.add(sa(OUT, { key: 9 }));
    deaf(a);
    a.replica.onSaNamed('gone', id(OUT));
    a.replica.onSaNamed('gone', id(0x102));
    a.replica.onSaNamed('changed', id(OUT));
    const effects = a.replica.take();
    a.replica.onRead('resync', old, world.nowMs);
    a.queue.push(...effects.filter(({ type }) => type !== 'read'));
    world.settle();
    for (const node of [a, b]) {
      expect(keyAt(node, OUT)).toBe(9);
      expect(recordOf(node, id(0x102))).toBeUndefined();
    }
  });

  it('on a standby only what goes matters, and is looked at', () => {
    const world = pair();
    const { b } = world;
    b.kernel.delete(id(OUT));
    deaf(b);
    b.replica.onSaNamed('softExpired', id(0x102));
    b.replica.onSaNamed('changed', id(0x102));
    expect(b.replica.take()).toEqual([]);
    b.replica.onFlushed();
    expect(b.replica.take()).toEqual([]);
    b.replica.onSaNamed('gone', id(OUT));
    world.settle();
    expect(recordOf(b, id(OUT))?.installed).toBe(false);
  });
});

it('an SA whose timer was started anew is not quiet, and the standby hears of it at once', () => {
  const world = pair();
  const { a, b } = world;
  world
    .pass(TIMER_MS + 200)
    .pass(TIMER_MS + 200)
    .pass(100);
  expect(recordOf(b, id(OUT))?.quiet).toBe(true);
  a.replica.onTimerStarted(id(OUT), world.nowMs);
  a.replica.onTimerStarted(id(0x999), world.nowMs);
  world.settle();
  expect([recordOf(b, id(OUT))?.quiet, recordOf(b, id(0x102))?.quiet]).toEqual([false, true]);
  // It may be held back for as long as the timer runs, and not longer.
  world.pass(TIMER_MS / 2);
  expect(recordOf(b, id(OUT))?.quiet).toBe(false);
  world.pass(TIMER_MS).pass(TIMER_MS).pass(100);
  expect(recordOf(b, id(OUT))?.quiet).toBe(true);
});
