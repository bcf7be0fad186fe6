/** What charon has negotiated is on the standby, and nothing else is; a charon that starts and stops there touches nothing. */
import { CHILDREN, REPLICATED } from './children.ts';
import type { Ground } from './ground.ts';
import type { Facts } from './steps.ts';

/** What parking does to an outbound number: the kernel drops what the SA should send. */
const ENDS = new Set([0xffff_ffffn, 0xffff_ffff_ffff_ffffn]);

export async function negotiate(ground: Ground): Promise<Facts> {
  const { stage, charon } = ground;
  const before = await stage.states('gwa');
  await ground.startDaemons();
  const first = await stage.states('gwa');
  const there = await stage.states('gwb');
  const wanted = ground.replicated();
  stage.check(
    'the standby has the SAs of the selection, and no other',
    sameSet(wanted, new Set(there.keys())),
    `${there.size}`,
  );
  const changed = [...wanted].filter((spi) => first.get(spi)?.identity !== there.get(spi)?.identity);
  stage.check(
    'they are the same in all that identifies them: mark, interface id, ESN, window, keys',
    changed.length === 0,
    `${wanted.size}`,
  );
  const touched = [...before].filter(([spi, sa]) => first.get(spi)?.identity !== sa.identity);
  stage.check("the active's are as charon has installed them", touched.length === 0, `${before.size}`);
  const open = [...there.values()].filter(({ oseq }) => !ENDS.has(oseq));
  stage.check('none of them can send on the standby', open.length === 0, `${open.length} can`);
  const policies = await ground.replicatedPolicies('gwa');
  const copies = await ground.policies('gwb');
  const samePolicies = policies.length === REPLICATED.length * 3 && policies.join('\n') === copies.join('\n');
  stage.check('and their policies, and no other', samePolicies, `${copies.length} of ${policies.length}`);

  const mark = ground.events.gwb.mark();
  const look = async () =>
    JSON.stringify([
      [...(await stage.states('gwb'))].map(([spi, sa]) => [spi, sa.identity]),
      await ground.policies('gwb'),
    ]);
  const quiet = await look();
  await charon.gwb.start();
  const started = await look();
  await charon.gwb.stop('SIGTERM');
  const stopped = await look();
  await charon.gwb.start();
  const gone = ground.events.gwb.since(mark).filter(({ kind }) => kind !== 'updated');
  stage.check(
    'a charon that starts and stops on the standby touches no SA and no policy',
    quiet === started && quiet === stopped && gone.length === 0,
    `${gone.length} events`,
  );
  const known = await charon.gwb.childSas();
  stage.check('it knows of no CHILD_SA', known.length === 0, `${known.length}`);
  return {
    'SAs on the active': first.size,
    'SAs on the standby': there.size,
    'policies on the standby': copies.length,
    CHILD_SAs: CHILDREN.length,
  };
}

const sameSet = (one: ReadonlySet<number>, other: ReadonlySet<number>) =>
  one.size === other.size && [...one].every((spi) => other.has(spi));
