/**
 * A partition with both gateways alive, mode `safe`. Nobody fences the old active: its half of the inside goes on sending through it, and the
 * outside hears it. What peers send goes to the new one alone: where peers send to both, S2 is not promised (docs/safety.md).
 */
import type { Settings } from '../daemons.ts';
import type { Stage } from '../stage.ts';
import { type Gateway, leadTunnels, makeDeaf, setSyncLink } from '../world.ts';
import type { Course } from './books.ts';
import type { Ground } from './ground.ts';
import { takeOver } from './take-over.ts';

/** Grants that a test can use up, and the takeover of a slow machine does not. */
export const PARTITION_SETTINGS: Settings = { takeover: { mode: 'safe', grant_min: 512, grant_ms: 1000 } };

/** Beyond its rate every outbound flow sends so much, so often, until nothing of it leaves the old active. */
const PUSH = { datagrams: 10, everyMs: 50, timesMax: 400 } as const;
/** An active that is offered traffic for so long and sends nothing has stopped. */
const STOPPED_MS = 1_000;

export async function partition(ground: Ground): Promise<Course> {
  const { stage, form, active: old } = ground;
  const tunnels = ground.tunnels();
  await ground.warmUp();
  leadTunnels(old, tunnels, true);
  const { failover, shown, early, dryRun } = await takeOver(ground, async () => {
    const faultMs = stage.traffic.nowMs();
    makeDeaf(old, true);
    setSyncLink(false);
    stage.say(`the link is down, and ${old} alive`);
    return faultMs;
  }, ['in']);
  const stoppedMs = await untilStopped(stage, old, shown.faultMs);
  const last = lastNumbers(stage, old);
  const out = new Set(stage.connections.map(({ spi }) => spi.out));
  const grants = dryRun.sas.filter(({ spi }) => out.has(Number(spi)));
  const over = grants.filter(({ spi, newOseq }) => (last.get(Number(spi)) ?? 0) > newOseq);
  stage.check('the old active used no number above its grants', over.length === 0, `${over.length} SAs`);
  // The kernel ends an SA at its hard limit. A raise of which the old active never got the answer is known to the standby alone.
  const left = await stage.states(old);
  const expired = grants.filter(({ spi }) => !left.has(Number(spi)));
  stage.check(
    'the old active stopped at the ceiling of every SA',
    expired.length === stage.connections.length,
    `${expired.length} of ${stage.connections.length}`,
  );
  const { role } = await stage.daemons.status(old);
  stage.check('the old active still takes itself for the active', role === 'active', role);
  const unfenced = stage.attacker.recording.filter(({ port, atMs }) => port === old && atMs >= shown.openMs).length;
  stage.check('the old active sent beside the new one', unfenced > 0, `${unfenced} packets`);
  // The rest of the inside comes to the new one, which sends on the same SAs.
  leadTunnels(old, tunnels, false);
  await ground.traffic(form.seconds);
  setSyncLink(true);
  const begin = performance.now();
  await ground.inStep();
  const backMs = Math.round(performance.now() - begin);
  makeDeaf(old, false);
  const { counts } = await stage.daemons.status(ground.active);
  stage.check('neither node finds numbers that both have used', counts.overlaps === 0, String(counts.overlaps));
  await ground.traffic(form.seconds);
  return {
    faultsMs: [shown.faultMs],
    failovers: [failover],
    shown,
    early: [early],
    alsoKept: old,
    split: true,
    facts: {
      'noticed after ms': failover.detectMs,
      'sent by the old active beside the new one': unfenced,
      'stopped at its ceiling': expired.length,
      'stopped after ms': stoppedMs,
      'standby again after ms': backMs,
    },
  };
}

/** Offers traffic on all outbound flows until none of it leaves the gateway. Returns when it sent last, counted from `sinceMs`. */
async function untilStopped(stage: Stage, gateway: Gateway, sinceMs: number): Promise<number> {
  const flows = stage.traffic.flows.filter(({ direction }) => direction === 'out');
  let lastMs = stage.traffic.nowMs();
  let seen = stage.attacker.recording.length;
  for (let i = 0; i < PUSH.timesMax; i++) {
    if (stage.traffic.nowMs() - lastMs >= STOPPED_MS) break;
    stage.traffic.push(flows, PUSH.datagrams);
    await stage.pass(PUSH.everyMs);
    const { recording } = stage.attacker;
    for (; seen < recording.length; seen++) if (recording[seen]?.port === gateway) lastMs = recording[seen]?.atMs ?? 0;
  }
  const silentMs = stage.traffic.nowMs() - lastMs;
  stage.check(`${gateway} stopped by itself`, silentMs >= STOPPED_MS, `silent for ${Math.round(silentMs)} ms`);
  stage.say(`${gateway} has stopped by itself`);
  return Math.round(lastMs - sinceMs);
}

/** The highest number of each SPI that came out of a gateway. */
function lastNumbers({ attacker }: Stage, gateway: Gateway): Map<number, number> {
  const last = new Map<number, number>();
  for (const { port, spi, seq } of attacker.recording)
    if (port === gateway) last.set(spi, Math.max(last.get(spi) ?? 0, seq));
  return last;
}
