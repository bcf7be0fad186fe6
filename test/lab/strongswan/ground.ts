/** Two gateways with a charon and a daemon each, and a peer with a charon: what all steps stand on. */
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { peerSeen, type Settings } from '../daemons.ts';
import { hookFile } from '../lab.ts';
import type { Connection } from '../sas.ts';
import { Stage } from '../stage.ts';
import type { SaText } from '../state-text.ts';
import type { Flow } from '../traffic.ts';
import { cutGateway, GATEWAYS, type Gateway, ip } from '../world.ts';
import { Charon, type ChildSaText } from './charon.ts';
import {
  BUSY,
  CHILDREN,
  type Child,
  type Choices,
  connectionOf,
  PEER_RETRANSMISSION,
  REPLICATED,
  swanctlText,
} from './children.ts';
import { KernelEvents } from './kernel-events.ts';

/** Grants so small that they are raised all the time, and so large that a slow machine does not come to their end. */
const SETTINGS: Settings = {
  takeover: { mode: 'safe', grant_min: 256, grant_ms: 5000 },
  replicate: { reqids: REPLICATED.map(({ reqid }) => reqid) },
  // No link is lost because the machine is busy; that of a dead machine is silent.
  link: { timeout_ms: 5000 },
};
const TRAFFIC = { ratePps: 10, burst: 5, burstEveryMs: 500 };
const DIRECTORY = '/run/xfrmsync-strongswan';
const POLL_MS = 200;
/** Some 60 packets a second on top of the steady ones: a grant lasts for seconds. */
const PUSH = { datagrams: 3, everyMs: 50, timesMax: 4_000 } as const;
const WAIT_MAX_MS = 180_000;

export type Limits = SaText['limits'];
export type Spis = Readonly<Record<'in' | 'out', number>>;

export class Ground {
  readonly stage: Stage;
  readonly #secret = randomBytes(24).toString('base64');
  readonly charon: Readonly<Record<Gateway | 'peer', Charon>>;
  #events: Readonly<Record<Gateway, KernelEvents>> | undefined;
  readonly #limits = new Map<string, Limits>();
  /** SPIs of every CHILD_SA that there was, by child. */
  readonly #spis = new Map<string, Spis[]>();

