/** The active's charon is stopped as a service is: it deletes all that it has made, and so does the standby. */
import { CHILDREN, REPLICATED } from './children.ts';
import type { Ground } from './ground.ts';
import type { Facts } from './steps.ts';

export async function stop(ground: Ground): Promise<Facts> {
  const { stage, charon } = ground;
  for (const { name } of REPLICATED) await charon.gwb.ctl('--initiate', '--child', name);
  await ground.learn('gwb');
  const made = [...ground.replicated()];
  const counted = async () => {
    const kernels = [await stage.states('gwb'), await stage.states('gwa')];
    return kernels.map((states) => made.filter((spi) => states.has(spi)).length);
  };
  await ground.until('the standby has the new SAs', async () => (await counted())[1] === made.length);
  stage.say(`charon has negotiated ${CHILDREN.length - 1} CHILD_SAs again`);
  await charon.gwb.stop('SIGTERM');
  await ground.until('the standby has deleted them too', async () => (await counted())[1] === 0);
  const [here, there] = await counted();
  stage.check(
    'a charon that is stopped takes its SAs with it, and the standby follows',
    here === 0 && there === 0,
    `${made.length} SAs`,
  );
  const peers = await charon.peer.childSas();
  stage.check('the peer has deleted them as well', peers.length === 0, `${peers.length}`);
  const { held } = await stage.daemons.status('gwa');
  return { 'SAs held for promote --restore': held };
}
