import { nothing } from '../../src/conformance/received.ts';
import { append } from '../../src/conformance/run.ts';
import type { Scenario, Step } from '../../src/conformance/scenario.ts';
import type { Counters, Received, Target } from '../../src/conformance/target.ts';
import { forEachMessage } from '../../src/netlink/index.ts';
import { hexOf } from './bytes.ts';
import { type Known, learnAnswer, learnRequest, newKnown, volatileRanges } from './volatile.ts';

/** Carries a scenario out on a target and writes down what it did: the answers as test/vectors/README.md describes them. */

const DEFAULT_NS = 'a';

/** The scenario with the target's answers in place of any that it had. `realtimeMs`: the clock that the target's times are of. */
export function record(scenario: Scenario, target: Target, realtimeMs = Date.now()): Scenario {
  const recorder = new Recorder(target, newKnown(Math.floor(realtimeMs / 1000)));
  return { ...scenario, steps: scenario.steps.map((step) => recorder.step(step)) };
}

class Recorder {
  readonly #target: Target;
  readonly #known: Known;
  readonly #start = performance.now();
  /** What sockets have received and no step has asked for yet; those that are read only when asked are not in it. */
  readonly #kept = new Map<string, Received>();

  constructor(target: Target, known: Known) {
    this.#target = target;
    this.#known = known;
  }

  step(asked: Step): Step {
    const target = this.#target;
    const step = { ...asked, t: Math.round(performance.now() - this.#start) };
    switch (step.op) {
      case 'socket': {
        const errno = target.openSocket(step);
        this.#kept.delete(step.sock);
        if (errno === 0 && step.lazy !== true) this.#kept.set(step.sock, nothing());
        return { ...step, errno };
      }
      case 'setopt':
        return { ...step, errno: target.setOption(step) };
      case 'join':
      case 'leave':
        return { ...step, errno: target.setMembership(step) };
      case 'close':
        this.#kept.delete(step.sock);
        target.closeSocket(step.sock);
        return step;
      case 'send':
        return this.#send(step);
      case 'events':
        return this.#events(step);
      case 'packet':
        return step.dir === 'out' ? this.#packetOut(step) : this.#packetIn(step);
      case 'sysctl':
        return { ...step, errno: target.setSysctl(step.ns ?? DEFAULT_NS, step.name, String(step.value)) };
      case 'sysctl_read': {
        const value = target.sysctl(step.ns ?? DEFAULT_NS, step.name);
        return { ...without(step, 'value'), ...(value !== undefined && { value }) };
      }
      case 'udp_encap':
        target.openUdpEncap(step.ns ?? DEFAULT_NS, step.port);
        return step;
      case 'sleep':
        target.sleep(step.ms);
        return step;
    }
  }

  #send(step: Extract<Step, { op: 'send' }>): Step {
    this.#keepAll();
    const sender = { privileged: step.cap_net_admin ?? true, addressed: step.unaddressed !== true };
    const datagram = Buffer.from(step.hex, 'hex');
    const errno = this.#target.send(step.sock, datagram, sender);
    const { messages, overruns, datagrams } = this.#target.read(step.sock);
    forEachMessage(datagram, (at, length) => {
      learnRequest(datagram.subarray(at, at + length), messages, this.#known);
    });
    return {
      ...without(step, 'errno', 'reply', 'volatile', 'overruns', 'datagrams'),
      ...(errno !== 0 && { errno }),
      reply: messages.map(hexOf),
      volatile: this.#volatile(messages),
      ...(overruns.length > 0 && { overruns }),
      ...(datagrams.some((n) => n > 1) && { datagrams: [...datagrams] }),
    };
  }

  #events(step: Extract<Step, { op: 'events' }>): Step {
    this.#keepAll();
    const kept = this.#kept.get(step.sock);
    const waiting = kept?.datagrams.length ?? 0;
    if (step.count !== undefined) this.#target.wait(step.sock, step.count - waiting, step.timeout_ms ?? 0);
    const received = kept ?? nothing();
    append(received, this.#target.read(step.sock));
    if (kept !== undefined) this.#kept.set(step.sock, nothing());
    const { messages, groups, overruns } = received;
    return {
      ...without(step, 'hex', 'volatile', 'groups', 'overruns', 'at'),
      hex: messages.map(hexOf),
      volatile: this.#volatile(messages),
      ...(groups.length > 0 && { groups }),
      ...(overruns.length > 0 && { overruns }),
    };
  }

  #packetOut(step: Extract<Step, { dir: 'out' }>): Step {
    const { seq, errnos, acct, stat } = this.#target.packetOut(step);
    return {
      ...without(step, 'seq', 'ip_len', 'errnos', 'acct', 'xfrm_stat'),
      ...(seq.length > 0 && { seq }),
      ...(errnos.some((errno) => errno !== 0) && { errnos }),
      ...(acct !== undefined && { acct }),
      ...counted(stat),
    };
  }

  #packetIn(step: Extract<Step, { dir: 'in' }>): Step {
    const { verdicts, stat } = this.#target.packetIn(step);
    return {
      ...without(step, 'verdicts', 'xfrm_stat'),
      verdicts: verdicts.map(({ verdict, bytes, stat: grown }) => ({
        verdict: verdict as 'accept',
        ...(verdict === 'accept' && bytes !== undefined && { bytes }),
        ...counted(grown),
      })),
      ...counted(stat),
    };
  }

  #keepAll(): void {
    for (const [sock, kept] of this.#kept) {
      const received = this.#target.read(sock);
      for (const message of received.messages) learnAnswer(message, this.#known);
      append(kept, received);
    }
  }

  #volatile(messages: readonly Uint8Array[]): [number, number][][] {
    for (const message of messages) learnAnswer(message, this.#known);
    return messages.map((message) => volatileRanges(message, this.#known));
  }
}

const counted = (stat: Counters): { xfrm_stat?: Record<string, number> } =>
  Object.keys(stat).length > 0 ? { xfrm_stat: { ...stat } } : {};

/** A copy without some fields: answers of an earlier run. */
function without<T extends object, K extends PropertyKey>(value: T, ...names: readonly K[]): Omit<T, K> {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name as K))) as Omit<T, K>;
}