  constructor(program: string, progress: (text: string) => void) {
    const connections = BUSY.map((child) => connectionOf(child, { in: 0, out: 0 }));
    this.stage = new Stage({ program, connections, traffic: TRAFFIC, withoutSas: true, progress });
    mkdirSync(DIRECTORY, { recursive: true, mode: 0o700 });
    const charon = (namespace: string, host: 'gateway' | 'peer') =>
      new Charon(namespace, DIRECTORY, swanctlText(host, this.#secret), host === 'peer' ? PEER_RETRANSMISSION : []);
    this.charon = { gwa: charon('gwa', 'gateway'), gwb: charon('gwb', 'gateway'), peer: charon('peer', 'peer') };
  }

  get events(): Readonly<Record<Gateway, KernelEvents>> {
    if (this.#events === undefined) throw new Error('the world is not built yet');
    return this.#events;
  }

  /** The world, and both charons with all CHILD_SAs; daemons do not run yet. */
  async build(): Promise<void> {
    const { stage } = this;
    stage.build();
    this.#events = { gwa: new KernelEvents('gwa'), gwb: new KernelEvents('gwb') };
    await Promise.all([this.charon.peer.start(), this.charon.gwa.start()]);
    for (const { name } of CHILDREN) await this.charon.gwa.ctl('--initiate', '--child', name);
    await this.learn('gwa');
    stage.say(`charon has negotiated ${CHILDREN.length} CHILD_SAs`);
    const states = await stage.states('gwa');
    for (const child of CHILDREN)
      for (const [direction, spi] of Object.entries(this.spis(child)))
        this.#limits.set(`${child.name} ${direction}`, states.get(spi)?.limits ?? {});
    await stage.daemons.init({ ...SETTINGS, hooks: { claim: hookFile('claim'), release: hookFile('release') } });
  }

  /** Another swanctl.conf for a gateway's charon, from when it is loaded. */
  choose(gateway: Gateway, choices: Choices): void {
    this.charon[gateway].configure(swanctlText('gateway', this.#secret, choices));
  }

  async startDaemons(): Promise<void> {
    for (const gateway of GATEWAYS) this.stage.daemons.start(gateway);
    await this.inStep('gwb');
  }

  /** Asks charon for its CHILD_SAs, so that the SPIs of all generations are known. */
  async learn(gateway: Gateway): Promise<ChildSaText[]> {
    const list = await this.charon[gateway].childSas();
    for (const { name, spiIn, spiOut } of list) {
      const known = this.#spis.get(name) ?? [];
      if (!known.some((spis) => spis.in === spiIn)) this.#spis.set(name, [...known, { in: spiIn, out: spiOut }]);
    }
    const connections = CHILDREN.flatMap((child) =>
      (this.#spis.get(child.name) ?? []).map((spi) => connectionOf(child, spi)),
    );
    this.stage.adopt(connections satisfies Connection[]);
    return list;
  }

  /** As charon has installed them, before there was a daemon. */
  ownLimits({ name }: Pick<Child, 'name'>, direction: 'in' | 'out'): Limits {
    const limits = this.#limits.get(`${name} ${direction}`);
    if (limits === undefined) throw new Error(`no limits of ${name} are known`);
    return limits;
  }

  /** Of the newest CHILD_SA. */
  spis({ name }: Pick<Child, 'name'>): Spis {
    const spis = this.#spis.get(name)?.at(-1);
    if (spis === undefined) throw new Error(`charon has not negotiated ${name}`);
    return spis;
  }

  /** The SPIs that the daemons have to replicate now. */
  replicated(): Set<number> {
    return new Set(REPLICATED.flatMap((child) => Object.values(this.spis(child))));
  }

  /** The standby is complete, with these SAs and no others. */
  async inStep(standby: Gateway): Promise<void> {
    const wanted = this.replicated();
    await this.stage.daemons.until(
      standby,
      'a complete standby',
      (s) =>
        s.role === 'standby' &&
        s.complete &&
        peerSeen(s) &&
        s.installed === wanted.size &&
        s.list?.length === wanted.size &&
        s.list.every(({ spi }) => wanted.has(Number(spi))),
      { sas: true, timeoutMs: WAIT_MAX_MS },
    );
  }

  flow({ name }: Pick<Child, 'name'>, direction: Flow['direction']): Flow {
    const flow = this.stage.traffic.flows.find((one) => one.connection.name === name && one.direction === direction);
    if (flow === undefined) throw new Error(`nothing is sent on ${name}`);
    return flow;
  }

  /** Packets on the wire with this SPI. */
  onWire(spi: number): number {
    return this.stage.attacker.recording.reduce((count, frame) => count + (frame.spi === spi ? 1 : 0), 0);
  }

  async sa(namespace: Gateway | 'peer', spi: number): Promise<SaText> {
    const sa = (await this.stage.states(namespace)).get(spi);
    if (sa === undefined) throw new Error(`${namespace} has no SA 0x${spi.toString(16)}`);
    return sa;
  }

  /** Policies with a template, in an order of their own. */
  async policies(gateway: Gateway): Promise<string[]> {
    const text = await ip(gateway, ['xfrm', 'policy']);
    return text
      .split(/^(?=src )/m)
      .filter((block) => block.includes('tmpl'))
      .map((block) => block.replace(/\s+/g, ' ').trim())
      .sort();
  }

  /** Those of the SAs that the daemons have to replicate. */
  async replicatedPolicies(gateway: Gateway): Promise<string[]> {
    const words = REPLICATED.map(({ reqid }) => ` reqid ${reqid} `);
    return (await this.policies(gateway)).filter((text) => words.some((word) => text.includes(word)));
  }

  /** @throws Error if it does not become so */
  async until(what: string, right: () => Promise<boolean> | boolean): Promise<void> {
    const deadline = performance.now() + WAIT_MAX_MS;
    while (!(await right())) {
      if (performance.now() > deadline) throw new Error(`after ${WAIT_MAX_MS / 1000} s it is not so that ${what}`);
      await this.stage.pass(POLL_MS);
    }
  }

  /** Sends outbound on a child beyond its rate, until it is enough. */
  async pushUntil(child: Child, enough: () => Promise<boolean> | boolean): Promise<void> {
    const flow = this.flow(child, 'out');
    for (let i = 0; !(await enough()); i++) {
      if (i >= PUSH.timesMax) throw new Error(`${i * PUSH.datagrams} datagrams on ${child.name} were not enough`);
      this.stage.traffic.push([flow], PUSH.datagrams);
      await this.stage.pass(PUSH.everyMs);
    }
  }

  /** Traffic stops; everything that was sent so far has to be there. */
  async checkNoLoss(name: string, counts: (child: Child) => boolean = () => true): Promise<void> {
    const { traffic } = this.stage;
    traffic.stop();
    await this.stage.quiet();
    const children = new Set(CHILDREN.filter(counts).map((child) => child.name));
    const flows = traffic.flows.filter(({ connection }) => children.has(connection.name));
    const lost = flows.map(({ connection, direction, sentAtMs, received }) => ({
      what: `${connection.name} ${direction}`,
      sent: sentAtMs.length,
      lost: sentAtMs.length - received,
    }));
    const bad = lost.filter((one) => one.lost !== 0);
    const sent = lost.reduce((sum, one) => sum + one.sent, 0);
    this.stage.check(name, bad.length === 0, bad.length === 0 ? `0 of ${sent}` : JSON.stringify(bad));
    traffic.start();
  }

  generations({ name }: Pick<Child, 'name'>): number {
    return this.#spis.get(name)?.length ?? 0;
  }

  /** The machine loses its power: no farewell of charon or of the daemon. */
  async die(gateway: Gateway): Promise<number> {
    const faultMs = this.stage.traffic.nowMs();
    cutGateway(gateway);
    await Promise.all([this.stage.daemons.kill(gateway), this.charon[gateway].stop('SIGKILL')]);
    this.stage.traffic.stopApplications(gateway);
    this.stage.say(`${gateway} is dead: charon and daemon killed, all links down`);
    return faultMs;
  }

  async end(): Promise<void> {
    await this.stage.end();
    for (const charon of Object.values(this.charon)) await charon.stop('SIGKILL');
    for (const events of Object.values(this.#events ?? {})) events.close();
  }
}
