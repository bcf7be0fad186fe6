/** Ceilings beside charon's own limits: it notices nothing of the former, and the kernel keeps the latter. */
import { peerSeen } from '../daemons.ts';
import type { Gateway } from '../world.ts';
import { CHILDREN, type Child, LIFE_PACKETS, REKEY_PACKETS } from './children.ts';
import type { Ground, Limits, Spis } from './ground.ts';
import type { Facts } from './steps.ts';

const LIMITED = CHILDREN.find(({ name }) => name === 'limited') as Child;
const FOREIGN = CHILDREN.find(({ name }) => name === 'foreign') as Child;
/** Where the first part ends, well before charon's soft limit. */
const FIRST_PART = 850;
/** A re-key takes a few exchanges, each beside two daemons and a few hundred packets. */
const SLACK_PACKETS = 400;
const DIRECTIONS = ['in', 'out'] as const;
const AFTER_MS = 3_000;

export async function ceilings(ground: Ground): Promise<Facts> {
  const { stage, charon, events } = ground;
  const old = ground.spis(LIMITED);
  const first = (await charon.gwa.childSas()).map(sameness);
  const mark = events.gwa.mark();
  stage.traffic.start();
  await ground.pushUntil(LIMITED, () => ground.onWire(old.out) >= FIRST_PART);
  const quiet = events.gwa.since(mark);
  const raised = quiet.filter(({ kind, spi }) => kind === 'updated' && spi === old.out).length;
  stage.check(
    'the ceiling of a busy SA was raised, often',
    raised >= 3,
    `${raised} times in ${ground.onWire(old.out)} packets`,
  );
  const others = quiet.filter(({ kind }) => kind !== 'updated');
  stage.check(
    'no SA or policy was deleted, added or expired meanwhile',
    others.length === 0,
    others.map(({ kind }) => kind).join(' ') || '0 events',
  );
  const left = Object.values(ground.spis(FOREIGN));
  const strayed = quiet.filter(({ spi }) => left.includes(spi)).length;
  stage.check('an SA that is not selected was left alone', strayed === 0, `${strayed} updates`);
  const now = (await charon.gwa.childSas()).map(sameness);
  stage.check('charon shows the same CHILD_SAs', first.join() === now.join(), `${now.length}`);

  const has = async (gateway: Gateway, spis: Spis) => {
    const states = await stage.states(gateway);
    return DIRECTIONS.every((direction) =>
      same(states.get(spis[direction])?.limits, ground.ownLimits(LIMITED, direction)),
    );
  };
  const ceiling = (await ground.sa('gwa', old.out)).limits['hard packets'];
  stage.check(
    "a ceiling stands in the place of charon's hard limit",
    Number(ceiling) < LIFE_PACKETS,
    `${ceiling} packets`,
  );
  const soft = (await ground.sa('gwa', old.out)).limits['soft packets'];
  stage.check("and beside charon's soft limit", soft === String(REKEY_PACKETS), `${soft} packets`);
  stage.check("the standby's kernel has charon's limits", await has('gwb', old), LIMITED.name);

  const back = async (how: string) => {
    await stage.daemons.until('gwa', 'free of grants', (s) => !s.bound);
    await ground.until(`charon's limits are back, the standby having been ${how}`, () => has('gwa', old));
    stage.check(`charon's limits are back, the standby having been ${how}`, await has('gwa', old), LIMITED.name);
    stage.daemons.start('gwb');
    await ground.inStep('gwb');
    const again = (await ground.sa('gwa', old.out)).limits['hard packets'];
    stage.check(
      `a ceiling again, with the standby that had been ${how}`,
      Number(again) < LIFE_PACKETS,
      `${again} packets`,
    );
  };
  // A soft limit that is reached in the middle of this would be another SA.
  stage.traffic.stop();
  await stage.daemons.kill('gwb', 'SIGTERM');
  await back('stopped');
  await stage.daemons.kill('gwb');
  await stage.daemons.until('gwa', 'without its standby', (s) => !peerSeen(s));
  await stage.daemons.ask('gwa', { command: 'dismiss' });
  await back('dismissed');
  stage.traffic.start();

  await ground.pushUntil(LIMITED, async () => {
    if (ground.onWire(old.out) < REKEY_PACKETS) return false;
    await ground.learn('gwa');
    return ground.spis(LIMITED).out !== old.out;
  });
  stage.say('charon has re-keyed at its soft limit');
  await stage.pass(AFTER_MS);
  await ground.inStep('gwb');
  const list = await ground.learn('gwa');
  stage.check(
    'one re-key, and no second one',
    list.filter(({ name }) => name === LIMITED.name).length === 1 && ground.generations(LIMITED) === 2,
    `${ground.generations(LIMITED) - 1}`,
  );
  const expired = events.gwa.since(mark).filter(({ kind }) => kind === 'expired');
  const told = expired.filter(({ spi, hard }) => spi === old.out && !hard);
  stage.check(
    'the kernel told of the soft limit once',
    told.length === 1 && expired.length === 1,
    JSON.stringify(expired),
  );
  const jobs = charon.gwa.log().split(`creating rekey job for CHILD_SA ESP/0x${old.out.toString(16)}`).length - 1;
  stage.check('charon began one re-key', jobs === 1, `${jobs}`);
  const sent = ground.onWire(old.out);
  stage.check(
    'at its number of packets',
    sent >= REKEY_PACKETS && sent < REKEY_PACKETS + SLACK_PACKETS,
    `${sent} packets on the old SA, ${REKEY_PACKETS} wanted`,
  );
  const fresh = ground.spis(LIMITED);
  stage.check("the new SAs have charon's limits on the standby", await has('gwb', fresh), LIMITED.name);
  await ground.checkNoLoss('no packet was lost');
  return {
    'ceilings written before the re-key': raised,
    'packets at the soft expiry': told[0]?.packets ?? 0,
    'packets on the old outbound SA': sent,
  };
}

const sameness = ({
  name,
  uniqueId,
  state,
  spiIn,
  spiOut,
}: {
  name: string;
  uniqueId: string;
  state: string;
  spiIn: number;
  spiOut: number;
}) => `${name} #${uniqueId} ${state} ${spiIn.toString(16)} ${spiOut.toString(16)}`;

const same = (one: Limits | undefined, other: Limits) =>
  one !== undefined && Object.keys(other).every((name) => one[name] === other[name]);
