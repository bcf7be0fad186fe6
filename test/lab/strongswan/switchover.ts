/** A planned switchover and the way back: the charon of the first active keeps its IKE_SA and its CHILD_SAs, and goes on with them. */
import type { Gateway } from '../world.ts';
import { CHILDREN, type Child } from './children.ts';
import type { Ground } from './ground.ts';
import type { Facts } from './steps.ts';

const LIMITED = CHILDREN.find(({ name }) => name === 'limited') as Child;
const AWAY_MS = 5_000;

export async function switchover(ground: Ground): Promise<Facts> {
  const { stage, charon, events } = ground;
  const show = async () =>
    (await charon.gwa.childSas())
      .map(({ name, uniqueId, state, spiIn }) => `${name} #${uniqueId} ${state} ${spiIn}`)
      .join();
  const generations = ground.generations(LIMITED);
  const first = await show();
  stage.traffic.start();
  const marks = { gwa: events.gwa.mark(), gwb: events.gwb.mark() };
  const logged = charon.gwa.log().length;
  const commandMs: number[] = [];
  const to = async (gateway: Gateway, other: Gateway) => {
    const begin = performance.now();
    const { kind } = await stage.daemons.ask<{ kind: string }>(gateway, { command: 'promote' });
    commandMs.push(Math.round(performance.now() - begin));
    stage.check(`a switchover to ${gateway}`, kind === 'switchover', kind);
    await ground.inStep(other);
    await stage.pass(AWAY_MS);
  };
  await to('gwb', 'gwa');
  const away = await show();
  stage.check('charon on the old active keeps its CHILD_SAs', first === away, away);
  await to('gwa', 'gwb');
  stage.say(`charon on gwa meanwhile:\n${charon.gwa.log().slice(logged).trim()}`);
  const gone = (['gwa', 'gwb'] as const).flatMap((gateway) =>
    events[gateway].since(marks[gateway]).filter(({ kind, of }) => of === 'sa' && kind !== 'updated'),
  );
  stage.check(
    'no SA was deleted, added or expired',
    gone.length === 0,
    gone.map(({ kind }) => kind).join(' ') || '0 events',
  );
  await charon.gwa.ctl('--rekey', '--child', LIMITED.name);
  await ground.until(
    'charon has re-keyed',
    async () =>
      (await ground.learn('gwa')).filter(({ name }) => name === LIMITED.name).length === 1 &&
      ground.generations(LIMITED) > generations,
  );
  await ground.inStep('gwb');
  await ground.checkNoLoss('no packet was lost on what is replicated', ({ foreign }) => !foreign);
  return { 'switchover ms': Math.max(...commandMs) };
}
