/** The drill, inside the guest: world, daemons, traffic, a death, an attack, a way back, and what each of them proved. */
import { release } from 'node:os';
import { lossAround, outageMs, receivedBetween, sentBetween } from '../../src/demo/flow-report.ts';
import { skips } from '../../src/demo/recording.ts';
import { replayAll, replayWhenHeld } from './attack.ts';
import { reusedOutbound } from './attacker.ts';
import { checkKept, type States } from './kept.ts';
import { hookSettings } from './lab.ts';
import type { Act, CaseRow, DrillResult, Replay } from './results.ts';
import { makeConnections, windowName } from './sas.ts';
import { pushShut } from './shut.ts';
import { Stage } from './stage.ts';
import type { Flow } from './traffic.ts';
import { cutGateway, type Gateway, rebootGateway } from './world.ts';

export interface ConductOptions {
  /** The CLI's JavaScript file. */
  program: string;
  /** Of traffic before and after each failover. */
  seconds: number;
  inbound: 'strict' | 'window';
  progress: (text: string) => void;
}

/** Per flow; some 40 flows make 400 datagrams a second, which an emulated machine carries beside two daemons. */
const RATE_PPS = 10;
const BURST = 20;
const BURST_EVERY_MS = 400;
/** No link is lost because the machine is busy; that of a dead daemon is closed, and noticed at once. */
const LINK_TIMEOUT_MS = 10_000;
/** How far the lifetimes of a dead gateway's SAs may be ahead of what its standby knew. */
const LIFETIME_LAG_MAX_MS = 2_000;

/** Where an act starts: the time, the SAs of the gateway that is active then, and the duplicates counted so far. */
interface Mark {
  ms: number;
  baseline: States;
  duplicates: number[];
}

interface Promoted {
  kind: string;
  takeoverMs: number;
  commandMs: number;
}

export async function conduct(options: ConductOptions): Promise<DrillResult> {
  const drill = new Drill(options);
  try {
    return await drill.run();
  } catch (error) {
    drill.stage.lastWords();
    throw error;
  } finally {
    await drill.stage.end();
  }
}

class Drill {
  readonly stage: Stage;
  readonly #options: ConductOptions;

  constructor(options: ConductOptions) {
    this.#options = options;
    const { program, progress } = options;
    const traffic = { ratePps: RATE_PPS, burst: BURST, burstEveryMs: BURST_EVERY_MS };
    this.stage = new Stage({ program, connections: makeConnections(), traffic, progress });
  }

  async run(): Promise<DrillResult> {
    const { inbound } = this.#options;
    const { stage } = this;
    stage.build();
    const worldMs = performance.now() - stage.startMs;
    const first = await stage.states('gwa');
    await this.#startDaemons();
    const takeover = await this.#takeover(first);
    const second = await stage.states('gwb');
    checkKept(stage.expectations, 'takeover', first, second);
    const switchover = await this.#switchover(second);
    const third = await stage.states('gwa');
    const spisKept = checkKept(stage.expectations, 'switchover', first, third);
    const acts = [takeover, switchover];
    const { recording } = stage.attacker;
    stage.check('the recorder missed nothing', stage.attacker.drops() === 0, `${recording.length} ESP frames recorded`);
    const reused = reusedOutbound(recording);
    const example = reused[0];
    stage.check(
      'no outbound number used twice (S1)',
      reused.length === 0,
      example
        ? `${reused.length}; first: SPI 0x${example.spi.toString(16)} number ${example.seq}, sent by ${example.ports.join(' and ')}`
        : '0',
    );
    const replays = acts.flatMap((act) => act.replays);
    const accepted = sum(replays.map((replay) => replay.accepted));
    if (inbound === 'strict')
      stage.check('no replay accepted (S2)', accepted === 0, `${accepted} of ${sum(replays.map((r) => r.tried))}`);
    const duplicates = sum(stage.traffic.flows.map((flow) => flow.duplicates));
    stage.check('no datagram delivered twice, other than counted replays', duplicates === accepted, String(duplicates));
    return {
      ok: stage.expectations.ok,
      kernel: release(),
      inbound,
      sas: first.size,
      packetsSent: sum(acts.map((act) => act.packetsSent)),
      packetsLost: sum(acts.map((act) => act.packetsLost)),
      replaysTried: sum(replays.map((replay) => replay.tried)),
      replaysAccepted: accepted,
      outboundNumbersReused: reused.length,
      spisKept,
      takeoverMs: takeover.takeoverMs,
      outageMs: takeover.outageMs.max,
      framesRecorded: recording.length,
      seconds: { total: seconds(performance.now() - stage.startMs), world: seconds(worldMs) },
      acts,
      expectations: stage.expectations.list,
    };
  }

