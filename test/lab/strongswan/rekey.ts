/** Re-keys that charon is told to do, while traffic flows: the new SAs reach the standby, and the old ones go there too. */
import { BUSY } from './children.ts';
import type { Ground } from './ground.ts';
import type { Facts } from './steps.ts';

const TIMES = 2;

export async function rekey(ground: Ground): Promise<Facts> {
  const { stage, charon, events } = ground;
  const marks = { gwa: events.gwa.mark(), gwb: events.gwb.mark() };
  const old: number[] = [];
  const stepMs: number[] = [];
  for (let i = 0; i < TIMES; i++) {
    for (const child of BUSY) {
      if (!child.foreign) old.push(...Object.values(ground.spis(child)));
      const begin = performance.now();
      await charon.gwa.ctl('--rekey', '--child', child.name);
      await ground.until(`${child.name} has been re-keyed`, async () => {
        const generations = ground.generations(child);
        const list = await ground.learn('gwa');
        return ground.generations(child) > generations || list.filter(({ name }) => name === child.name).length > 1;
      });
      // The old CHILD_SA stays for some seconds, for what is under way on it.
      await ground.until(
        `${child.name} has one CHILD_SA`,
        async () => (await charon.gwa.childSas()).filter(({ name }) => name === child.name).length === 1,
      );
      await ground.inStep('gwb');
      stepMs.push(Math.round(performance.now() - begin));
    }
  }
  const here = await stage.states('gwa');
  const there = await stage.states('gwb');
  const left = old.filter((spi) => here.has(spi) || there.has(spi));
  stage.check('the old SAs are gone from both kernels', left.length === 0, `${old.length} SAs`);
  const missing = [...ground.replicated()].filter((spi) => here.get(spi)?.identity !== there.get(spi)?.identity);
  stage.check('the new ones are on the standby, the same', missing.length === 0, `${ground.replicated().size} SAs`);
  const wanted = await ground.replicatedPolicies('gwa');
  const copies = await ground.policies('gwb');
  stage.check(
    'the policies on the standby are those of the active',
    wanted.join('\n') === copies.join('\n'),
    `${copies.length}`,
  );
  const deleted = (gateway: 'gwa' | 'gwb') =>
    events[gateway]
      .since(marks[gateway])
      .filter(({ kind, of }) => kind === 'deleted' && of === 'sa')
      .map(({ spi }) => spi);
  const extra = deleted('gwb').filter((spi) => !old.includes(spi));
  stage.check(
    'the standby deleted those and no others',
    extra.length === 0 && new Set(deleted('gwb')).size === old.length,
    `${deleted('gwb').length}`,
  );
  const expired = events.gwa.since(marks.gwa).filter(({ kind }) => kind === 'expired').length;
  stage.check('no SA expired', expired === 0, `${expired}`);
  await ground.checkNoLoss('no packet was lost');
  stepMs.sort((a, b) => a - b);
  return {
    're-keys': stepMs.length,
    'until the old SAs are gone everywhere, ms, median': stepMs[stepMs.length >> 1] ?? 0,
  };
}
