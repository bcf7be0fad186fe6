import { describe, expect, it } from 'vitest';
import { XfrmGroup, type XfrmMessage } from '../../../src/xfrm/index.ts';
import { ask, newPolicy, received, type World, world } from './world.ts';

/** `hard` of each POLEXPIRE after so many milliseconds. */
function expired(here: World, ms: number): number[] {
  const listener = here.kernel.openNow({ groups: [XfrmGroup.EXPIRE] });
  here.clock.advance(ms);
  return received(listener).map((message) => (message as XfrmMessage<'POLEXPIRE'>).body.hard);
}

describe('policies with limits in time', () => {
  it('a hard one deletes the policy and tells it', () => {
    const here = world();
    ask(here, newPolicy({ hardAddExpiresSeconds: 3n }));
    expect(expired(here, 2900)).toEqual([]);
    expect(here.kernel.engine.spd.count).toBe(1);
    expect(expired(here, 200)).toEqual([1]);
    expect(here.kernel.engine.spd.count).toBe(0);
  });

  it('a soft one is told, and told again every 30 seconds', () => {
    const here = world();
    ask(here, newPolicy({ softAddExpiresSeconds: 2n }));
    expect(expired(here, 2100)).toEqual([0]);
    expect(expired(here, 29_000)).toEqual([]);
    expect(expired(here, 1000)).toEqual([0]);
  });

  it('without one there is nothing to wait for', () => {
    const here = world();
    ask(here, newPolicy({}));
    expect(here.clock.nextMs).toBe(Number.POSITIVE_INFINITY);
  });
});
