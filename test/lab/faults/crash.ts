/** The daemon alone dies, and is started again. The kernel goes on forwarding. */
import type { Course } from './books.ts';
import type { Ground } from './ground.ts';

/** First on the active, then on the standby, while traffic flows. */
export async function daemonCrash(ground: Ground): Promise<Course> {
  const { stage, form } = ground;
  await ground.warmUp();
  const faultsMs: number[] = [];
  const inStepMs: number[] = [];
  for (const gateway of [ground.active, ground.standby]) {
    faultsMs.push(stage.traffic.nowMs());
    await stage.daemons.kill(gateway);
    stage.say(`the daemon on ${gateway} is killed`);
    await ground.traffic(form.seconds);
    const begin = performance.now();
    stage.daemons.start(gateway);
    await ground.inStep();
    inStepMs.push(Math.round(performance.now() - begin));
  }
  const { role } = await stage.daemons.status(ground.active);
  stage.check('the daemon that was killed on the active is the active again', role === 'active', role);
  await ground.traffic(form.seconds);
  const [active = 0, standby = 0] = inStepMs;
  return {
    faultsMs,
    failovers: [],
    early: [],
    alsoKept: ground.standby,
    facts: { 'in step again after ms (active)': active, 'in step again after ms (standby)': standby },
  };
}
