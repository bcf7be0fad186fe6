import { describe, expect, it } from 'vitest';
import { plain } from '../../src/demo/table.ts';
import { bars, COLUMNS, draw, type Picture } from '../../src/demo/view.ts';

const picture: Picture = {
  seed: 4_294_967_295,
  seconds: 17.4,
  durationS: 36,
  phase: 'attack after the switchover',
  nodes: [
    { name: 'a', holds: false },
    { name: 'b', holds: true, role: 'standby', term: 100, sas: 100_000, complete: false, unseenMs: 123_456 },
  ],
  sent: 1_000_000,
  delivered: 999_000,
  lost: 1_000,
  recorded: 500_000,
  replayed: 400_000,
  accepted: 0,
  sentPps: 10_000,
  deliveredPps: 10_000,
  history: Array.from({ length: 300 }, (_, i) => i),
  historyTop: 300,
  events: Array.from({ length: 40 }, (_, i) => `event ${i} ${'x'.repeat(100)}`),
};

describe('the picture', () => {
  const lines = draw(picture, plain, true);

  it('fits into 80 columns and 24 lines, whatever happens', () => {
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(COLUMNS);
  });

  it('shows who is down, who is active, who has the traffic, and the latest events', () => {
    const text = lines.join('\n');
    expect(text).toContain('seed 4294967295\n');
    expect(text).toMatch(/gateway a +down/);
    expect(text).toMatch(/gateway b +standby +term 100 .*not complete.*<- traffic/);
    expect(text).toContain('event 39');
    expect(text).not.toContain('event 20 ');
  });
});

describe('bars', () => {
  it('grow with what was delivered, through both rows', () => {
    const [upper = '', lower = ''] = bars([0, 1, 50, 100], 100, true);
    expect(lower.slice(-4)).toBe(' ▁██');
    expect(upper.slice(-4)).toBe('   █');
  });

  it('are plain characters where there are no others, and nothing where nothing was', () => {
    const rows = bars([0, 0, 8], 8, false).join('');
    expect(rows).toMatch(/^[\x20-\x7e]*$/);
    expect(bars([0, 0], 0, true).join('').trim()).toBe('');
  });
});
