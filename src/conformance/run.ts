import { decodePfkey, pfkeyToJson } from '../pfkey/index.ts';
import { messageToJson, xfrmOfRelease } from '../xfrm/index.ts';
import { difference, type ToJson } from './difference.ts';
import { nothing } from './received.ts';
import { commonAlgorithms } from './registered.ts';
import type { Scenario, Step } from './scenario.ts';
import type { Counters, PacketInStep, PacketOutStep, Received, Target } from './target.ts';

/** Carries a scenario out on a target, step by step, and says where the answers first differ from what was recorded. */

export type RunResult = { readonly outcome: 'passed' } | { readonly outcome: 'failed'; readonly detail: string };

type Ranges = readonly (readonly (readonly [number, number])[])[];

const DEFAULT_NS = 'a';

/** A difference; thrown to leave the scenario. */
class Difference extends Error {}

export function runScenario(scenario: Scenario, target: Target): RunResult {
  const { decode } = xfrmOfRelease(scenario.kernel);
  const run = new Run(target, (bytes) => messageToJson(decode(bytes)));
  for (const [i, step] of scenario.steps.entries()) {
    try {
      run.step(step);
    } catch (error) {
      if (!(error instanceof Difference)) throw error;
      return { outcome: 'failed', detail: `step ${i} ${step.op}: ${error.message}` };
    }
  }
  return { outcome: 'passed' };
}

class Run {
  readonly #target: Target;
  readonly #toJson: ToJson;
  /** Sockets of PF_KEY. */
  readonly #pfkey = new Set<string>();
  /** Sockets that are read only when a step asks. */
  readonly #lazy = new Set<string>();
  /** What eager sockets have received and no step has asked for yet. */
  readonly #kept = new Map<string, Received>();

  constructor(target: Target, toJson: ToJson) {
    this.#target = target;
    this.#toJson = toJson;
  }

  step(step: Step): void {
    const target = this.#target;
    switch (step.op) {
      case 'socket': {
        this.#forget(step.sock);
        const errno = target.openSocket(step);
        same('errno', step.errno ?? 0, errno);
        if (errno !== 0) break;
        if (step.proto === 'pfkey') this.#pfkey.add(step.sock);
        // The recorder read a PF_KEY socket only with its own steps: what waited before a send came with the reply.
        if (step.lazy || step.proto === 'pfkey') this.#lazy.add(step.sock);
        else this.#kept.set(step.sock, nothing());
        break;
      }
      case 'setopt':
        same('errno', step.errno ?? 0, target.setOption(step));
        break;
      case 'join':
      case 'leave':
        same('errno', step.errno ?? 0, target.setMembership(step));
        break;
      case 'close':
        this.#forget(step.sock);
        target.closeSocket(step.sock);
        break;
      case 'send': {
        this.#keepAll();
        const sender = { privileged: step.cap_net_admin ?? true, addressed: step.unaddressed !== true };
        const errno = target.send(step.sock, Buffer.from(step.hex, 'hex'), sender);
        same('errno', step.errno ?? 0, errno);
        const got = target.read(step.sock);
        this.#compare(step.sock, step.reply ?? [], step.volatile ?? [], got.messages);
        same('overruns', step.overruns ?? [], got.overruns);
        const several = got.datagrams.some((n) => n > 1);
        same('messages in each datagram', step.datagrams ?? [], several ? got.datagrams : []);
        break;
      }
      case 'events': {
        this.#keepAll();
        const waiting = this.#kept.get(step.sock)?.datagrams.length ?? 0;
        if (step.count !== undefined) target.wait(step.sock, step.count - waiting, step.timeout_ms ?? 0);
        const got = this.#take(step.sock);
        this.#compare(step.sock, step.hex ?? [], step.volatile ?? [], got.messages);
        same('groups', step.groups ?? [], got.groups);
        same('overruns', step.overruns ?? [], got.overruns);
        break;
      }
      case 'packet':
        if (step.dir === 'out') this.#packetOut(step);
        else this.#packetIn(step);
        break;
      case 'sysctl':
        same('errno', step.errno ?? 0, target.setSysctl(step.ns ?? DEFAULT_NS, step.name, String(step.value)));
        break;
      case 'sysctl_read':
        same('value', step.value, target.sysctl(step.ns ?? DEFAULT_NS, step.name));
        break;
      case 'udp_encap':
        target.openUdpEncap(step.ns ?? DEFAULT_NS, step.port);
        break;
      case 'sleep':
        target.sleep(step.ms);
        break;
    }
  }

