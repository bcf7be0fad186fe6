/** The charon of the new active negotiates all CHILD_SAs anew: it says that it knows of no others, so that the peer drops its old ones. */
import { ADDRESSES, ipBatch } from '../world.ts';
import { BUSY, type Child, REPLICATED } from './children.ts';
import type { Ground } from './ground.ts';
import type { Facts } from './steps.ts';

export async function renegotiate(ground: Ground): Promise<Facts> {
  const { stage, charon, events } = ground;
  const { traffic } = stage;
  const old = ground.replicated();
  const deletions = REPLICATED.flatMap((child) => deleteLines(ground, child));
  const mark = events.gwb.mark();
  const logged = charon.gwb.log().length;
  const beginMs = traffic.nowMs();
  for (const { name } of REPLICATED) await charon.gwb.ctl('--initiate', '--child', name);
  const doneMs = traffic.nowMs();
  await ground.learn('gwb');
  await stage.pass(3_000);
  traffic.stop();
  await stage.quiet();
  const flows = traffic.flows.filter(({ connection }) => REPLICATED.some(({ name }) => name === connection.name));
  const lost = (fromMs: number, toMs: number) =>
    flows.reduce(
      (sum, flow) =>
        sum + flow.sentAtMs.filter((ms, n) => ms >= fromMs && ms < toMs && flow.receivedAtMs[n] === undefined).length,
      0,
    );
  stage.check(
    'traffic goes on with the new SAs, and nothing is lost on them',
    lost(doneMs, traffic.nowMs()) === 0,
    `${lost(doneMs, traffic.nowMs())} lost`,
  );
  const used = BUSY.filter(({ foreign }) => !foreign).filter(
    (child) => ground.onWire(ground.spis(child).out) > 0 && ground.onWire(ground.spis(child).in) > 0,
  );
  stage.check('both directions use them', used.length === BUSY.length - 1, used.map(({ name }) => name).join(' '));
  const states = await stage.states('gwb');
  const left = [...old].filter((spi) => states.has(spi));
  const status = await stage.daemons.status('gwb', true);
  const listed = new Set(status.list?.map(({ spi }) => Number(spi)));
  const missing = [...ground.replicated()].filter((spi) => !listed.has(spi));
  stage.check('the daemon has the new SAs', missing.length === 0, `${listed.size}`);
  const peers = await charon.peer.childSas();
  stage.say(
    `the peer has ${peers.length} CHILD_SAs; gwb's kernel ${states.size} SAs, ${left.length} of them old\n${charon.gwb.log().slice(logged)}`,
  );
  const deleted = events.gwb.since(mark).filter(({ kind }) => kind === 'deleted' || kind === 'flushed').length;
  stage.check('charon deletes nothing that it does not know', deleted === 0, `${deleted}`);
  // What nobody else does: the new active's charon does not know these SAs, and the peer has none of them any more.
  ipBatch('gwb', deletions);
  await stage.daemons.until('gwb', 'without the old SAs', ({ sas }) => sas === ground.replicated().size);
  return {
    'negotiation of all of them ms': Math.round(doneMs - beginMs),
    'packets lost meanwhile': lost(beginMs, doneMs),
    'old SAs left in the kernel': left.length,
    'CHILD_SAs of the peer': peers.length,
  };
}

/** Of a child's SAs as they are now. An SA with a mark is found by its mark. */
function deleteLines(ground: Ground, child: Child): string[] {
  const { in: spiIn, out } = ground.spis(child);
  const [here, peer] = [ADDRESSES.shared[4], ADDRESSES.peer[4]];
  const mark = child.mark === undefined ? '' : ` mark ${child.mark.replace('/', ' mask ')}`;
  return [
    `xfrm state delete src ${peer} dst ${here} proto esp spi 0x${spiIn.toString(16)}`,
    `xfrm state delete src ${here} dst ${peer} proto esp spi 0x${out.toString(16)}${mark}`,
  ];
}
