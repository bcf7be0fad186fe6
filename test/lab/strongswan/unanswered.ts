/**
 * The active's charon is killed and starts anew: like that of a node which has taken over, it knows nothing of the SAs that its kernel has.
 * Then the peer wants to re-key.
 */
import { CHILDREN, type Child } from './children.ts';
import type { Ground } from './ground.ts';
import type { Facts } from './steps.ts';

const ESN = CHILDREN.find(({ name }) => name === 'esn') as Child;
const AFTER_MS = 2_000;

export async function unanswered(ground: Ground): Promise<Facts> {
  const { stage, charon, events } = ground;
  const { traffic } = stage;
  const mark = events.gwb.mark();
  traffic.start();
  await charon.gwb.stop('SIGKILL');
  await charon.gwb.start();
  await stage.pass(AFTER_MS);
  const known = await charon.gwb.childSas();
  const touched = events.gwb.since(mark).filter(({ kind }) => kind !== 'updated');
  stage.check(
    'a charon that dies and starts anew on the active touches nothing',
    known.length === 0 && touched.length === 0,
    `${touched.length} events`,
  );
  const logged = { gwb: charon.gwb.log().length, peer: charon.peer.log().length };
  const beginMs = traffic.nowMs();
  await charon.peer.ctl('--rekey', '--child', ESN.name);
  await ground.until('the peer has given up', async () => (await charon.peer.childSas()).length === 0);
  const gaveUpMs = traffic.nowMs() - beginMs;
  await stage.pass(AFTER_MS);
  traffic.stop();
  await stage.quiet();
  stage.say(`charon on gwb meanwhile:\n${charon.gwb.log().slice(logged.gwb).trim()}`);
  stage.say(`charon on the peer:\n${charon.peer.log().slice(logged.peer).trim()}`);
  const left = (await stage.states('gwb')).size;
  stage.check(
    "the new active's kernel still has them",
    left >= (await stage.daemons.status('gwb')).installed,
    `${left}`,
  );
  return { 'the peer gave up after ms': Math.round(gaveUpMs), 'SAs left here': left };
}
