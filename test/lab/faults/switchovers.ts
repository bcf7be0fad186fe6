/** Planned changes of roles, back and forth. */
import { replayWhenHeld } from '../attack.ts';
import type { Replay } from '../results.ts';
import type { Course } from './books.ts';
import type { Ground } from './ground.ts';
import type { Failover } from './results.ts';

/** No packet may be lost in any of them, and none that was recorded before accepted. */
export async function switchovers(ground: Ground): Promise<Course> {
  const { stage, form } = ground;
  await ground.warmUp();
  const faultsMs: number[] = [];
  const failovers: Failover[] = [];
  const early: Replay[] = [];
  for (let i = 0; i < form.switchovers; i++) {
    const faultMs = stage.traffic.nowMs();
    const [failover, replay] = await Promise.all([ground.promote(), replayWhenHeld(stage, ground.standby, faultMs)]);
    faultsMs.push(faultMs);
    failovers.push(failover);
    early.push(replay);
    await ground.inStep();
  }
  await ground.traffic(form.seconds);
  return { faultsMs, failovers, early, alsoKept: ground.standby, facts: { switchovers: failovers.length } };
}
