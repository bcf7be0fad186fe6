/** More events than the daemon's socket holds: the kernel drops some, and the account has to be made anew. */
import type { Settings } from '../daemons.ts';
import type { Course } from './books.ts';
import type { Ground } from './ground.ts';
import { takeOver } from './take-over.ts';

/** The kernel's own thresholds stay: an event for every second packet. The buffer holds some hundred of them. */
export const OVERRUN_SETTINGS: Settings = { exposure: { adaptive: false }, kernel: { receive_buffer_bytes: 65_536 } };

const BURSTS_MAX = 20;
const SETTLE_MS = 50;

export async function overrun(ground: Ground): Promise<Course> {
  const { stage, form } = ground;
  await ground.warmUp();
  const { active, standby } = ground;
  const before = (await stage.daemons.status(active)).counts;
  let counts = before;
  for (let i = 0; i < BURSTS_MAX && counts.overruns === before.overruns; i++) {
    // Some kernels let it read between two packets of a burst.
    stage.daemons.freeze(active, true);
    stage.traffic.push(stage.traffic.flows, form.overrunBurst);
    stage.daemons.freeze(active, false);
    await stage.pass(SETTLE_MS);
    ({ counts } = await stage.daemons.status(active));
  }
  const overrunMs = performance.now();
  const overruns = counts.overruns - before.overruns;
  stage.check('the kernel dropped events (ENOBUFS)', overruns > 0, String(overruns));
  // No ping is answered while the account may lack something: an answer since then says that it does not.
  await stage.daemons.until(
    standby,
    'sure of the account again',
    (s) => s.complete && s.unseenMs !== null && s.unseenMs < performance.now() - overrunMs,
  );
  const recoveredMs = Math.round(performance.now() - overrunMs);
  stage.say(`${overruns} overruns; the account is whole again after ${recoveredMs} ms`);
  const { failover, shown, early } = await takeOver(ground, () => ground.die());
  await ground.traffic(form.seconds);
  return {
    faultsMs: [shown.faultMs],
    failovers: [failover],
    shown,
    early: [early],
    facts: { overruns, 'account whole again after ms': recoveredMs, 'noticed after ms': failover.detectMs },
  };
}
