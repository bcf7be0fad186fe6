/** The drill, inside the guest: world, daemons, traffic, a death, an attack, a way back, and what each of them proved. */
import { mkdirSync } from 'node:fs';
import { release } from 'node:os';
import { lossAround, outageMs, receivedBetween, sentBetween } from '../../src/demo/flow-report.ts';
import { newestFirst, type Port, reusedNumbers, skips } from '../../src/demo/recording.ts';
import { type Attacker, type Recorded, startAttacker } from './attacker.ts';
import { Daemons } from './daemons.ts';
import { hookFile } from './lab.ts';
import { readProcNet, socketAddress } from './libc.ts';
import type { Act, CaseRow, DrillResult, Expectation, Replay } from './results.ts';
import { type Connection, gatewayLines, makeConnections, peerLines, windowName } from './sas.ts';
import { parseStates, parseXfrmStat, type SaText, statGrowth } from './state-text.ts';
import { type Flow, TICK_MS, Traffic } from './traffic.ts';
import {
  ADDRESSES,
  buildWorld,
  claim,
  cutGateway,
  GATEWAYS,
  type Gateway,
  ip,
  ipBatch,
  rebootGateway,
} from './world.ts';

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
/** Frames per SPI that are replayed in the very moment of a takeover: two windows of 32. */
const EARLY_REPLAYS = 64;
/** No arrival for so long: nothing is under way any more. */
const QUIET_MS = 400;
const QUIET_WAIT_MAX_MS = 10_000;
/** How far the lifetimes of a dead gateway's SAs may be ahead of what its standby knew. */
const LIFETIME_LAG_MAX_MS = 2_000;
const SYNC_TIMEOUT_MS = 60_000;
const SYNC_POLL_MS = 200;
/**
 * With `strict` a window starts above all that the old gateway can have accepted. What it can have accepted follows from the flow's peak
 * rate, so a slow flow with bursts may stay shut out for longer than a drill waits. Such flows are then sent on faster, this much at a time
 * and at most.
 */
const PUSH = { datagrams: 20, everyMs: 50, datagramsMax: 10_000 } as const;
const DIRECTORY = '/run/xfrmsync-drill';

type States = Map<number, SaText>;

/** Where an act starts: the time, the SAs of the gateway that is active then, and the duplicates counted so far. */
interface Mark {
  ms: number;
  baseline: States;
  duplicates: number[];
}

export async function conduct(options: ConductOptions): Promise<DrillResult> {
  const drill = new Drill(options);
  try {
    return await drill.run();
  } catch (error) {
    drill.lastWords();
    throw error;
  } finally {
    await drill.end();
  }
}

class Drill {
  readonly #options: ConductOptions;
  readonly #connections: Connection[];
  readonly #daemons: Daemons;
  #traffic!: Traffic;
  #attacker!: Attacker;
  #timer: NodeJS.Timeout | undefined;
  #fault: unknown;
  readonly #expectations: Expectation[] = [];
  readonly #startMs = performance.now();

  constructor(options: ConductOptions) {
    this.#options = options;
    this.#connections = makeConnections();
    this.#daemons = new Daemons(options.program, DIRECTORY);
  }

