/** A pair of gateways for one fault after the other: which of them is active, and how it becomes whole again. */
import { peerSeen, type Settings } from '../daemons.ts';
import { hookFile, hookSettings } from '../lab.ts';
import { makeConnections, policyLines } from '../sas.ts';
import { Stage } from '../stage.ts';
import { claim, cutGateway, GATEWAYS, type Gateway, ipBatch, rebootGateway } from '../world.ts';
import type { Form } from './form.ts';
import type { Failover } from './results.ts';

/** Both gateways, or an active one whose standby is dead. */
export type Begins = 'pair' | 'alone';

/** A standby that knows the active as it was so long ago knows it: pings are answered. */
const UNSEEN_MAX_MS = 1_000;

/** In an emulated machine that has to share its processor, starting a daemon alone takes most of a minute. */
const IN_STEP_MAX_MS = 180_000;
const BUSY_POLL_MS = 200;
const BUSY_MAX_MS = 10_000;

const otherOf = (gateway: Gateway): Gateway => (gateway === 'gwa' ? 'gwb' : 'gwa');

export interface GroundOptions {
  program: string;
  form: Form;
  progress: (text: string) => void;
}

export class Ground {
  readonly stage: Stage;
  readonly form: Form;
  active: Gateway = 'gwa';
  /** The other gateway is dead. */
  alone = false;
  /** As the daemons were started; undefined: nothing that a case could go on with. */
  #settings: string | undefined;
  #isBuilt = false;

  constructor({ program, form, progress }: GroundOptions) {
    this.form = form;
    const { connections, ratePps, burst, burstEveryMs } = form;
    this.stage = new Stage({
      program,
      connections: makeConnections(connections),
      traffic: { ratePps, burst, burstEveryMs },
      progress,
    });
  }

  get standby(): Gateway {
    return otherOf(this.active);
  }

  /** The pair as a case wants it, with nothing under way. SAs are new ones, but for a case that begins after a death: they go on. */
  async prepare(begins: Begins, settings: Settings): Promise<void> {
    const wanted = JSON.stringify(settings);
    if (this.#settings !== wanted) await this.#begin(settings);
    else if (begins === 'pair') {
      if (this.alone) await this.comeBack();
      this.stage.renew(this.active, makeConnections(this.form.connections));
      await this.inStep();
    }
    this.#settings = wanted;
    if (begins === 'alone' && !this.alone) {
      await this.warmUp();
      await this.die();
      await this.stage.daemons.until(this.standby, 'without its peer', (s) => !peerSeen(s));
      await this.promote();
      this.stage.traffic.stop();
      await this.stage.quiet();
    }
  }

  /** A case went wrong: the next one begins from nothing. */
  abandon(): void {
    this.#settings = undefined;
  }

  async #begin(settings: Settings): Promise<void> {
    const { stage } = this;
    const all = { ...settings, hooks: hookSettings() };
    if (this.#isBuilt) {
      await stage.daemons.stop();
      for (const gateway of GATEWAYS) rebootGateway(gateway);
      const connections = makeConnections(this.form.connections);
      ipBatch('gwa', policyLines(connections, 'gwa'));
      stage.renew('gwa', connections);
      claim('gwa', hookFile('claim'));
      stage.daemons.configure(all);
    } else {
      stage.build();
      this.#isBuilt = true;
      await stage.daemons.init(all);
    }
    this.active = 'gwa';
    this.alone = false;
    for (const gateway of GATEWAYS) stage.daemons.start(gateway);
    await this.inStep();
  }

  /** The standby has the SAs that are installed now, and is complete. */
  async inStep(): Promise<void> {
    const { stage, standby } = this;
    const spis = new Set(stage.connections.flatMap(({ spi }) => [spi.out, spi.in]));
    const status = await stage.daemons.until(
      standby,
      'a complete standby',
      (s) =>
        s.role === 'standby' &&
        s.complete &&
        peerSeen(s) &&
        s.unseenMs !== null &&
        s.unseenMs < UNSEEN_MAX_MS &&
        s.installed === spis.size &&
        s.list?.length === spis.size &&
        s.list.every(({ spi }) => spis.has(Number(spi))),
      { sas: true, timeoutMs: IN_STEP_MAX_MS },
    );
    stage.say(`${standby} is a complete standby with ${status.sas} SAs, term ${status.term}`);
  }

  /** Traffic flows, every flow as fast as it will ever be: how far windows close follows from that. */
  async warmUp(): Promise<void> {
    const { stage, form } = this;
    stage.traffic.start();
    for (const flow of stage.traffic.flows) {
      stage.traffic.push([flow], form.burst);
      await stage.pass(1);
    }
    await stage.pass(form.seconds * 1000);
  }

  /** Traffic that was started goes on for so long. */
  traffic(seconds: number): Promise<void> {
    return this.stage.pass(seconds * 1000);
  }

  /** The whole active gateway dies, with all that is under way in it. Its kernel can still be read. Returns when that was. */
  async die(): Promise<number> {
    const faultMs = await this.#kill(this.active);
    this.alone = true;
    return faultMs;
  }

  /** The same of the standby. */
  async dieStandby(): Promise<number> {
    const faultMs = await this.#kill(this.standby);
    this.alone = true;
    return faultMs;
  }

  async #kill(gateway: Gateway): Promise<number> {
    const { stage } = this;
    const faultMs = stage.traffic.nowMs();
    // The links first: a machine that loses its power says no farewell on the replication link.
    cutGateway(gateway);
    await stage.daemons.kill(gateway);
    stage.traffic.stopApplications(gateway);
    stage.say(`${gateway} is dead: daemon killed, all links down`);
    return faultMs;
  }

  /** The standby becomes the active one. */
  async promote(): Promise<Failover> {
    const { stage, active: from, standby: to } = this;
    const deadline = performance.now() + BUSY_MAX_MS;
    let start = performance.now();
    const ask = () => stage.daemons.ask<Failover>(to, { command: 'promote' });
    let answer = await ask().catch((error: Error) => error);
    // A node that is busy, with its hooks for one, says so; then nothing has changed.
    while (answer instanceof Error && answer.message.includes('try again') && performance.now() < deadline) {
      stage.say(answer.message);
      await stage.pass(BUSY_POLL_MS);
      start = performance.now();
      answer = await ask().catch((error: Error) => error);
    }
    if (answer instanceof Error) throw answer;
    const { kind, takeoverMs } = answer;
    const commandMs = Math.round(performance.now() - start);
    this.active = to;
    stage.say(`${kind}: ${to} is active, ${commandMs} ms after the request`);
    return { kind, from, to, detectMs: 0, takeoverMs, commandMs };
  }

  /** The dead gateway boots: an empty kernel, and a disk that remembers. */
  boot(): void {
    const { stage, standby } = this;
    rebootGateway(standby);
    stage.daemons.booted(standby);
    stage.traffic.startApplications(standby);
    stage.daemons.start(standby);
    stage.say(`${standby} boots with an empty kernel`);
  }

  async comeBack(): Promise<void> {
    this.boot();
    await this.inStep();
    this.alone = false;
  }

  tunnels(): Record<4 | 6, number[]> {
    const of = (family: 4 | 6) =>
      this.stage.connections.filter((c) => c.mode === 'tunnel' && c.family === family).map((c) => c.n);
    return { 4: of(4), 6: of(6) };
  }
}