  #forget(sock: string): void {
    this.#lazy.delete(sock);
    this.#pfkey.delete(sock);
    this.#kept.delete(sock);
  }

  /** Reads the eager sockets, as the recorder did all the time. */
  #keepAll(): void {
    for (const [sock, kept] of this.#kept) append(kept, this.#target.read(sock));
  }

  #take(sock: string): Received {
    const kept = this.#kept.get(sock);
    const got = this.#target.read(sock);
    if (kept === undefined) return got;
    append(kept, got);
    this.#kept.set(sock, nothing());
    return kept;
  }

  #packetOut(step: PacketOutStep): void {
    const got = this.#target.packetOut(step);
    same('seq', step.seq ?? [], got.seq);
    if (got.ipLengths !== undefined) same('ip_len', step.ip_len ?? [], got.ipLengths);
    const failed = got.errnos.some((errno) => errno !== 0);
    same('errnos', step.errnos ?? [], failed ? got.errnos : []);
    same('acct', step.acct, got.acct);
    sameCounters('xfrm_stat', step.xfrm_stat, got.stat);
  }

  #packetIn(step: PacketInStep): void {
    const got = this.#target.packetIn(step);
    const wanted = step.verdicts ?? [];
    same('verdicts', wanted.length, got.verdicts.length);
    wanted.forEach(({ verdict, bytes, xfrm_stat }, i) => {
      const seen = got.verdicts[i];
      const where = `packet ${i} (seq ${step.packets[i]?.seq})`;
      same(`${where} verdict`, verdict, seen?.verdict);
      if (bytes !== undefined) same(`${where} bytes`, bytes, seen?.bytes);
      sameCounters(`${where} xfrm_stat`, xfrm_stat, seen?.stat ?? {});
    });
    sameCounters('xfrm_stat', step.xfrm_stat, got.stat);
  }

  #compare(sock: string, wanted: readonly string[], ranges: Ranges, got: readonly Uint8Array[]): void {
    const isPfkey = this.#pfkey.has(sock);
    const toJson: ToJson = isPfkey ? (bytes) => pfkeyToJson(decodePfkey(bytes)) : this.#toJson;
    for (let i = 0; i < Math.max(wanted.length, got.length); i++) {
      const hex = wanted[i];
      const left = hex === undefined ? undefined : masked(Buffer.from(hex, 'hex'), ranges[i] ?? []);
      const seen = got[i];
      const right = seen === undefined ? undefined : masked(seen.slice(), ranges[i] ?? []);
      const pair = isPfkey && this.#target.algorithmsVary ? commonAlgorithms(left, right) : ([left, right] as const);
      const text = difference(...pair, toJson);
      if (text !== '') throw new Difference(`message ${i} of ${wanted.length} differs\n${text}`);
    }
  }
}

function masked(bytes: Uint8Array, ranges: readonly (readonly [number, number])[]): Uint8Array {
  for (const [start, end] of ranges) bytes.fill(0, start, end);
  return bytes;
}

/** Puts what was received later behind what was received before. */
export function append(to: Received, more: Received): void {
  const { length } = to.messages;
  to.overruns.push(...more.overruns.map(([at = 0, errno = 0]) => [at + length, errno]));
  to.messages.push(...more.messages);
  to.groups.push(...more.groups);
  to.datagrams.push(...more.datagrams);
}

function same(what: string, wanted: unknown, got: unknown): void {
  const [left, right] = [JSON.stringify(wanted), JSON.stringify(got)];
  if (left !== right) throw new Difference(`${what}: expected ${left}, actual ${right}`);
}

function sameCounters(what: string, wanted: Counters | undefined, got: Counters): void {
  const sorted = (counters: Counters): [string, number][] =>
    Object.entries(counters).sort(([a], [b]) => (a < b ? -1 : 1));
  same(what, sorted(wanted ?? {}), sorted(got));
}
