import { describe, expect, it } from 'vitest';
import { Hold } from '../../src/gateway/hold.ts';

function held() {
  const done: number[] = [];
  const clock = { ms: 0 };
  const hold = new Hold(() => clock.ms);
  const put = (n: number, bytes = 1): void => {
    const packet = new Uint8Array(bytes).fill(n & 255);
    hold.put(packet, ([first]) => done.push(first ?? -1));
    // What was handed over is a buffer that is used again.
    packet.fill(0xee);
  };
  return { hold, done, clock, put };
}

describe('packets that are held', () => {
  it('are done in their order, once', () => {
    const { hold, done, put } = held();
    for (const n of [1, 2, 3]) put(n);
    hold.release();
    hold.release();
    expect(done).toEqual([1, 2, 3]);
  });

  it('are done in portions, if asked for', () => {
    const { hold, done, put } = held();
    for (const n of [1, 2, 3]) put(n);
    hold.release(2);
    expect(done).toEqual([1, 2]);
    expect(hold.isEmpty).toBe(false);
    put(4);
    hold.release(2);
    expect(done).toEqual([1, 2, 3, 4]);
    expect(hold.isEmpty).toBe(true);
  });

  it('are dropped when they are old', () => {
    const { hold, done, clock, put } = held();
    put(1);
    clock.ms = 29_000;
    put(2);
    clock.ms = 30_001;
    hold.release();
    expect(done).toEqual([2]);
  });

  it('are limited in number and bytes, the oldest go', () => {
    const many = held();
    for (let n = 0; n < 100_000; n++) many.put(n);
    many.hold.release();
    expect(many.done).toHaveLength(32_768);
    expect(many.done.at(-1)).toBe(99_999 & 255);
    const large = held();
    for (let n = 0; n < 40; n++) large.put(n, 1 << 20);
    large.hold.release();
    expect(large.done).toEqual(Array.from({ length: 32 }, (_, i) => i + 8));
  });
});
