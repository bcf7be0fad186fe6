import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../src/kernel/emulated/clock.ts';
import { SaTimers, type Ties } from '../../../src/kernel/emulated/sa-timers.ts';
import { Timers } from '../../../src/kernel/emulated/timers.ts';

function world(ties: Ties) {
  const clock = new VirtualClock();
  const fired: number[] = [];
  const onFire = new Map<number, () => void>();
  const timers = new SaTimers(
    new Timers(clock),
    () => clock.monotonicMs(),
    ties,
    (slot) => {
      fired.push(slot);
      onFire.get(slot)?.();
    },
  );
  const start = clock.monotonicMs();
  return { clock, timers, fired, onFire, at: (ms: number) => start + ms };
}

describe('timers of SAs that are due at once', () => {
  it('run in the order of their times, then as Linux has them', () => {
    for (const [ties, order] of [
      ['last armed first', [7, 4, 3, 2, 1]],
      ['first armed first', [7, 1, 2, 3, 4]],
    ] as const) {
      const { clock, timers, fired, at } = world(ties);
      for (const slot of [1, 2, 3, 4]) timers.arm(slot, at(80));
      timers.arm(7, at(40));
      clock.advanceTo(at(100));
      expect(fired).toEqual(order);
    }
  });

  it('keep their place in a slot of the wheel when they are armed for it again, and get a new one otherwise', () => {
    const { clock, timers, fired, at } = world('last armed first');
    for (const slot of [1, 2, 3]) timers.arm(slot, at(80));
    expect(timers.arm(1, at(80))).toBe(true);
    timers.arm(2, at(160));
    timers.arm(2, at(80));
    clock.advanceTo(at(80));
    expect(fired).toEqual([2, 3, 1]);
  });

  it('can cancel and delay each other', () => {
    const { clock, timers, fired, onFire, at } = world('first armed first');
    for (const slot of [1, 2, 3]) timers.arm(slot, at(80));
    onFire.set(1, () => {
      expect(timers.isPending(2)).toBe(true);
      timers.cancel(2);
      timers.arm(3, at(200));
    });
    clock.advanceTo(at(100));
    expect(fired).toEqual([1]);
    clock.advanceTo(at(200));
    expect(fired).toEqual([1, 3]);
  });
});
