import { performance } from 'node:perf_hooks';
import type { Gateway } from '../gateway/index.ts';
import type { Replica } from '../replica/index.ts';
import type { ControlHandler } from './control-server.ts';
import type { KernelInterface } from './kernel-interface.ts';
import { statusOf } from './status.ts';

/** What the operator's requests are about. */
export interface Operated {
  readonly replica: Replica;
  readonly kernel: KernelInterface;
  readonly kernelName: string;
  readonly gateway: Gateway | undefined;
  readonly policies: boolean;
  readonly handoverTimeoutMs: number;
  readonly input: (happen: () => void) => void;
}

type Change = Extract<
  Parameters<ControlHandler>[0],
  { readonly command: 'promote' | 'demote' | 'switchover' | 'dismiss' }
>;
type Answer = { resolve: (result: object) => void; reject: (reason: Error) => void };

/** The operator's word: requests of the control socket become inputs, and how they ended becomes their answer. */
export class Operator {
  #operated: Operated | undefined;
  #answer: Answer | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** From now on there is something to operate. */
  start(operated: Operated): void {
    this.#operated = operated;
  }

  /** The change of roles under way ended so. */
  resolve(result: object): void {
    this.#take()?.resolve(result);
  }

  reject(error: Error): void {
    this.#take()?.reject(error);
  }

  readonly handle: ControlHandler = async (request) => {
    const operated = this.#operated;
    if (operated === undefined) return { ok: false, reason: 'the daemon is starting; try again in a moment' };
    const { replica, kernel, kernelName, gateway, policies, input } = operated;
    switch (request.command) {
      case 'status': {
        const nowMs = performance.now();
        // What waits in the event sockets is known, too.
        kernel.drain();
        const about = { kernel: kernelName, via: kernel.name, nowMs, sas: request.sas, gateway: gateway?.counts };
        return { ok: true, result: statusOf(replica.state, about) };
      }
      case 'dryRun': {
        // Beside what is under way: looking must not hold up a promotion.
        const reading = await kernel.read(policies);
        return { ok: true, result: replica.dryRun(reading, performance.now(), request) };
      }
      case 'resync':
        input(() => replica.resync());
        return { ok: true, result: { role: replica.state.role } };
      default:
        if (this.#answer) return { ok: false, reason: 'another promote, demote, switchover or dismiss is under way' };
        return { ok: true, result: await this.#change(request, operated) };
    }
  };

  #change(request: Change, { replica, handoverTimeoutMs: ms, input }: Operated): Promise<object> {
    const nowMs = performance.now();
    return new Promise<object>((resolve, reject) => {
      this.#answer = { resolve, reject };
      this.#timer = setTimeout(() => input(() => replica.abandonHandover(`nothing happened within ${ms} ms`)), ms);
      input(() => {
        switch (request.command) {
          case 'promote':
            return replica.promote(nowMs, request);
          case 'demote':
            return replica.demote(request);
          case 'switchover':
            return replica.switchover(nowMs, request.to);
          case 'dismiss':
            return replica.dismiss();
        }
      });
    });
  }

  #take(): Answer | undefined {
    clearTimeout(this.#timer);
    const answer = this.#answer;
    this.#answer = undefined;
    return answer;
  }
}
