/**
 * A charon on the standby that installs policies of its own as it starts (start_action = trap), in the place of those that the daemon has put
 * there, and takes them away as it stops. The step after this one is a takeover, which has to put them right.
 */
import type { Ground } from './ground.ts';
import type { Facts } from './steps.ts';

export async function traps(ground: Ground): Promise<Facts> {
  const { stage, charon } = ground;
  const sas = async () => [...(await stage.states('gwb'))].map(([spi, { identity }]) => `${spi} ${identity}`).join();
  const [first, policies] = [await sas(), await ground.policies('gwb')];
  await charon.gwb.stop('SIGTERM');
  ground.choose('gwb', { startAction: 'trap' });
  await charon.gwb.start();
  const trapped = await ground.policies('gwb');
  const kept = policies.filter((text) => trapped.includes(text)).length;
  await charon.gwb.stop('SIGTERM');
  const left = (await ground.policies('gwb')).length;
  ground.choose('gwb', {});
  await charon.gwb.start();
  stage.check('its SAs are untouched', first === (await sas()), `${first.split(',').length}`);
  stage.check(
    "the standby's policies were replaced, and deleted as charon stopped",
    kept === 0 && left === 0,
    `${kept} kept, then ${left} left`,
  );
  const { complete } = await stage.daemons.status('gwb');
  stage.check('the standby is complete all the same', complete, String(complete));
  return { 'policies before': policies.length, 'policies left': left };
}
