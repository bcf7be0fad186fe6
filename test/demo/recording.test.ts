import { describe, expect, it } from 'vitest';
import { newestFirst, type Port, reusedNumbers, type Seen, skips } from '../../src/demo/recording.ts';

const seen = (port: Port, spi: number, seq: number, atMs = seq): Seen => ({ atMs, port, spi, seq });
const own = ({ port }: Seen) => port !== 'peer';

describe('numbers used twice', () => {
  it('finds a takeover without a skip', () => {
    const recording = [seen('gwa', 1, 1), seen('gwa', 1, 2), seen('gwa', 1, 3), seen('gwb', 1, 3), seen('gwb', 1, 4)];
    expect(reusedNumbers(recording, own)).toEqual([{ spi: 1, seq: 3, ports: ['gwa', 'gwb'] }]);
  });

  it('finds a gateway that repeats itself', () => {
    expect(reusedNumbers([seen('gwa', 1, 7), seen('gwa', 1, 7)], own)).toHaveLength(1);
  });

  it('passes a packet that the network has doubled, if asked to', () => {
    const frames = ['x', 'x', 'y'].map((bytes) => ({ ...seen('gwa', 1, 7), bytes }));
    const copies = (one: { bytes: string }, other: { bytes: string }) => one.bytes === other.bytes;
    expect(reusedNumbers(frames, own, copies)).toHaveLength(1);
    expect(reusedNumbers(frames.slice(0, 2), own, copies)).toEqual([]);
  });

  it('passes a takeover above the last number, and the same number on another SA', () => {
    expect(reusedNumbers([seen('gwa', 1, 3), seen('gwb', 1, 40), seen('gwb', 2, 3)], own)).toEqual([]);
    const elsewhere = { ...seen('gwa', 1, 3), destination: 'another peer' };
    expect(reusedNumbers([seen('gwa', 1, 3), elsewhere], own)).toEqual([]);
  });

  it('leaves out frames that do not count', () => {
    expect(reusedNumbers([seen('peer', 9, 5), seen('peer', 9, 5)], own)).toEqual([]);
  });
});

describe('skip', () => {
  const recording = [
    seen('gwa', 1, 10, 100),
    seen('gwa', 1, 12, 120),
    seen('gwa', 2, 5, 130),
    seen('gwb', 1, 50, 300),
    seen('gwb', 1, 51, 310),
  ];

  it('is what lies between the last number of the old gateway and the first of the new one', () => {
    expect([...skips(recording, 'gwa', 'gwb', 200)]).toEqual([[1, 37]]);
  });

  it('is negative when numbers were used again', () => {
    expect(skips([...recording, seen('gwb', 1, 11, 320)], 'gwa', 'gwb', 200).get(1)).toBe(-2);
  });
});

describe('order of a replay', () => {
  it('takes the newest of every SPI before the second newest of any, and no more than asked for', () => {
    const frames = [seen('peer', 1, 1), seen('peer', 1, 2), seen('peer', 2, 5), seen('peer', 1, 3), seen('peer', 2, 6)];
    expect(newestFirst(frames, 2).map(({ spi, seq }) => `${spi}/${seq}`)).toEqual(['1/3', '2/6', '1/2', '2/5']);
  });
});
