/** The books of one case: what was sent, what arrived, who sent which number, and what the rules say of it. */
import { outageMs, sentBetween } from '../../../src/demo/flow-report.ts';
import { replayAll } from '../attack.ts';
import { reusedOutbound } from '../attacker.ts';
import { checkKept, type States } from '../kept.ts';
import type { Replay } from '../results.ts';
import { LEGACY_WINDOW, windowOf } from '../sas.ts';
import { pushShut } from '../shut.ts';
import type { Flow } from '../traffic.ts';
import { type Gateway, MACS } from '../world.ts';
import { type Counted, countedText, readCounted } from './counted.ts';
import type { Ground } from './ground.ts';
import type { Bound, Failover, FaultResult } from './results.ts';
import { furthestBehind, whereabouts, whereText } from './whereabouts.ts';

/** What a case tells of its own course. */
export interface Course {
  /** When something was broken or changed, on the applications' clock. */
  readonly faultsMs: readonly number[];
  readonly failovers: readonly Failover[];
  /** Of a takeover: what the standby had shown. Without it nothing may be lost. */
  readonly shown?: Shown;
  /** Replays in the moment of a failover. */
  readonly early: readonly Replay[];
  /** A gateway beside the active one that must have the same SAs now. */
  readonly alsoKept?: Gateway;
  /** The old active went on sending to peers that do not listen to it any more. */
  readonly split?: boolean;
  readonly facts?: Readonly<Record<string, number>>;
}

export interface Shown {
  /** `status` just before the fault. */
  readonly exposure: number;
  /** What the standby did not know of the old active's kernel, as that could still be read. */
  readonly unseen: number;
  /** `promote --dry-run` just before the promotion: by SPI of inbound SAs, packets that may be refused. */
  readonly lossMax: ReadonlyMap<number, number>;
  readonly to: Gateway;
  readonly faultMs: number;
  /** When the promotion was done. */
  readonly openMs: number;
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

export class Books {
  readonly #ground: Ground;
  readonly #name: string;
  readonly #startedMs = performance.now();
  readonly #fromMs: number;
  readonly #first: States;
  readonly #duplicates: number;
  readonly #checked: number;
  readonly #counted: Counted = readCounted();

  private constructor(ground: Ground, name: string, first: States) {
    const { traffic, expectations } = ground.stage;
    this.#ground = ground;
    this.#name = name;
    this.#first = first;
    this.#fromMs = traffic.nowMs();
    this.#duplicates = sum(traffic.flows.map((flow) => flow.duplicates));
    this.#checked = expectations.list.length;
  }

  /** The pair is prepared, and nothing is under way. */
  static async open(ground: Ground, name: string): Promise<Books> {
    return new Books(ground, name, await ground.stage.states(ground.active));
  }

  #check(name: string, ok: boolean, detail: string | number): void {
    this.#ground.stage.check(name, ok, String(detail));
  }

