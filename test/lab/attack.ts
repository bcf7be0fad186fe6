/** Replays: what the attacker has recorded is sent once more, and what became of it. */
import { newestFirst, type Port } from '../../src/demo/recording.ts';
import type { Recorded } from './attacker.ts';
import { readProcNet } from './libc.ts';
import type { Replay } from './results.ts';
import type { Stage } from './stage.ts';
import { parseXfrmStat, statGrowth } from './state-text.ts';
import type { Gateway } from './world.ts';

/** Frames per SPI that are replayed in the very moment of a takeover: two windows of 32. */
const EARLY_REPLAYS = 64;
/** Until what was replayed into running traffic has been delivered, if it is. */
const DELIVERY_MS = 200;

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

/**
 * In the moment the gateway claims the address: the newest frames that its predecessor had accepted, while traffic goes on. Frames of the
 * outage are left out: nobody has had them, so a replay of those would only repair losses.
 */
export async function replayWhenHeld(stage: Stage, target: Gateway, failoverMs: number): Promise<Replay> {
  await stage.waitFor(() => stage.traffic.holds(target), `${target} has the shared address`);
  const frames = framesTo(stage, target).filter((frame) => frame.atMs < failoverMs);
  return replay(stage, `at ${target} in the moment of the failover`, newestFirst(frames, EARLY_REPLAYS), target, false);
}

/** Everything that was ever sent towards one machine, while nothing else is sent. */
export function replayAll(stage: Stage, target: Port): Promise<Replay> {
  return replay(stage, `of everything at ${target}, traffic paused`, framesTo(stage, target), target, true);
}

function framesTo({ connections, attacker }: Stage, target: Port): Recorded[] {
  const inbound = new Set(connections.map((connection) => connection.spi.in));
  // Each frame once: one that a gateway passed on came into the bridge twice.
  return attacker.recording.filter((frame) =>
    target === 'peer' ? !inbound.has(frame.spi) : inbound.has(frame.spi) && frame.port === 'peer',
  );
}

async function replay(
  stage: Stage,
  name: string,
  frames: readonly Recorded[],
  target: Port,
  paused: boolean,
): Promise<Replay> {
  const stat = () => parseXfrmStat(readProcNet(target, 'xfrm_stat'));
  const counters = async () => sum([...(await stage.states(target)).values()].map((sa) => sa.lifetimePackets));
  const delivered = () => ({
    unique: sum(stage.traffic.flows.map((flow) => flow.received)),
    again: sum(stage.traffic.flows.map((flow) => flow.duplicates)),
  });
  const before = { stat: stat(), packets: paused ? await counters() : 0, ...delivered() };
  await stage.attacker.inject(frames, target);
  if (paused) await stage.quiet();
  else await stage.pass(DELIVERY_MS);
  const after = { stat: stat(), packets: paused ? await counters() : 0, ...delivered() };
  const result: Replay = {
    target: name,
    tried: frames.length,
    accepted: after.again - before.again,
    late: paused ? after.unique - before.unique : 0,
    stat: statGrowth(before.stat, after.stat),
  };
  stage.say(`replay ${name}: ${result.tried} frames, ${result.accepted} accepted`);
  if (paused) {
    const taken = result.accepted + result.late;
    stage.check(
      `replay ${name}: SA counters moved only for what was delivered`,
      after.packets - before.packets === taken,
      `+${after.packets - before.packets}`,
    );
    const refused = sum(Object.values(result.stat));
    stage.check(
      `replay ${name}: the kernel counted each refusal`,
      refused + taken === result.tried,
      `${refused} of ${result.tried}`,
    );
  }
  return result;
}