  async run(): Promise<DrillResult> {
    const { inbound } = this.#options;
    await this.#build();
    const worldMs = performance.now() - this.#startMs;
    const first = await this.#states('gwa');
    await this.#startDaemons();
    const takeover = await this.#takeover(first);
    const second = await this.#states('gwb');
    this.#checkKept('takeover', first, second);
    const switchover = await this.#switchover(second);
    const third = await this.#states('gwa');
    const spisKept = this.#checkKept('switchover', first, third);
    const acts = [takeover, switchover];
    this.#check(
      'the recorder missed nothing',
      this.#attacker.drops() === 0,
      `${this.#attacker.recording.length} ESP frames recorded`,
    );
    const shared = new Set([4, 6].map((family) => addressHex(ADDRESSES.shared[family as 4 | 6])));
    const reused = reusedNumbers(this.#attacker.recording, ({ source }) => shared.has(source));
    const example = reused[0];
    this.#check(
      'no outbound number used twice (S1)',
      reused.length === 0,
      example
        ? `${reused.length}; first: SPI 0x${example.spi.toString(16)} number ${example.seq}, sent by ${example.ports.join(' and ')}`
        : '0',
    );
    const replays = acts.flatMap((act) => act.replays);
    const accepted = sum(replays.map((replay) => replay.accepted));
    if (inbound === 'strict')
      this.#check('no replay accepted (S2)', accepted === 0, `${accepted} of ${sum(replays.map((r) => r.tried))}`);
    const duplicates = sum(this.#traffic.flows.map((flow) => flow.duplicates));
    this.#check('no datagram delivered twice, other than counted replays', duplicates === accepted, String(duplicates));
    return {
      ok: this.#expectations.every(({ ok }) => ok),
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
      framesRecorded: this.#attacker.recording.length,
      seconds: { total: seconds(performance.now() - this.#startMs), world: seconds(worldMs) },
      acts,
      expectations: this.#expectations,
    };
  }

  lastWords(): void {
    for (const gateway of GATEWAYS)
      this.#say(`the daemon on ${gateway} said last:\n${this.#daemons.lastWords(gateway)}`);
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    await this.#daemons.stop();
    this.#attacker?.close();
  }

  async #build(): Promise<void> {
    const connections = this.#connections;
    const tunnels = (family: 4 | 6) =>
      connections.filter((c) => c.mode === 'tunnel' && c.family === family).map((c) => c.n);
    this.#say(`building the world: ${connections.length * 2} SAs`);
    buildWorld({ 4: tunnels(4), 6: tunnels(6) });
    ipBatch('gwa', gatewayLines(connections));
    ipBatch('peer', peerLines(connections));
    claim('gwa', hookFile('claim'));
    this.#traffic = new Traffic(connections, { ratePps: RATE_PPS, burst: BURST, burstEveryMs: BURST_EVERY_MS });
    this.#attacker = startAttacker();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    mkdirSync(DIRECTORY, { recursive: true, mode: 0o700 });
  }

  #tick(): void {
    try {
      this.#attacker.poll(this.#traffic.nowMs());
      this.#traffic.tick();
    } catch (error) {
      this.#fault ??= error;
    }
  }