  /** Ends the traffic, counts, attacks, and judges. */
  async close(course: Course): Promise<FaultResult> {
    const { stage, active, form } = this.#ground;
    const { shown, failovers, faultsMs } = course;
    const changedMs = shown?.openMs ?? faultsMs.at(-1) ?? this.#fromMs;
    if (shown) await pushShut(stage, changedMs);
    stage.traffic.stop();
    await stage.quiet();
    const { flows } = stage.traffic;
    const endMs = stage.traffic.nowMs();
    const stuck = flows.filter((flow) => flow.newestSentMs < changedMs);
    this.#check(
      'traffic goes on in both directions on every connection',
      stuck.length === 0,
      stuck.map(nameOf).join(', ') || `${flows.length} flows`,
    );
    const kind = shown ? 'takeover' : 'switchover';
    const others = failovers.filter((failover) => failover.kind !== kind);
    this.#check(`each change of roles is a ${kind}`, others.length === 0, `${failovers.length} of them`);
    const lost = flows.map((flow) => lostBetween(flow, this.#fromMs, endMs));
    const packetsLost = sum(lost);
    const bound = shown ? this.#checkBound(shown, course.split === true, endMs) : null;
    if (!shown)
      this.#check(
        'no packet lost',
        packetsLost === 0,
        packetsLost === 0
          ? '0'
          : [
              lossText(flows, lost),
              this.#whereLost(),
              countedText(this.#counted, readCounted()),
              whenLost(flows, faultsMs, this.#fromMs, endMs),
            ]
              .filter(Boolean)
              .join('; '),
      );
    if (!shown) this.#checkOrder();
    const packetsSent = sum(flows.map((flow) => sentBetween(flow, this.#fromMs, endMs)));
    const silences = this.#silences(faultsMs, endMs);
    const spisKept = checkKept(stage.expectations, `SAs on ${active}`, this.#first, await stage.states(active));
    const { alsoKept } = course;
    if (alsoKept) checkKept(stage.expectations, `SAs on ${alsoKept}`, this.#first, await stage.states(alsoKept));
    // After the losses were counted: what a replay delivers late is no merit of the gateways.
    const replays = [...course.early, await replayAll(stage, active), await replayAll(stage, 'peer')];
    const accepted = sum(replays.map((replay) => replay.accepted));
    const duplicates = sum(stage.traffic.flows.map((flow) => flow.duplicates)) - this.#duplicates;
    this.#check('no replay accepted (S2)', accepted === 0, accepted);
    this.#check('no datagram delivered twice, other than counted replays', duplicates === accepted, duplicates);
    const reused = reusedOutbound(stage.attacker.recording);
    const [example] = reused;
    this.#check(
      'no outbound number used twice (S1)',
      reused.length === 0,
      example ? `${reused.length}, first 0x${example.spi.toString(16)}/${example.seq} of ${example.ports}` : '0',
    );
    const drops = stage.attacker.drops();
    this.#check('the recorder missed nothing', drops === 0, drops);
    const expectations = stage.expectations.list.slice(this.#checked);
    return {
      name: this.#name,
      ok: expectations.every(({ ok }) => ok),
      sas: this.#first.size,
      packetsSent,
      packetsLost,
      bound,
      replaysTried: sum(replays.map((replay) => replay.tried)),
      replaysAccepted: accepted,
      outboundNumbersReused: reused.length,
      spisKept,
      failovers: [...failovers],
      silenceMs: {
        median: silences[silences.length >> 1] ?? 0,
        max: silences.at(-1) ?? 0,
        intervalMs: 1000 / form.ratePps,
      },
      facts: course.facts ?? {},
      framesRecorded: stage.attacker.recording.length,
      seconds: Math.round((performance.now() - this.#startedMs) / 100) / 10,
      replays,
      expectations,
    };
  }

  /** How long the peer heard nothing on a flow, around each fault. */
  #silences(faultsMs: readonly number[], endMs: number): number[] {
    const flows = this.#ground.stage.traffic.flows.filter(({ direction }) => direction === 'out');
    return faultsMs
      .flatMap((faultMs, i) => flows.map((flow) => outageMs(flow, faultMs, faultsMs[i + 1] ?? endMs)))
      .sort((a, b) => a - b);
  }

  /** SAs with a large window bear what one with a small window does not, so it is looked at beside the losses. */
  #checkOrder(): void {
    const { connections, attacker } = this.#ground.stage;
    const behind = furthestBehind(attacker.recording, MACS, new Set(connections.map(({ spi }) => spi.in)));
    this.#check('no packet of a peer was overtaken by a whole window of others', behind < LEGACY_WINDOW, behind);
  }

  /** Of inbound flows: at which gateway the lost ones ended. Each datagram of a flow is one number of its SA. */
  #whereLost(): string {
    const { traffic, attacker } = this.#ground.stage;
    const missing = traffic.flows
      .filter(({ direction }) => direction === 'in')
      .map(({ connection, sentAtMs, receivedAtMs }) => ({
        spi: connection.spi.in,
        window: windowOf(connection),
        numbers: new Set(sentAtMs.flatMap((_, n) => (receivedAtMs[n] === undefined ? [n + 1] : []))),
      }));
    return whereText(whereabouts(attacker.recording, MACS, missing));
  }

  #checkBound({ exposure, unseen, lossMax, to, faultMs }: Shown, split: boolean, endMs: number): Bound {
    const refused = this.#refused(to, faultMs);
    const above = [...refused].filter(([spi, packets]) => packets > (lossMax.get(spi) ?? 0));
    this.#check(
      'closed windows refuse no more than the dry run said, on any SA (S7)',
      above.length === 0,
      above.map(([spi, packets]) => `0x${spi.toString(16)}: ${packets} of ${lossMax.get(spi)}`).join(', ') || 'each',
    );
    this.#check(
      'the standby lacked no more than it had shown as exposure (S7)',
      unseen <= exposure,
      `${unseen} of ${exposure}`,
    );
    if (!split) {
      const { flows } = this.#ground.stage.traffic;
      const late = flows.map((flow) => (flow.direction === 'out' ? lostOnceThrough(flow, faultMs, endMs) : 0));
      this.#check('outbound, nothing is lost once the new active sends', sum(late) === 0, lossText(flows, late) || '0');
    }
    return { exposure, unseen, lossMax: sum([...lossMax.values()]), refused: sum([...refused.values()]) };
  }

  /**
   * Packets that came to the new active on inbound SAs and were not delivered, by SPI. Each datagram of a flow is one number of its SA, so
   * the frame says which one it carries.
   */
  #refused(to: Gateway, sinceMs: number): Map<number, number> {
    const { traffic, attacker } = this.#ground.stage;
    const bySpi = new Map(
      traffic.flows.filter(({ direction }) => direction === 'in').map((flow) => [flow.connection.spi.in, flow]),
    );
    const mac = Buffer.from(MACS[to].replaceAll(':', ''), 'hex');
    const refused = new Map<number, number>();
    for (const { port, spi, seq, atMs, frame } of attacker.recording) {
      if (port !== 'peer' || atMs < sinceMs || frame.compare(mac, 0, mac.length, 0, mac.length) !== 0) continue;
      if (bySpi.get(spi)?.receivedAtMs[seq - 1] === undefined) refused.set(spi, (refused.get(spi) ?? 0) + 1);
    }
    return refused;
  }
}

/** When the lost ones were sent, after which of the faults. */
function whenLost(flows: readonly Flow[], faultsMs: readonly number[], fromMs: number, toMs: number): string {
  const spans = [fromMs, ...faultsMs].map((sinceMs, i) => {
    const untilMs = faultsMs[i] ?? toMs;
    const times = flows
      .flatMap(({ sentAtMs, receivedAtMs }) => sentAtMs.filter((_, n) => receivedAtMs[n] === undefined))
      .filter((ms) => ms >= sinceMs && ms < untilMs)
      .sort((a, b) => a - b);
    const after = (ms: number | undefined) => Math.round((ms ?? 0) - sinceMs);
    return times.length === 0
      ? ''
      : `${times.length} after fault ${i}, ${after(times[0])} to ${after(times.at(-1))} ms`;
  });
  return spans.filter(Boolean).join('; ');
}

const nameOf = ({ connection, direction }: Flow): string => `${connection.name} ${direction}`;

type Times = Pick<Flow, 'sentAtMs' | 'receivedAtMs'>;

function lostBetween({ sentAtMs, receivedAtMs }: Times, fromMs: number, toMs: number): number {
  return sentAtMs.filter((ms, n) => ms >= fromMs && ms < toMs && receivedAtMs[n] === undefined).length;
}

/** Of what was sent after the first that got through since a fault. */
function lostOnceThrough(flow: Times, faultMs: number, toMs: number): number {
  const { sentAtMs, receivedAtMs } = flow;
  const first = sentAtMs.findIndex((ms, n) => ms >= faultMs && (receivedAtMs[n] ?? -1) >= 0);
  return first < 0 ? 0 : lostBetween(flow, sentAtMs[first] ?? 0, toMs);
}

function lossText(flows: readonly Flow[], lost: readonly number[]): string {
  return flows.flatMap((flow, i) => (lost[i] ? [`${nameOf(flow)}: ${lost[i]}`] : [])).join(', ');
}
