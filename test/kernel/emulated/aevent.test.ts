import { describe, expect, it } from 'vitest';
import { wheelExpiry } from '../../../src/kernel/emulated/timers.ts';
import { AeFlag, XfrmGroup, type XfrmMessage } from '../../../src/xfrm/index.ts';
import { aevent, ask, kinds, newSa, packetIn, packetOut, received, type World, world } from './world.ts';

const { CR, CE, CU } = AeFlag;
const HZ = 250;
const BOTH = AeFlag.RTHR | AeFlag.ETHR;

/** A world with one SA of these thresholds (packets, jiffies) and a listener. */
function watched(
  replayThresh: number,
  etimerThresh: number,
): World & { listener: ReturnType<World['kernel']['openNow']> } {
  const here = world({ hz: HZ });
  const listener = here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
  ask(here, newSa({ replayThresh, etimerThresh }));
  return { ...here, listener };
}

describe('replay notifications', () => {
  it('at the defaults of the sysctls every second packet, and the odd one a second later', () => {
    const here = world({ hz: HZ });
    const listener = here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
    ask(here, newSa());
    for (let seq = 1; seq <= 5; seq++) packetIn(here, seq);
    expect(kinds(listener)).toEqual([CR, CR]);
    here.clock.advance(900);
    expect(kinds(listener)).toEqual([]);
    here.clock.advance(200);
    expect(kinds(listener)).toEqual([CE]);
    here.clock.advance(60_000);
    expect(kinds(listener)).toEqual([]);
  });

  it('an event by a packet shows the lifetime without it, one by the timer is exact', () => {
    const here = watched(2, HZ);
    for (let seq = 1; seq <= 3; seq++) packetIn(here, seq);
    here.clock.advance(2000);
    const packets = received(here.listener).map((m) => (m as XfrmMessage<'NEWAE'>).attributes.ltimeVal?.packets);
    expect(packets).toEqual([1n, 3n]);
  });

  it('the first packet after an idle timer is told at once: as CE below the threshold, as CR at it', () => {
    const below = watched(10, HZ);
    below.clock.advance(2000);
    packetIn(below, 1);
    packetIn(below, 2);
    expect(kinds(below.listener)).toEqual([CE]);
    const at = watched(1, HZ);
    at.clock.advance(2000);
    packetIn(at, 1);
    expect(kinds(at.listener)).toEqual([CR]);
  });

  it('with the timer switched off while deferred every packet is told: nothing clears it', () => {
    const here = watched(100, HZ);
    here.clock.advance(2000);
    ask(here, aevent('NEWAE', { etimerThresh: 0 }));
    for (let seq = 1; seq <= 3; seq++) packetIn(here, seq);
    expect(kinds(here.listener)).toEqual([CU, CE, CE, CE]);
    ask(here, aevent('NEWAE', { etimerThresh: HZ }));
    for (let seq = 4; seq <= 6; seq++) packetIn(here, seq);
    expect(kinds(here.listener)).toEqual([CU, CE]);
  });

  it('a threshold of packets alone never raises CE, a timer alone never CR, neither nothing', () => {
    const packets = watched(3, 0);
    for (let seq = 1; seq <= 7; seq++) packetIn(packets, seq);
    packets.clock.advance(60_000);
    expect(kinds(packets.listener)).toEqual([CR, CR]);
    const timer = watched(0, HZ);
    for (let seq = 1; seq <= 7; seq++) packetIn(timer, seq);
    timer.clock.advance(60_000);
    expect(kinds(timer.listener)).toEqual([CE]);
    const none = watched(0, 0);
    for (let seq = 1; seq <= 7; seq++) packetIn(none, seq);
    none.clock.advance(60_000);
    expect(kinds(none.listener)).toEqual([]);
  });

  it('a timer that is set from 0 to N starts with the next event', () => {
    const here = watched(2, 0);
    ask(here, aevent('NEWAE', { etimerThresh: HZ }));
    expect(kinds(here.listener)).toEqual([CU]);
    packetIn(here, 1);
    here.clock.advance(60_000);
    expect(kinds(here.listener)).toEqual([]);
    packetIn(here, 2);
    packetIn(here, 3);
    here.clock.advance(60_000);
    expect(kinds(here.listener)).toEqual([CR, CE]);
  });

  it('a late packet that only sets a bit counts for the timer, not for the threshold', () => {
    const here = watched(1, HZ);
    packetIn(here, 10);
    packetIn(here, 9);
    expect(kinds(here.listener)).toEqual([CR]);
    here.clock.advance(2000);
    expect(kinds(here.listener)).toEqual([CE]);
  });

  it('without a listener on the machine nothing is noted; one in another namespace is enough', () => {
    const here = world({ hz: HZ });
    ask(here, newSa({ replayThresh: 2, etimerThresh: 0 }));
    for (let i = 0; i < 9; i++) packetOut(here);
    const listener = here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
    packetOut(here);
    expect(kinds(listener)).toEqual([CR]);
    listener.close();
    const other = here.kernel.namespace().openNow({ groups: [XfrmGroup.AEVENTS] });
    packetOut(here);
    packetOut(here);
    expect(kinds(other)).toEqual([]);
    const late = here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
    packetOut(here);
    expect(kinds(late)).toEqual([]);
  });
});

