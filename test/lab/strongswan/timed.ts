/** A soft limit in seconds, while ceilings are written: the kernel looks at such limits whenever an SA is updated. */
import type { Gateway } from '../world.ts';
import { CHILDREN, type Child, type Choices } from './children.ts';
import type { Ground } from './ground.ts';
import type { Facts } from './steps.ts';

const ESN = CHILDREN.find(({ name }) => name === 'esn') as Child;
const REKEY_S = 20;
/** Whole seconds of the kernel, twice, and a re-key on a slow machine. */
const SLACK_S = 6;
const AFTER_MS = 3_000;

export async function timed(ground: Ground): Promise<Facts> {
  const { stage, charon, events } = ground;
  const logged = charon.gwb.log().length;
  const marks = { gwa: events.gwa.mark(), gwb: events.gwb.mark() };
  // A CHILD_SA keeps its limits when it is re-keyed, whatever has been loaded since.
  const renew = async (choices: Choices) => {
    stage.traffic.stop();
    await stage.quiet();
    ground.choose('gwa', choices);
    await charon.gwa.reload();
    await charon.gwa.ctl('--terminate', '--child', ESN.name);
    await charon.gwa.ctl('--initiate', '--child', ESN.name);
    await ground.learn('gwa');
    await ground.inStep('gwb');
    stage.traffic.start();
  };
  const beginMs = performance.now();
  await renew({ rekeyS: { [ESN.name]: REKEY_S } });
  const latestS = (performance.now() - beginMs) / 1000;
  const first = ground.spis(ESN);
  const generations = ground.generations(ESN);
  await ground.pushUntil(ESN, async () => {
    if (performance.now() - beginMs < (REKEY_S - 3) * 1000) return false;
    await ground.learn('gwa');
    return ground.generations(ESN) > generations;
  });
  const tookS = (performance.now() - beginMs) / 1000;
  await stage.pass(AFTER_MS);
  const rekeyed = ground.generations(ESN) - generations;
  await ground.until('the old CHILD_SA is gone', async () => {
    const list = await ground.learn('gwa');
    return list.filter(({ name }) => name === ESN.name).length === 1;
  });
  await ground.inStep('gwb');
  const raised = events.gwa.since(marks.gwa).filter(({ kind, spi }) => kind === 'updated' && spi === first.out).length;
  stage.check('the ceiling of its other SA was raised meanwhile', raised >= 2, `${raised} times`);
  const told = (gateway: Gateway) =>
    events[gateway]
      .since(marks[gateway])
      .filter(({ kind, spi, hard }) => kind === 'expired' && spi === first.in && !hard).length;
  stage.check('the kernel told of the soft limit once', told('gwa') === 1, `${told('gwa')}`);
  const inTime = tookS >= REKEY_S - 2 && tookS <= REKEY_S + latestS + SLACK_S;
  stage.check('charon re-keyed once, in time', rekeyed === 1 && inTime, `${rekeyed}, after ${tookS.toFixed(1)} s`);
  stage.say(`charon on the standby meanwhile:\n${charon.gwb.log().slice(logged).trim()}`);
  await ground.checkNoLoss('no packet was lost');
  await renew({});
  return {
    'soft limit s': REKEY_S,
    're-keyed after s': Number(tookS.toFixed(1)),
    'told by the standby too': told('gwb'),
  };
}