  async #startDaemons(): Promise<void> {
    const { inbound } = this.#options;
    await this.stage.daemons.init({
      hooks: hookSettings(),
      takeover: { inbound },
      link: { timeout_ms: LINK_TIMEOUT_MS },
    });
    this.stage.daemons.start('gwa');
    this.stage.daemons.start('gwb');
    await this.stage.standbyComplete('gwb');
  }

  /** Act one: gwa dies. */
  async #takeover(baseline: States): Promise<Act> {
    const traffic = this.stage.traffic;
    const start = this.#mark(baseline);
    this.stage.say('traffic in both directions on every connection');
    traffic.start();
    // How far windows close follows from how much each flow has carried at most: one whose first burst nobody has seen carries more (S2).
    for (const flow of traffic.flows) {
      traffic.push([flow], BURST);
      await this.stage.pass(1);
    }
    await this.stage.pass(this.#options.seconds * 1000);
    await this.stage.daemons.kill('gwa');
    // A kernel forwards without its daemon: the machine is dead when its links are.
    const failoverMs = traffic.nowMs();
    cutGateway('gwa');
    traffic.stopApplications('gwa');
    this.stage.say('gwa is dead: daemon killed, all links down');
    const [promoted, early] = await Promise.all([this.#promote('gwb'), replayWhenHeld(this.stage, 'gwb', failoverMs)]);
    await this.stage.waitFor(() => traffic.holds('gwb'), 'gwb has the shared address');
    this.stage.say(`gwb has taken over, ${promoted.commandMs} ms after the command`);
    await this.stage.pass(this.#options.seconds * 1000);
    return this.#endAct('takeover', 'gwa', 'gwb', { start, failoverMs, promoted, early });
  }

  /** Act two: gwa comes back empty, fills up, and takes the place again while traffic flows. */
  async #switchover(baseline: States): Promise<Act> {
    const traffic = this.stage.traffic;
    rebootGateway('gwa');
    traffic.startApplications('gwa');
    this.stage.daemons.start('gwa');
    this.stage.say('gwa is back with an empty kernel');
    const start = this.#mark(baseline);
    traffic.start();
    await this.stage.standbyComplete('gwa');
    await this.stage.pass(this.#options.seconds * 1000);
    const failoverMs = traffic.nowMs();
    const [promoted, early] = await Promise.all([this.#promote('gwa'), replayWhenHeld(this.stage, 'gwa', failoverMs)]);
    await this.stage.waitFor(() => traffic.holds('gwa'), 'gwa has the shared address');
    this.stage.say(`gwa is active again, ${promoted.commandMs} ms after the command`);
    await this.stage.pass(this.#options.seconds * 1000);
    return this.#endAct('switchover', 'gwb', 'gwa', { start, failoverMs, promoted, early });
  }

  async #promote(gateway: Gateway): Promise<Promoted> {
    const start = performance.now();
    const { kind, takeoverMs } = await this.stage.daemons.command<Promoted>(gateway, ['promote']);
    return { kind, takeoverMs, commandMs: Math.round(performance.now() - start) };
  }

  #mark(baseline: States): Mark {
    return {
      ms: this.stage.traffic.nowMs(),
      baseline,
      duplicates: this.stage.traffic.flows.map((flow) => flow.duplicates),
    };
  }

  /** Pauses the traffic, counts, attacks, and makes the act's report. */
  async #endAct(
    name: Act['name'],
    from: Gateway,
    to: Gateway,
    facts: { start: Mark; failoverMs: number; promoted: Promoted; early: Replay },
  ): Promise<Act> {
    const { start, failoverMs, promoted, early } = facts;
    const traffic = this.stage.traffic;
    const { kind, takeoverMs, commandMs } = promoted;
    const openMs = failoverMs + commandMs;
    // A standby that has just lost sight of the active takes over without it, and what holds then is another matter.
    this.stage.check(`${name}: it is one`, kind === name, kind);
    const pushed = await pushShut(this.stage, openMs);
    traffic.stop();
    await this.stage.quiet();
    const endMs = traffic.nowMs();
    const after = await this.stage.states(to);
    const skipped = skips(this.stage.attacker.recording, from, to, failoverMs);
    const rows = traffic.flows.map((flow, i): CaseRow => {
      const { connection, direction } = flow;
      const loss = lossAround(flow, start.ms, failoverMs, endMs);
      const spi = connection.spi[direction];
      const old = start.baseline.get(spi);
      const sa = after.get(spi);
      return {
        connection: connection.name,
        direction,
        mode: connection.mode,
        family: connection.family,
        cipher: connection.cipher,
        window: windowName(connection),
        encap: connection.encap,
        mark: connection.mark,
        sent: sentBetween(flow, start.ms, endMs),
        lost: loss.before + loss.during + loss.after,
        lostBefore: loss.before,
        lostDuring: loss.during,
        lostAfter: loss.after,
        duplicates: flow.duplicates - (start.duplicates[i] ?? 0),
        outageMs: outageMs(flow, failoverMs, endMs),
        skipped: direction === 'out' ? (skipped.get(spi) ?? null) : null,
        lifetime: {
          handled: (old?.lifetimePackets ?? 0) + this.#handled(flow, spi, start.ms, endMs),
          packets: sa?.lifetimePackets ?? 0,
          numbers: Number(direction === 'out' ? sa?.oseq : sa?.seq),
          addTimeKept: old !== undefined && old.addTime === sa?.addTime,
        },
      };
    });
    const stuck = traffic.flows.filter((flow) => flow.newestSentMs < openMs);
    this.stage.check(
      `${name}: traffic goes on in both directions on every connection`,
      stuck.length === 0,
      stuck.length === 0
        ? `${traffic.flows.length} flows`
        : stuck.map((flow) => `${flow.connection.name} ${flow.direction}`).join(', '),
    );
    this.#checkLifetimes(name, rows);
    const packetsLost = sum(rows.map((row) => row.lost));
    if (name === 'switchover') this.stage.check(`${name}: no packet lost`, packetsLost === 0, String(packetsLost));
    // After the rows: what a replay delivers late is no merit of the gateways.
    const replays = [early, await replayAll(this.stage, to), await replayAll(this.stage, 'peer')];
    const silences = rows.map((row) => row.outageMs).sort((a, b) => a - b);
    return {
      name,
      from,
      to,
      takeoverMs,
      commandMs,
      intervalMs: 1000 / RATE_PPS,
      outageMs: { median: silences[silences.length >> 1] ?? 0, max: silences.at(-1) ?? 0 },
      packetsSent: sum(rows.map((row) => row.sent)),
      packetsLost,
      pushed: pushed.map((flow) => `${flow.connection.name} ${flow.direction}`),
      rows,
      replays,
    };
  }

  /** Packets that the gateways handled on an SA in a time: outbound the recording knows, inbound the applications. */
  #handled(flow: Flow, spi: number, fromMs: number, toMs: number): number {
    if (flow.direction === 'in') return receivedBetween(flow, fromMs, toMs);
    const frames = this.stage.attacker.recording.filter(
      (frame) => frame.spi === spi && frame.atMs >= fromMs && frame.atMs < toMs,
    );
    return frames.length;
  }

  #checkLifetimes(name: string, rows: readonly CaseRow[]): void {
    const lagMax = (LIFETIME_LAG_MAX_MS / 1000) * RATE_PPS + BURST;
    const lag = (row: CaseRow) => row.lifetime.handled - row.lifetime.packets;
    // A takeover may count what the old gateway can have sent unseen as sent, so ahead is right up to the
    // numbers used; with `window` the inbound number stays where it was.
    const wrong = rows.filter((row) => {
      const { addTimeKept, packets, numbers } = row.lifetime;
      const bounded = this.#options.inbound === 'strict' || row.direction === 'out';
      return !addTimeKept || lag(row) > lagMax || (bounded && !(packets <= numbers));
    });
    this.stage.check(
      `${name}: lifetimes go on from where they were`,
      wrong.length === 0,
      wrong.length === 0
        ? `add times kept, packet counts at most ${Math.max(0, ...rows.map(lag))} behind and ${-Math.min(0, ...rows.map(lag))} ahead`
        : wrong.map((row) => `${row.connection} ${row.direction} ${JSON.stringify(row.lifetime)}`).join('; '),
    );
  }
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
const seconds = (ms: number) => Math.round(ms / 100) / 10;