  async #startDaemons(): Promise<void> {
    const { inbound } = this.#options;
    await this.#daemons.init({
      hooks: { claim: hookFile('claim'), release: hookFile('release') },
      takeover: { inbound },
    });
    this.#daemons.start('gwa');
    this.#daemons.start('gwb');
    await this.#standbyComplete('gwb');
  }

  async #standbyComplete(gateway: Gateway): Promise<void> {
    const wanted = this.#connections.length * 2;
    // Asking the kernel costs a fiftieth of asking the daemon, whose answer then counts.
    const deadline = performance.now() + SYNC_TIMEOUT_MS;
    while (performance.now() < deadline && !(await ip(gateway, ['xfrm', 'state', 'count'])).includes(` ${wanted}`)) {
      await this.#trafficFor(SYNC_POLL_MS / 1000);
    }
    const status = await this.#daemons.until(
      gateway,
      'a complete standby',
      (s) => s.role === 'standby' && s.peers.every(({ connected }) => connected) && s.complete && s.sas === wanted,
    );
    this.#say(`${gateway} is a complete standby with ${status.sas} SAs, term ${status.term}`);
  }

  /** Act one: gwa dies. */
  async #takeover(baseline: States): Promise<Act> {
    const traffic = this.#traffic;
    const start = this.#mark(baseline);
    this.#say('traffic in both directions on every connection');
    traffic.start();
    await this.#trafficFor(this.#options.seconds);
    await this.#daemons.kill('gwa');
    // A kernel forwards without its daemon: the machine is dead when its links are.
    const failoverMs = traffic.nowMs();
    cutGateway('gwa');
    traffic.stopApplications('gwa');
    this.#say('gwa is dead: daemon killed, all links down');
    const [promoted, early] = await Promise.all([this.#promote('gwb'), this.#replayWhenHeld('gwb', failoverMs)]);
    await this.#waitFor(() => traffic.holds('gwb'), 'gwb has the shared address');
    this.#say(`gwb has taken over, ${promoted.commandMs} ms after the command`);
    await this.#trafficFor(this.#options.seconds);
    return this.#endAct('takeover', 'gwa', 'gwb', { start, failoverMs, promoted, early });
  }

  /** Act two: gwa comes back empty, fills up, and takes the place again while traffic flows. */
  async #switchover(baseline: States): Promise<Act> {
    const traffic = this.#traffic;
    rebootGateway('gwa');
    traffic.startApplications('gwa');
    this.#daemons.start('gwa');
    this.#say('gwa is back with an empty kernel');
    const start = this.#mark(baseline);
    traffic.start();
    await this.#standbyComplete('gwa');
    await this.#trafficFor(this.#options.seconds);
    const failoverMs = traffic.nowMs();
    const [promoted, early] = await Promise.all([this.#promote('gwa'), this.#replayWhenHeld('gwa', failoverMs)]);
    await this.#waitFor(() => traffic.holds('gwa'), 'gwa has the shared address');
    this.#say(`gwa is active again, ${promoted.commandMs} ms after the command`);
    await this.#trafficFor(this.#options.seconds);
    return this.#endAct('switchover', 'gwb', 'gwa', { start, failoverMs, promoted, early });
  }

  async #promote(gateway: Gateway): Promise<{ takeoverMs: number; commandMs: number }> {
    const start = performance.now();
    const { takeoverMs } = await this.#daemons.command<{ takeoverMs: number }>(gateway, ['promote']);
    return { takeoverMs, commandMs: Math.round(performance.now() - start) };
  }

  #mark(baseline: States): Mark {
    return { ms: this.#traffic.nowMs(), baseline, duplicates: this.#traffic.flows.map((flow) => flow.duplicates) };
  }

  /** Pauses the traffic, counts, attacks, and makes the act's report. */
  async #endAct(
    name: Act['name'],
    from: Gateway,
    to: Gateway,
    facts: { start: Mark; failoverMs: number; promoted: { takeoverMs: number; commandMs: number }; early: Replay },
  ): Promise<Act> {
    const { start, failoverMs, promoted, early } = facts;
    const traffic = this.#traffic;
    const openMs = failoverMs + promoted.commandMs;
    const pushed = await this.#pushShut(openMs);
    traffic.stop();
    await this.#quiet();
    const endMs = traffic.nowMs();
    const after = await this.#states(to);
    const skipped = skips(this.#attacker.recording, from, to, failoverMs);
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
    this.#check(
      `${name}: traffic goes on in both directions on every connection`,
      stuck.length === 0,
      stuck.length === 0
        ? `${traffic.flows.length} flows`
        : stuck.map((flow) => `${flow.connection.name} ${flow.direction}`).join(', '),
    );
    this.#checkLifetimes(name, rows);
    const packetsLost = sum(rows.map((row) => row.lost));
    if (name === 'switchover') this.#check(`${name}: no packet lost`, packetsLost === 0, String(packetsLost));
    // After the rows: what a replay delivers late is no merit of the gateways.
    const replays = [early, await this.#replayAll(to), await this.#replayAll('peer')];
    const silences = rows.map((row) => row.outageMs).sort((a, b) => a - b);
    return {
      name,
      from,
      to,
      ...promoted,
      intervalMs: 1000 / RATE_PPS,
      outageMs: { median: silences[silences.length >> 1] ?? 0, max: silences.at(-1) ?? 0 },
      packetsSent: sum(rows.map((row) => row.sent)),
      packetsLost,
      pushed: pushed.map((flow) => `${flow.connection.name} ${flow.direction}`),
      rows,
      replays,
    };
  }

  /** Sends on inbound flows on which nothing sent since `sinceMs` has got through, until something does. Returns them. */
  async #pushShut(sinceMs: number): Promise<Flow[]> {
    const shut = () => this.#traffic.flows.filter((flow) => flow.direction === 'in' && flow.newestSentMs < sinceMs);
    const first = shut();
    if (first.length > 0) this.#say(`${first.length} inbound windows are still closed: sending past them`);
    for (let sent = 0; sent < PUSH.datagramsMax && shut().length > 0; sent += PUSH.datagrams) {
      this.#traffic.push(shut(), PUSH.datagrams);
      await this.#trafficFor(PUSH.everyMs / 1000);
    }
    return first;
  }

  /** Packets that the gateways handled on an SA in a time: outbound the recording knows, inbound the applications. */
  #handled(flow: Flow, spi: number, fromMs: number, toMs: number): number {
    if (flow.direction === 'in') return receivedBetween(flow, fromMs, toMs);
    const frames = this.#attacker.recording.filter(
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
    this.#check(
      `${name}: lifetimes go on from where they were`,
      wrong.length === 0,
      wrong.length === 0
        ? `add times kept, packet counts at most ${Math.max(0, ...rows.map(lag))} behind and ${-Math.min(0, ...rows.map(lag))} ahead`
        : wrong.map((row) => `${row.connection} ${row.direction} ${JSON.stringify(row.lifetime)}`).join('; '),
    );
  }

  /** Same SPIs, same keys, no SA more and none less. Returns how many SPIs were kept. */
  #checkKept(name: string, first: States, now: States): number {
    const kept = [...first.keys()].filter((spi) => now.has(spi));
    const changed = kept.filter((spi) => first.get(spi)?.identity !== now.get(spi)?.identity);
    const rekeyed = kept.filter((spi) => first.get(spi)?.keys !== now.get(spi)?.keys);
    const limits = kept.filter(
      (spi) => JSON.stringify(timeLimits(first.get(spi))) !== JSON.stringify(timeLimits(now.get(spi))),
    );
    this.#check(
      `${name}: SPIs kept, no new SA`,
      kept.length === first.size && now.size === first.size,
      `${kept.length} of ${first.size}, now ${now.size}`,
    );
    this.#check(`${name}: keys kept`, rekeyed.length === 0, `${kept.length - rekeyed.length} of ${first.size}`);
    this.#check(
      `${name}: SAs unchanged in all that identifies them`,
      changed.length === 0,
      spiList(changed) || `${kept.length}`,
    );
    this.#check(`${name}: time and byte limits kept`, limits.length === 0, spiList(limits) || `${kept.length}`);
    return kept.length;
  }

  /**
   * In the moment the gateway claims the address: the newest frames that its predecessor had accepted, while traffic goes on. Frames of the
   * outage are left out: nobody has had them, so a replay of those would only repair losses.
   */
  async #replayWhenHeld(target: Gateway, failoverMs: number): Promise<Replay> {
    await this.#waitFor(() => this.#traffic.holds(target), `${target} has the shared address`);
    const frames = this.#framesTo(target).filter((frame) => frame.atMs < failoverMs);
    return this.#replay(
      `at ${target} in the moment of the failover`,
      newestFirst(frames, EARLY_REPLAYS),
      target,
      false,
    );
  }

  #framesTo(target: Port): Recorded[] {
    const inbound = new Set(this.#connections.map((connection) => connection.spi.in));
    // Each frame once: one that a gateway passed on came into the bridge twice.
    return this.#attacker.recording.filter((frame) =>
      target === 'peer' ? !inbound.has(frame.spi) : inbound.has(frame.spi) && frame.port === 'peer',
    );
  }

  #replayAll(target: Port): Promise<Replay> {
    return this.#replay(`of everything at ${target}, traffic paused`, this.#framesTo(target), target, true);
  }

  async #replay(name: string, frames: readonly Recorded[], target: Port, paused: boolean): Promise<Replay> {
    const stat = () => parseXfrmStat(readProcNet(target, 'xfrm_stat'));
    const counters = async () => sum([...(await this.#states(target)).values()].map((sa) => sa.lifetimePackets));
    const delivered = () => ({
      unique: sum(this.#traffic.flows.map((flow) => flow.received)),
      again: sum(this.#traffic.flows.map((flow) => flow.duplicates)),
    });
    const before = { stat: stat(), packets: paused ? await counters() : 0, ...delivered() };
    await this.#attacker.inject(frames, target);
    if (paused) await this.#quiet();
    else await this.#trafficFor(0.2);
    const after = { stat: stat(), packets: paused ? await counters() : 0, ...delivered() };
    const replay: Replay = {
      target: name,
      tried: frames.length,
      accepted: after.again - before.again,
      late: paused ? after.unique - before.unique : 0,
      stat: statGrowth(before.stat, after.stat),
    };
    this.#say(`replay ${name}: ${replay.tried} frames, ${replay.accepted} accepted`);
    if (paused) {
      const taken = replay.accepted + replay.late;
      this.#check(
        `replay ${name}: SA counters moved only for what was delivered`,
        after.packets - before.packets === taken,
        `+${after.packets - before.packets}`,
      );
      const refused = sum(Object.values(replay.stat));
      this.#check(
        `replay ${name}: the kernel counted each refusal`,
        refused + taken === replay.tried,
        `${refused} of ${replay.tried}`,
      );
    }
    return replay;
  }

  async #states(namespace: Gateway | 'peer'): Promise<States> {
    return parseStates(await ip(namespace, ['-s', 'xfrm', 'state']));
  }

  async #trafficFor(secondsLong: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, secondsLong * 1000));
    if (this.#fault !== undefined) throw this.#fault;
  }

  async #quiet(): Promise<void> {
    const deadline = performance.now() + QUIET_WAIT_MAX_MS;
    const start = this.#traffic.nowMs();
    const since = () => Math.min(this.#traffic.quietMs(), this.#traffic.nowMs() - start);
    while (since() < QUIET_MS && performance.now() < deadline) await this.#trafficFor(TICK_MS / 1000);
  }

  async #waitFor(condition: () => boolean, what: string, timeoutMs = 60_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!condition()) {
      if (performance.now() > deadline) throw new Error(`after ${timeoutMs / 1000} s it is not so that ${what}`);
      await this.#trafficFor(TICK_MS / 2000);
    }
  }

  #check(name: string, ok: boolean, detail: string): void {
    this.#expectations.push({ name, ok, detail });
    if (!ok) this.#say(`BROKEN: ${name}: ${detail}`);
  }

  #say(text: string): void {
    this.#options.progress(`${((performance.now() - this.#startMs) / 1000).toFixed(1).padStart(6)} s  ${text}`);
  }
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
const seconds = (ms: number) => Math.round(ms / 100) / 10;
const spiList = (spis: readonly number[]) => spis.map((spi) => `0x${spi.toString(16)}`).join(' ');

function addressHex(address: string): string {
  return address.includes(':')
    ? socketAddress(6, address, 0).subarray(8, 24).toString('hex')
    : socketAddress(4, address, 0).subarray(4, 8).toString('hex');
}

/** A limit that is infinite but for the mark of a ceiling (docs/decisions/0014). */
const MARKED = '18446744073709551525';
const INFINITE = 'INF';

/** Packet limits are left out: there a ceiling may stand while an SA is in use. */
function timeLimits(sa: SaText | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(sa?.limits ?? {})
      .filter(([name]) => !name.endsWith('packets'))
      .map(([name, limit]) => [name, limit.includes(MARKED) ? INFINITE : limit]),
  );
}
