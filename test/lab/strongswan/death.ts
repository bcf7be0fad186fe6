/**
 * The active dies, and its charon with it, after the kernel there has told charon of a soft limit in vain. The standby takes over, beside a
 * charon that knows nothing of these SAs.
 */
import { outageMs } from '../../../src/demo/flow-report.ts';
import { replayAll, replayWhenHeld } from '../attack.ts';
import { reusedOutbound } from '../attacker.ts';
import { peerSeen } from '../daemons.ts';
import { pushShut } from '../shut.ts';
import type { Gateway } from '../world.ts';
import { CHILDREN, type Child, PEER_DPD_S, REKEY_PACKETS } from './children.ts';
import type { Ground } from './ground.ts';
import type { Facts } from './steps.ts';

const LIMITED = CHILDREN.find(({ name }) => name === 'limited') as Child;
const AFTER_MS = 5_000;

export async function death(ground: Ground): Promise<Facts> {
  const { stage, charon, events } = ground;
  const { traffic, attacker } = stage;
  traffic.start();
  const flows = traffic.flows.filter(
    ({ connection }) => !CHILDREN.find(({ name }) => name === connection.name)?.foreign,
  );
  await ground.pushUntil(LIMITED, () => ground.onWire(ground.spis(LIMITED).out) >= REKEY_PACKETS - 100);
  const { out } = ground.spis(LIMITED);
  // It does not hear of the soft limit, so it cannot re-key.
  charon.gwa.freeze(true);
  const marks = { gwa: events.gwa.mark(), gwb: events.gwb.mark() };
  await ground.pushUntil(LIMITED, () => ground.onWire(out) >= REKEY_PACKETS + 20);
  await ground.until('the kernel has told of the soft limit', () => softOf(ground, 'gwa', marks.gwa, out) > 0);
  const before = await stage.states('gwa');
  const policies = await ground.replicatedPolicies('gwa');
  const told = softOf(ground, 'gwb', marks.gwb, out);
  stage.check('a standby tells nobody of soft limits', told === 0, `${told}`);
  const logged = charon.gwb.log().length;
  const loggedPeer = charon.peer.log().length;

  const faultMs = await ground.die('gwa');
  await stage.daemons.until('gwb', 'without its peer', (s) => !peerSeen(s));
  const [answer, early] = await Promise.all([
    stage.daemons.ask<{ kind: string; takeoverMs: number; skipMax?: number }>('gwb', { command: 'promote' }),
    replayWhenHeld(stage, 'gwb', faultMs),
  ]);
  const openMs = traffic.nowMs();
  stage.say(`${answer.kind}: gwb is active`);
  await stage.pass(AFTER_MS);
  const pushed = (await pushShut(stage, openMs, (flow) => flows.includes(flow))).length;
  await stage.pass(AFTER_MS);
  // Traffic goes on for longer than the peer would be patient without it.
  const patience = openMs + (PEER_DPD_S + 5) * 1000;
  await stage.waitFor(() => traffic.nowMs() > patience, 'the peer has had reason to ask');
  const asked = charon.peer.log().slice(loggedPeer).split('sending DPD request').length - 1;
  stage.check('the peer does not ask whether the gateway is alive, as it hears ESP', asked === 0, `${asked} times`);
  const silent = flows.filter(({ newestSentMs }) => newestSentMs < openMs);
  stage.check(
    'traffic goes on in both directions of every connection',
    silent.length === 0,
    silent.map(({ connection, direction }) => `${connection.name} ${direction}`).join(' '),
  );
  traffic.stop();
  await stage.quiet();

  const after = await stage.states('gwb');
  const wanted = ground.replicated();
  const changed = [...wanted].filter((spi) => before.get(spi)?.identity !== after.get(spi)?.identity);
  stage.check(
    'with the SAs that charon had negotiated',
    changed.length === 0 && after.size === wanted.size,
    `${after.size}`,
  );
  const copies = await ground.policies('gwb');
  stage.check('and their policies, whatever was there before', policies.join() === copies.join(), `${copies.length}`);
  const soft = softOf(ground, 'gwb', marks.gwb, out);
  stage.check('the new active tells of the soft limit that was passed', soft >= 1, `${soft} times`);
  const lines = charon.gwb.log().slice(logged).trim().split('\n');
  stage.say(`charon on gwb meanwhile:\n${lines.join('\n')}`);
  const ended = events.gwb
    .since(marks.gwb)
    .filter(({ kind, of }) => (kind === 'deleted' || kind === 'new') && of === 'sa');
  stage.check(
    'the charon there deletes nothing and adds nothing',
    ended.length === 0,
    ended.map(({ kind, of }) => `${kind} ${of}`).join(' ') || `${lines.length} lines in its log`,
  );
  const known = await charon.gwb.childSas();
  stage.check('and has no CHILD_SA', known.length === 0, `${known.length}`);

  const replays = [early, await replayAll(stage, 'gwb'), await replayAll(stage, 'peer')];
  const accepted = replays.reduce((sum, one) => sum + one.accepted, 0);
  const tried = replays.reduce((sum, one) => sum + one.tried, 0);
  stage.check('no replay accepted (S2)', accepted === 0, `${accepted} of ${tried}`);
  const drops = attacker.drops();
  stage.check('the recorder missed nothing', drops === 0, `${attacker.recording.length} frames`);
  const reused = reusedOutbound(attacker.recording);
  stage.check('no outbound number used twice (S1)', reused.length === 0, `${reused.length}`);
  traffic.start();
  return {
    'takeover ms': Math.round(answer.takeoverMs),
    'silence of the outbound flow ms': Math.round(outageMs(ground.flow(LIMITED, 'out'), faultMs, traffic.nowMs())),
    'soft limit told by the new active': soft,
    'flows past a closed window': pushed,
    'replays tried': tried,
    'ESP frames recorded': attacker.recording.length,
    'lines of charon on the new active': lines.filter((line) => line !== '').length,
  };
}

/** How often a kernel has told of the soft limit of an SA. */
function softOf({ events }: Ground, gateway: Gateway, mark: number, spi: number): number {
  return events[gateway].since(mark).filter((event) => event.kind === 'expired' && event.spi === spi && !event.hard)
    .length;
}
