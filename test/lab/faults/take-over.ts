/** A fault that ends the reign of the active gateway, and the takeover by its standby, with all that the standby showed. */
import type { DryRun } from '../../../src/node/index.ts';
import { replayWhenHeld } from '../attack.ts';
import { peerSeen } from '../daemons.ts';
import type { Replay } from '../results.ts';
import type { Direction } from '../sas.ts';
import type { Shown } from './books.ts';
import type { Ground } from './ground.ts';
import type { Failover } from './results.ts';

export interface TakenOver {
  failover: Failover;
  shown: Shown;
  early: Replay;
  dryRun: DryRun;
}

/**
 * What a takeover must assume grows with the time in which nothing is known, for the most part by whole seconds. The dry run and the promotion
 * right after it are made within one of them, so that they speak of the same.
 */
const STEP_MS = 1_000;
const STEP_LATEST_MS = 600;
const STEP_EARLIEST_MS = 50;

/**
 * `fault` breaks something and returns when. `directions`: of which SAs the old active's kernel can be compared with what the standby knew; one
 * that goes on sending is further with every look.
 */
export async function takeOver(
  ground: Ground,
  fault: () => Promise<number>,
  directions: readonly Direction[] = ['in', 'out'],
): Promise<TakenOver> {
  const { stage, active: from, standby: to } = ground;
  const spis = (wanted: readonly Direction[]) =>
    new Set(stage.connections.flatMap(({ spi }) => wanted.map((direction) => spi[direction])));
  const compared = spis(directions);
  const { list = [] } = await stage.daemons.status(to, true);
  const exposure = sum(list.map((sa) => (compared.has(Number(sa.spi)) ? (sa.exposurePackets ?? 0) : 0)));
  const faultMs = await fault();
  const left = await stage.states(from);
  await stage.daemons.until(to, 'without its peer', (s) => !peerSeen(s));
  const detectMs = Math.round(stage.traffic.nowMs() - faultMs);
  stage.say(`${to} sees that ${from} is gone, ${detectMs} ms after the fault`);
  const dryRun = await dryRunWithinStep(ground);
  const inbound = spis(['in']);
  const lossMax = new Map(
    dryRun.sas.flatMap(({ spi, lossMax }) => (inbound.has(Number(spi)) ? [[Number(spi), lossMax] as const] : [])),
  );
  const unseen = sum(
    dryRun.sas.map(({ spi, seq, oseq }) => {
      const sa = left.get(Number(spi));
      if (sa === undefined || !compared.has(Number(spi))) return 0;
      return Math.max(0, inbound.has(Number(spi)) ? Number(sa.seq) - seq : Number(sa.oseq) - oseq);
    }),
  );
  const [failover, early] = await Promise.all([ground.promote(), replayWhenHeld(stage, to, faultMs)]);
  const openMs = stage.traffic.nowMs();
  return {
    failover: { ...failover, detectMs },
    shown: { exposure, unseen, lossMax, to, faultMs, openMs },
    early,
    dryRun,
  };
}

async function dryRunWithinStep({ stage, standby }: Ground): Promise<DryRun> {
  for (;;) {
    const dryRun = await stage.daemons.ask<DryRun>(standby, { command: 'dryRun' });
    const within = (dryRun.unseenMs ?? 0) % STEP_MS;
    if (within >= STEP_EARLIEST_MS && within <= STEP_LATEST_MS) return dryRun;
    await stage.pass(STEP_EARLIEST_MS);
  }
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
