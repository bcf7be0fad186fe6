import { describe, expect, it } from 'vitest';
import { type ReplayCallback, ReplayCause } from '../../../src/kernel/emulated/replay-notify.ts';
import { AeFlag, XfrmGroup } from '../../../src/xfrm/index.ts';
import { aevent, ask, kinds, newSa, packetIn, packetOut, SPI, type World, world } from './world.ts';

const { NUMBERS, TIMER } = ReplayCause;
const HZ = 250;

interface Listener extends ReplayCallback {
  readonly causes: ReplayCause[];
  /** The slots that it is to hear of; undefined: all. */
  only?: number;
}

function listener(only?: number): Listener {
  const causes: ReplayCause[] = [];
  return {
    causes,
    ...(only !== undefined && { only }),
    hears(_, slot) {
      return this.only === undefined || this.only === slot;
    },
    notify: (_ns, _slot, cause) => void causes.push(cause),
  };
}

function watched(here: World, callback: ReplayCallback): void {
  here.kernel.engine.host.replayNotifier.register(callback);
}

describe('the replay-notification mechanism', () => {
  it('calls back at N above what was last told, in either direction', () => {
    const here = world({ hz: HZ });
    const told = listener();
    watched(here, told);
    ask(here, newSa({ replayThresh: 3, etimerThresh: 0 }));
    for (let seq = 1; seq <= 7; seq++) packetIn(here, seq);
    expect(told.causes).toEqual([NUMBERS, NUMBERS]);
    packetOut(here);
    packetOut(here);
    expect(told.causes).toHaveLength(2);
    packetOut(here);
    expect(told.causes).toEqual([NUMBERS, NUMBERS, NUMBERS]);
  });

  it('calls back when T has passed with a change, and with none tells the next packet at once', () => {
    const here = world({ hz: HZ });
    const told = listener();
    watched(here, told);
    ask(here, newSa({ replayThresh: 100, etimerThresh: HZ }));
    packetIn(here, 1);
    expect(told.causes).toEqual([]);
    here.clock.advance(1100);
    expect(told.causes).toEqual([TIMER]);
    here.clock.advance(60_000);
    expect(told.causes).toEqual([TIMER]);
    packetIn(here, 2);
    packetIn(here, 3);
    expect(told.causes).toEqual([TIMER, TIMER]);
  });

  it('is silent with both thresholds 0', () => {
    const here = world({ hz: HZ });
    const told = listener();
    watched(here, told);
    ask(here, newSa({ replayThresh: 0, etimerThresh: 0 }));
    for (let seq = 1; seq <= 50; seq++) packetIn(here, seq);
    here.clock.advance(60_000);
    expect(told.causes).toEqual([]);
  });

  it('tells all callbacks that hear of an SA at the same moments, netlink among them', () => {
    const here = world({ hz: HZ });
    const group = here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
    const [all, other] = [listener(), listener(1234)];
    watched(here, all);
    watched(here, other);
    ask(here, newSa({ replayThresh: 2, etimerThresh: HZ }));
    for (let seq = 1; seq <= 3; seq++) packetIn(here, seq);
    here.clock.advance(1100);
    expect(all.causes).toEqual([NUMBERS, TIMER]);
    expect(kinds(group)).toEqual([AeFlag.CR, AeFlag.CE]);
    expect(other.causes).toEqual([]);
  });

  it('takes nothing as told for an SA that nobody hears of', () => {
    const here = world({ hz: HZ });
    const { sad } = here.kernel.engine;
    ask(here, newSa({ replayThresh: 2, etimerThresh: 0 }));
    ask(here, newSa({ replayThresh: 2, etimerThresh: 0 }, SPI + 1));
    const told = listener(sad.newest());
    watched(here, told);
    for (let seq = 1; seq <= 5; seq++) packetIn(here, seq);
    expect(told.causes).toEqual([]);
    expect(here.kernel.snapshot().sas.map(({ notified }) => notified.seq)).toEqual([0n, 0n]);
    told.only = sad.older(sad.newest());
    packetIn(here, 6);
    expect(told.causes).toEqual([NUMBERS]);
  });

  it('is silent again for who has unregistered', () => {
    const here = world({ hz: HZ });
    const told = listener();
    watched(here, told);
    watched(here, told);
    ask(here, newSa({ replayThresh: 1, etimerThresh: 0 }));
    packetIn(here, 1);
    here.kernel.engine.host.replayNotifier.unregister(told);
    packetIn(here, 2);
    expect(told.causes).toEqual([NUMBERS]);
  });

  it('leaves netlink as it is: a threshold set by NEWAE counts for all', () => {
    const here = world({ hz: HZ });
    const told = listener();
    watched(here, told);
    ask(here, newSa({ replayThresh: 0, etimerThresh: 0 }));
    packetIn(here, 1);
    ask(here, aevent('NEWAE', { replayThresh: 1 }));
    packetIn(here, 2);
    expect(told.causes).toEqual([NUMBERS]);
  });
});
