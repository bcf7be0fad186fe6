/** What a demo has proven, from what somebody independent saw: the attacker's recording, and the counts of the hosts. */
import type { Status } from '../node/index.ts';
import { nowMs } from './clock.ts';
import type { Expectations } from './expectations.ts';
import type { Flow } from './flows.ts';
import { type Begin, countBetween, type KnownSa, phasesOf, silence, tenths, unseen } from './phases.ts';
import { type DemoResult, type Replay, sum, type Takeover, triedOf } from './result.ts';
import type { World } from './world.ts';

/** What `promote` answers, as far as it is shown. */
export interface Promoted {
  readonly takeoverMs: number;
  readonly unseenMs: number;
  readonly skipMax: number;
  readonly closedMax: number;
  readonly failed: number;
  readonly sas: number;
}

/** Times are those of `nowMs`. */
export interface CrashFacts {
  /** Of the standby, just before the crash. */
  readonly shown: Status;
  readonly killMs: number;
  readonly detectedMs: number;
  readonly promoted: Promoted;
  readonly commandMs: number;
  /** From when on hosts and path knew the new gateway. */
  readonly heldMs: number;
  /** Packets sent beside the usual traffic to get past closed windows. */
  readonly pushed: number;
}

export interface SwitchFacts {
  readonly switchMs: number;
  readonly switchHeldMs: number;
  readonly switched: Promoted;
  readonly switchCommandMs: number;
}

interface Facts extends CrashFacts, SwitchFacts {
  readonly sas: number;
  readonly seed: number;
  readonly startMs: number;
  readonly endMs: number;
}

interface Story {
  readonly begins: readonly Begin[];
  readonly replays: readonly Replay[];
  readonly expectations: Expectations;
}

/** Of the replayed packets; the others were lost to a full socket buffer of a busy machine. */
const REACHED_MIN = 0.9;
/** A packet that the dead gateway had sent may still be in a socket buffer of the path. */
const IN_FLIGHT_MS = 200;

export async function report(world: World, story: Story, facts: Facts): Promise<DemoResult> {
  const { killMs, heldMs, switchMs, switchHeldMs, endMs, detectedMs, promoted, switched, shown } = facts;
  const { path, hosts } = world;
  const { flows } = hosts;
  const { sas, seed } = facts;
  const { expectations, replays, begins } = story;
  const phases = phasesOf(flows, begins, endMs);
  const attackMs = begins.find(({ name }) => name === 'attack after the takeover')?.atMs ?? endMs;
  const secondAttackMs = begins.find(({ name }) => name === 'attack after the switchover')?.atMs ?? endMs;
  const interval = tenths(flows.reduce((ms, { everyMs }) => Math.max(ms, everyMs), 0));

  const reused = await path.call('reused');
  const [first] = reused;
  expectations.check(
    'no outbound sequence number was used twice',
    reused.length === 0,
    first === undefined
      ? '0'
      : `${reused.length}; first: SPI 0x${first.spi.toString(16)} number ${first.seq}, by ${first.ports.join(' and ')}`,
  );

  const before = await path.call('spis', ['gwa', 'peer'], 0, killMs);
  const between = new Set(await path.call('spis', ['gwb', 'peer'], heldMs, switchMs));
  const after = new Set(await path.call('spis', ['gwa', 'peer'], switchHeldMs, Number.POSITIVE_INFINITY));
  const kept = before.filter((spi) => between.has(spi) && after.has(spi)).length;
  expectations.check(
    'all SPIs were kept, and no new one came',
    kept === sas && between.size === sas && after.size === sas,
    `${kept} of ${before.length} seen before the crash`,
  );

  const accepted = sum([hosts.duplicates.out, hosts.duplicates.in]);
  const tried = sum(replays.map(triedOf));
  const sent = sum(replays.map((replay) => replay.sent));
  expectations.check('no replayed packet was accepted', accepted === 0, `${accepted} of ${tried}${acceptedOn(flows)}`);
  expectations.check(
    'the replays reached their targets',
    tried >= REACHED_MIN * sent && tried > 0,
    `${tried} of ${sent}`,
  );

  const steady = countBetween(flows, switchMs, secondAttackMs);
  expectations.check('the switchover lost no packet', steady.lost === 0, `${steady.lost} of ${steady.sent}`);

  const lastOfA = await path.call('lastNumbers', 'gwa', killMs + IN_FLIGHT_MS);
  const skipped = [...(await path.call('skips', 'gwa', 'gwb', killMs, switchMs)).values()];
  const { recorded } = await path.call('counts');
  const late = countBetween(flows, heldMs, attackMs);
  const lateIn = countBetween(
    flows.filter(({ direction }) => direction === 'in'),
    heldMs,
    attackMs,
  );
  const takeover: Takeover = {
    detectMs: tenths(detectedMs - killMs),
    takeoverMs: promoted.takeoverMs,
    commandMs: facts.commandMs,
    ...silence(flows, killMs, attackMs),
    intervalMs: interval,
    unseenMs: promoted.unseenMs,
    skipMax: promoted.skipMax,
    closedMax: promoted.closedMax,
    skipped: { min: least(skipped), max: most(skipped) },
    lostInOutage: countBetween(flows, killMs, heldMs).lost,
    lostAfterwards: late.lost,
    packetsPushed: facts.pushed,
  };
  const unseenMs = shown.unseenMs ?? 0;
  return {
    ok: expectations.ok,
    seed,
    via: shown.via,
    sas,
    packetsSent: sum(phases.map(({ packetsSent }) => packetsSent)),
    packetsLost: sum(phases.map(({ packetsLost }) => packetsLost)),
    replaysTried: tried,
    replaysAccepted: accepted,
    outboundNumbersReused: reused.length,
    spisKept: kept,
    detectMs: takeover.detectMs,
    takeoverMs: takeover.takeoverMs,
    outageMs: takeover.outageMs,
    framesRecorded: recorded,
    seconds: tenths((nowMs() - facts.startMs) / 1000),
    exposure: {
      unseenMs,
      ...unseen((shown.list ?? []) as readonly KnownSa[], lastOfA, unseenMs),
      lostToClosedWindows: lateIn.lost,
    },
    takeover,
    switchover: {
      commandMs: facts.switchCommandMs,
      takeoverMs: switched.takeoverMs,
      ...silence(flows, switchMs, secondAttackMs),
      intervalMs: interval,
    },
    phases,
    replays,
    expectations: expectations.all,
  };
}

const least = (numbers: readonly number[]): number => numbers.reduce((a, b) => Math.min(a, b), numbers[0] ?? 0);
const most = (numbers: readonly number[]): number => numbers.reduce((a, b) => Math.max(a, b), numbers[0] ?? 0);

/** On which flows: what it takes to find out why. */
function acceptedOn(flows: readonly Flow[]): string {
  const hit = flows.filter(({ duplicates }) => duplicates > 0);
  if (hit.length === 0) return '';
  const shown = hit.slice(0, HIT_SHOWN).map(({ connection, direction, burst, duplicates, sentAtMs }) => {
    const { cipher, window, spi } = connection;
    const kind = `${cipher}, window ${window.packets}${window.esn ? ' esn' : ''}${burst > 1 ? ', in bursts' : ''}`;
    return `${duplicates} on SPI 0x${spi[direction].toString(16)} (${direction}, ${kind}, ${sentAtMs.length} sent)`;
  });
  return `: ${shown.join('; ')}${hit.length > HIT_SHOWN ? `; and on ${hit.length - HIT_SHOWN} more` : ''}`;
}
const HIT_SHOWN = 5;
