/** A gateway dies with all that is under way in it, and comes back. */
import { replayWhenHeld } from '../attack.ts';
import type { Course } from './books.ts';
import type { Ground } from './ground.ts';
import { takeOver } from './take-over.ts';

/** The active dies under load; the standby takes over when it sees that. */
export async function death(ground: Ground): Promise<Course> {
  await ground.warmUp();
  const { failover, shown, early } = await takeOver(ground, () => ground.die());
  await ground.traffic(ground.form.seconds);
  return {
    faultsMs: [shown.faultMs],
    failovers: [failover],
    shown,
    early: [early],
    facts: { 'noticed after ms': failover.detectMs },
  };
}

/** The dead one boots, is filled while traffic flows, and takes its place again. */
export async function comeBack(ground: Ground): Promise<Course> {
  const { stage } = ground;
  await ground.warmUp();
  const begin = performance.now();
  await ground.comeBack();
  const completeMs = Math.round(performance.now() - begin);
  await ground.traffic(ground.form.seconds);
  const faultMs = stage.traffic.nowMs();
  const [failover, early] = await Promise.all([ground.promote(), replayWhenHeld(stage, ground.standby, faultMs)]);
  await ground.traffic(ground.form.seconds);
  await ground.inStep();
  return {
    faultsMs: [faultMs],
    failovers: [failover],
    early: [early],
    alsoKept: ground.standby,
    facts: { 'from boot to complete ms': completeMs },
  };
}

/** The standby dies under load and boots: its kernel is empty, the active's account has to be taken in anew. */
export async function standbyRestart(ground: Ground): Promise<Course> {
  await ground.warmUp();
  const faultMs = await ground.dieStandby();
  await ground.traffic(ground.form.seconds);
  const begin = performance.now();
  await ground.comeBack();
  const completeMs = Math.round(performance.now() - begin);
  await ground.traffic(ground.form.seconds);
  return {
    faultsMs: [faultMs],
    failovers: [],
    early: [],
    alsoKept: ground.standby,
    facts: { 'from boot to complete ms': completeMs },
  };
}