describe('XFRMA_ETIMER_THRESH', () => {
  const read = (here: World): number | undefined => {
    const [reply] = ask(here, aevent('GETAE', {}, BOTH));
    return (reply as XfrmMessage<'NEWAE'>).attributes.etimerThresh;
  };

  it.each([
    [100, 100, 10],
    [250, 100, 4],
    [1000, 100, 1],
    [250, 5, 0],
    [250, 429_496_729, 17_179_869],
    [250, 429_496_730, 0],
  ])('at %i Hz %i jiffies read as %i units of 100 ms', (hz, jiffies, units) => {
    const here = world({ hz });
    ask(here, newSa({ etimerThresh: jiffies }));
    expect(read(here)).toBe(units);
  });

  it.each([100, 250, 300, 1000])('the sysctl is in units of 100 ms at %i Hz', (hz) => {
    const here = world({ hz });
    expect(here.kernel.setSysctl('net.core.xfrm_aevent_etime', '20')).toBe(0);
    ask(here, newSa());
    expect(read(here)).toBe(20);
  });
});

describe('the timer wheel', () => {
  it.each([
    [0, 1, 2],
    [0, 62, 63],
    [0, 63, 64],
    [8, 100, 112],
    [0, 503, 504],
    [0, 504, 512],
    [0, 4032, 4096],
  ])('armed in jiffy %i for %i later it fires in %i', (now, delay, fires) => {
    expect(wheelExpiry(now, delay)).toBe(fires);
  });
});

describe('the first published layout', () => {
  it('is 28 bytes of {sa_id, flags}, in requests and answers', async () => {
    const { xfrmFirstLayout } = await import('../../../src/xfrm/index.ts');
    const here = world({ firstAeventLayout: true });
    ask(here, newSa());
    const saId = { daddr: { w0: 0x0a09_0001, w1: 0, w2: 0, w3: 0 }, spi: 0x200, family: 2, proto: 50 };
    here.requests.send(
      xfrmFirstLayout.encode({ kind: 'GETAE', flags: 1, seq: 9, pid: 0, body: { saId, flags: BOTH }, attributes: {} }),
    );
    const { batch } = here.requests.read();
    const reply = xfrmFirstLayout.decode(batch.buffer.slice(0, batch.lengths[0]));
    expect(reply).toMatchObject({ kind: 'NEWAE', body: { saId, flags: BOTH }, attributes: { replayThresh: 2 } });
    expect(batch.lengths[0]).toBe(132 - 20);
  });
});
