/**
 * The active loses its standby, and nobody says that it may go on alone: its SAs stop at their ceilings. To charon that is a hard limit.
 * The other node is a gateway again by then, with a new kernel.
 */
import { type Gateway, rebootGateway, setSyncLink } from '../world.ts';
import { CHILDREN, type Child, LIFE_PACKETS } from './children.ts';
import type { Ground } from './ground.ts';
import type { Facts } from './steps.ts';

const LIMITED = CHILDREN.find(({ name }) => name === 'limited') as Child;
/** An event of the packet threshold is made before its packet is counted, so a ceiling that follows from it is one packet lower. */
const SHORT_BY = 1;
const AFTER_MS = 2_000;

export async function cutOff(ground: Ground): Promise<Facts> {
  const { stage, charon, events } = ground;
  rebootGateway('gwa');
  stage.daemons.booted('gwa');
  stage.traffic.startApplications('gwa');
  stage.daemons.start('gwa');
  await ground.inStep('gwa');
  stage.say('gwa is a complete standby again, of SAs that the charon of gwb has negotiated');
  stage.traffic.start();
  const { out } = ground.spis(LIMITED);
  const grantedBy = async (gateway: Gateway) => {
    const { list = [] } = await stage.daemons.status(gateway, true);
    return list.find(({ spi }) => Number(spi) === out)?.granted ?? 0;
  };
  const granted = await grantedBy('gwb');
  const mark = events.gwb.mark();
  const logged = charon.gwb.log().length;
  const ended = () => events.gwb.since(mark).filter(({ kind, spi, hard }) => kind === 'expired' && spi === out && hard);
  setSyncLink(false);
  await ground.pushUntil(LIMITED, () => ended().length > 0);
  stage.say('the SA has expired at its ceiling');
  await ground.until('charon has negotiated another CHILD_SA', async () => {
    await ground.learn('gwb');
    return ground.spis(LIMITED).out !== out;
  });
  const known = await grantedBy('gwa');
  const fresh = ground.spis(LIMITED);
  const last = stage.attacker.recording.reduce((max, { spi, seq }) => (spi === out ? Math.max(max, seq) : max), 0);
  stage.check(
    'the SA stopped at its ceiling',
    last >= granted - SHORT_BY && last <= known && ended().length === 1,
    `number ${last}, ${granted} granted just before the link was lost, ${known} by the standby`,
  );
  const spisOf = async (host: 'gwb' | 'peer') =>
    (await charon[host].childSas()).map(({ spiIn, spiOut }) => [spiIn, spiOut]);
  const spis = [...(await spisOf('gwb')), ...(await spisOf('peer'))].flat();
  stage.say(`charon on gwb meanwhile:\n${charon.gwb.log().slice(logged).trim()}`);
  stage.check(
    'charon took it for a hard limit: the CHILD_SA is gone here and at the peer',
    !spis.includes(out),
    `${spis.filter((spi) => spi === out).length} left`,
  );
  stage.check(
    'and made another one',
    spis.filter((spi) => spi === fresh.out).length === 2,
    `${spis.length / 4} CHILD_SAs at each`,
  );
  const limits = async () => Number((await ground.sa('gwb', fresh.out)).limits['hard packets']);
  await ground.until('the new SA has a ceiling of its own', async () => (await limits()) < LIFE_PACKETS);
  const first = await limits();
  setSyncLink(true);
  await ground.learn('gwb');
  await ground.inStep('gwa');
  await stage.pass(AFTER_MS);
  stage.traffic.stop();
  await stage.quiet();
  const used = ground.onWire(ground.spis(LIMITED).in) > 0 && ground.onWire(ground.spis(LIMITED).out) > 0;
  stage.check('it is used, and on the standby once the link is back', used, `${first} packets granted at first`);
  return { 'last number': last, 'granted when the link was lost': granted, 'granted to the new one': first };
}
