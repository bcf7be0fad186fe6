import { expect, it } from 'vitest';
import { SaFlag, XfrmGroup } from '../../../src/xfrm/index.ts';
import { aevent, ask, newSa, packetIn, packetOut, world } from './world.ts';

const KEY = '07'.repeat(20);

it('shows counters, window, what was told, and when timers are due', () => {
  const here = world({ hz: 100 });
  const sa = newSa({ replayThresh: 3, etimerThresh: 50 });
  ask(here, { ...sa, body: { ...sa.body, lft: { ...sa.body.lft, softAddExpiresSeconds: 60n } } });
  here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
  for (const seq of [1, 2, 4, 5]) packetIn(here, seq);
  packetOut(here);
  const [found] = here.kernel.snapshot().sas;
  expect(found).toMatchObject({
    daddr: '10.9.0.1',
    spi: '0x00000200',
    proto: 50,
    state: 'valid',
    dying: false,
    packets: 5,
    bytes: 80,
    seq: 5n,
    oseq: 1n,
    window: 32,
    notified: { seq: 4n, oseq: 0n },
    thresholds: { packets: 3, jiffies: 50 },
    timers: { aeventMs: 510, lifetimeMs: 1000 },
  });
  expect(found?.seen).toBe('11011'.padEnd(32, '0'));
  here.clock.advance(500);
  expect(here.kernel.snapshot()).toMatchObject({ monotonicMs: 500, realtimeMs: 1_700_000_000_500 });
});

it('reads the ring of an ESN window from its newest number on', () => {
  const here = world();
  const replayEsnVal = { bmpLen: 2, oseq: 9, seq: 62, oseqHi: 2, seqHi: 1, replayWindow: 60, bmp: [0, 0] };
  const sa = newSa({ replayEsnVal });
  ask(here, { ...sa, body: { ...sa.body, replayWindow: 0, flags: SaFlag.ESN } });
  // 62 stands at bit 1 of a ring of 60; the numbers before it run back through bit 0 to bit 59.
  ask(here, aevent('NEWAE', { replayEsnVal: { ...replayEsnVal, bmp: [0b01, 1 << 27] } }));
  const [found] = here.kernel.snapshot().sas;
  expect(found).toMatchObject({ seq: (1n << 32n) + 62n, oseq: (2n << 32n) + 9n, window: 60 });
  expect(found?.seen).toBe('011'.padEnd(60, '0'));
});

it('has keys only where they are asked for', () => {
  const here = world();
  ask(here, newSa());
  const text = (showKeys?: boolean): string =>
    JSON.stringify(here.kernel.snapshot(showKeys === undefined ? {} : { showKeys }), (_, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    );
  expect(text()).not.toContain(KEY);
  expect(text()).toContain('(20 bytes hidden)');
  expect(text(true)).toContain(KEY);
});

it('shows what waits at sockets and what they lost', () => {
  const here = world({ processId: 7 });
  ask(here, newSa());
  const listener = here.kernel.openNow({ portId: 8, groups: [XfrmGroup.AEVENTS, XfrmGroup.SA], receiveBufferBytes: 1 });
  for (let i = 0; i < 5; i++) ask(here, aevent('NEWAE', { replayThresh: 5 }));
  expect(here.kernel.snapshot().sockets).toMatchObject([
    { portId: 7, groups: [], waiting: 0, drops: 0, congested: false },
    {
      portId: 8,
      groups: [XfrmGroup.SA, XfrmGroup.AEVENTS],
      receiveBufferBytes: 2304,
      waiting: 3,
      drops: 2,
      congested: true,
      overrun: true,
    },
  ]);
  expect(listener.snapshot().chargedBytes).toBeGreaterThan(2304 / 2);
});
