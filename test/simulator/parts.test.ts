import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../src/kernel/emulated/index.ts';
import type { Frame } from '../../src/replica/index.ts';
import { Disk } from '../../src/simulator/disk.ts';
import { MachineClock } from '../../src/simulator/machine-clock.ts';
import { randomOf } from '../../src/simulator/random.ts';
import { Schedule } from '../../src/simulator/schedule.ts';
import { Wire, type WireEnd } from '../../src/simulator/wire.ts';

const newSchedule = (): Schedule => new Schedule(new VirtualClock());

describe('the schedule', () => {
  it('things happen in order, what was asked for first first, timers of the clock among them', () => {
    const clock = new VirtualClock();
    const schedule = new Schedule(clock);
    const seen: string[] = [];
    for (const [ms, name] of [
      [5, 'c'],
      [1, 'a'],
      [5, 'd'],
    ] as const)
      schedule.at(ms, () => seen.push(`${name}${schedule.nowMs}`));
    clock.wake(3, () => {
      seen.push('timer');
      schedule.after(1, () => seen.push(`b${schedule.nowMs}`));
    });
    while (schedule.next(4.5)) {}
    expect(schedule.nowMs).toBe(4.5);
    expect(seen).toEqual(['a1', 'timer', 'b4']);
    while (schedule.next(10)) {}
    expect(seen).toEqual(['a1', 'timer', 'b4', 'c5', 'd5']);
  });

  it('a thousand times in any order come out sorted', () => {
    const schedule = newSchedule();
    const random = randomOf(1);
    const seen: number[] = [];
    for (let i = 0; i < 1000; i++) schedule.at(random.below(500), () => seen.push(schedule.nowMs));
    while (schedule.next(500)) {}
    expect(seen).toHaveLength(1000);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });
});

describe('the disk', () => {
  const value = { term: 4, role: 'active' as const, bootId: 1 };

  it('a write takes time, waits while the disk stalls, and fails while it fails', () => {
    const schedule = newSchedule();
    const disk = new Disk(schedule, randomOf(1), () => {});
    const ends: (string | undefined)[] = [];
    disk.stalledUntilMs = 100;
    disk.write(value, (failure) => ends.push(failure));
    schedule.next(99);
    expect(disk.stored).toBeUndefined();
    while (schedule.next(200)) {}
    expect(disk.stored).toEqual(value);
    disk.failsUntilMs = 1000;
    disk.write({ ...value, term: 5 }, (failure) => ends.push(failure));
    while (schedule.next(300)) {}
    expect(disk.stored).toEqual(value);
    expect(ends).toEqual([undefined, 'ENOSPC: no space left on device']);
  });

  it('a crash leaves the old or the new, and nobody is told', () => {
    const left = new Set<number | undefined>();
    for (let seed = 0; seed < 20; seed++) {
      const schedule = newSchedule();
      const disk = new Disk(schedule, randomOf(seed), () => {});
      disk.write(value, () => expect.unreachable());
      disk.crash();
      while (schedule.next(100)) {}
      left.add(disk.stored?.term);
    }
    expect([...left].sort()).toEqual([4, undefined]);
  });
});

class End implements WireEnd {
  readonly name: string;
  listens = true;
  readonly heard: string[] = [];
  readonly waiting: (() => void)[] = [];
  stopped = false;

  constructor(name: string) {
    this.name = name;
  }

  run(happen: () => void): void {
    if (this.stopped) this.waiting.push(happen);
    else happen();
  }

  onConnected(): void {
    this.heard.push('up');
  }

  onDisconnected(): void {
    this.heard.push('down');
  }

  onFrame(_: string, frame: Frame): void {
    this.heard.push(frame.type === 'ping' ? `${frame.timeMs}` : frame.type);
  }
}

function connected(): { schedule: Schedule; wire: Wire; a: End; b: End } {
  const schedule = newSchedule();
  const [a, b] = [new End('a'), new End('b')];
  const wire = new Wire(schedule, randomOf(2), () => [a, b]);
  while (a.heard.length === 0) schedule.next(1_000);
  return { schedule, wire, a, b };
}

const until = (schedule: Schedule, ms: number): void => {
  while (schedule.next(ms)) {}
};

describe('the wire', () => {
  it('frames arrive in order and all, also through a short cut of the path', () => {
    const { schedule, wire, a, b } = connected();
    for (let n = 0; n < 50; n++) {
      schedule.after(n, () => wire.send(a, { type: 'ping', timeMs: n, timeOfDayMs: 0, term: 1 }));
      if (n === 20) schedule.after(n, () => Object.assign(wire, { cutUntilMs: schedule.nowMs + 12 }));
    }
    until(schedule, 2_000);
    expect(b.heard).toEqual(['up', ...Array.from({ length: 50 }, (_, n) => `${n}`)]);
  });

  it('what is on its way when a side lets go is lost, and the other side hears of it', () => {
    const { schedule, wire, a, b } = connected();
    wire.send(a, { type: 'ping', timeMs: 1, timeOfDayMs: 0, term: 1 });
    wire.disconnect(b, 'no reason');
    expect(b.heard).toEqual(['up', 'down']);
    until(schedule, schedule.nowMs + 10);
    expect(a.heard.slice(0, 2)).toEqual(['up', 'down']);
    expect(b.heard).not.toContain('1');
  });

  it('a machine that is gone tells nobody, and a stopped process hears later', () => {
    const { schedule, wire, a, b } = connected();
    a.stopped = true;
    a.listens = false;
    wire.send(b, { type: 'ping', timeMs: 1, timeOfDayMs: 0, term: 1 });
    until(schedule, schedule.nowMs + 10);
    expect(a.heard).toEqual(['up']);
    a.stopped = false;
    for (const happen of a.waiting) happen();
    expect(a.heard).toEqual(['up', '1']);
    wire.vanish(b, true);
    until(schedule, schedule.nowMs + 500);
    expect(a.heard).toEqual(['up', '1']);
    expect(wire.isConnected(a)).toBe(true);
  });
});

it('the clock of a machine: up for longer than the world, its time of day off', () => {
  const world = new VirtualClock(1_000_000);
  const clock = new MachineClock(world, 5_000, -250);
  let woken = false;
  clock.wake(5_010, () => {
    woken = true;
  });
  world.advanceTo(9);
  expect(woken).toBe(false);
  world.advanceTo(10);
  expect([woken, clock.monotonicMs(), clock.realtimeMs()]).toEqual([true, 5_010, 999_760]);
});
