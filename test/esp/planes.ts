/** Two emulated machines with a data plane each, back to back. */
import { EspDataPlane, type EspSa, type Inbound } from '../../src/esp/index.ts';
import {
  EmulatedKernel,
  type EmulatedOptions,
  type EmulatedSocket,
  VirtualClock,
} from '../../src/kernel/emulated/index.ts';
import { forEachMessage, NlmF } from '../../src/netlink/index.ts';
import {
  type AnyXfrmMessage,
  decodeMessage,
  encodeMessage,
  PolicyDir,
  type Selector,
  selector,
  userpolicyInfo,
  userTmpl,
  XFRM_INF,
  type XfrmMessage,
} from '../../src/xfrm/index.ts';
import { address } from './sas.ts';

export class Machine {
  readonly clock: VirtualClock;
  readonly kernel: EmulatedKernel;
  readonly requests: EmulatedSocket;
  readonly plane: EspDataPlane;

  constructor(clock: VirtualClock, options: EmulatedOptions = {}) {
    this.clock = clock;
    this.kernel = new EmulatedKernel({ clock, later: () => {}, ...options });
    this.requests = this.kernel.openNow();
    this.plane = new EspDataPlane(this.kernel);
  }

  /** Sends a request; its answers. @throws if the kernel refuses it */
  ask(message: Pick<XfrmMessage, 'kind' | 'body' | 'attributes'>): AnyXfrmMessage[] {
    const flags = NlmF.REQUEST | NlmF.ACK | (message.kind === 'NEWAE' ? NlmF.ROOT : 0);
    this.requests.send(encodeMessage({ ...message, flags, seq: 1, pid: 0 } as AnyXfrmMessage));
    const answers = received(this.requests);
    for (const answer of answers) {
      if (answer.kind === 'ERROR' && answer.body.error !== 0)
        throw new Error(`${message.kind}: errno ${-answer.body.error}`);
    }
    return answers;
  }

  addSa(sa: EspSa): void {
    this.ask({ kind: 'NEWSA', ...sa });
  }

  /** The policy that leads `sel` into the SAs with this shape. */
  addPolicy(dir: number, sel: Selector, sa: EspSa, more: { action?: number } = {}): void {
    const body = userpolicyInfo.zero();
    Object.assign(body, { sel, dir, ...more });
    for (const limit of ['softByteLimit', 'hardByteLimit', 'softPacketLimit', 'hardPacketLimit'] as const) {
      body.lft[limit] = XFRM_INF;
    }
    const { id, saddr, reqid, mode, family } = sa.body;
    const tmpl = { ...userTmpl.zero(), id: { ...id, spi: 0 }, saddr, reqid, mode, family };
    this.ask({ kind: 'NEWPOLICY', body, attributes: { tmpl: [tmpl] } });
  }

  sa(sa: EspSa): XfrmMessage<'NEWSA'> {
    const { id, family } = sa.body;
    const body = { daddr: id.daddr, spi: id.spi, family, proto: id.proto };
    const mark = sa.attributes.mark === undefined ? {} : { mark: sa.attributes.mark };
    const found = this.ask({ kind: 'GETSA', body, attributes: mark }).find(({ kind }) => kind === 'NEWSA');
    if (found === undefined) throw new Error('no such SA');
    return found as XfrmMessage<'NEWSA'>;
  }

  stat(name: string): number {
    return this.kernel.stats()[name] ?? 0;
  }
}

/** All that waits at a socket, decoded. */
export function received(socket: EmulatedSocket): AnyXfrmMessage[] {
  const { batch } = socket.read();
  const messages: AnyXfrmMessage[] = [];
  for (let i = 0; i < batch.count; i++) {
    const at = batch.offsets[i] as number;
    const datagram = batch.buffer.slice(at, at + (batch.lengths[i] as number));
    forEachMessage(datagram, (start) => messages.push(decodeMessage(datagram, start)));
  }
  return messages;
}

export interface Pair {
  readonly clock: VirtualClock;
  readonly a: Machine;
  readonly b: Machine;
}

export function pair(options: EmulatedOptions = {}): Pair {
  const clock = new VirtualClock();
  return { clock, a: new Machine(clock, options), b: new Machine(clock, options) };
}

/** Selects what goes from one prefix to another. */
export function between(saddr: string, daddr: string): Selector {
  const [from = '', fromBits] = saddr.split('/');
  const [to = '', toBits] = daddr.split('/');
  const family = from.includes(':') ? 10 : 2;
  const whole = family === 2 ? 32 : 128;
  return {
    ...selector.zero(),
    family,
    saddr: address(from),
    daddr: address(to),
    prefixlenS: Number(fromBits ?? whole),
    prefixlenD: Number(toBits ?? whole),
  };
}

/** The SA from a to b on both machines, and the policies that use it. */
export function connect({ a, b }: Pair, sa: EspSa, sel: Selector): void {
  a.addSa(sa);
  b.addSa(sa);
  a.addPolicy(PolicyDir.OUT, sel, sa);
  b.addPolicy(PolicyDir.IN, sel, sa);
}

/** A packet through both planes; the outer one is a copy. */
export function through({ a, b }: Pair, packet: Uint8Array): { wire: Uint8Array; inbound: Inbound } {
  const { verdict, packet: outer } = a.plane.outbound(packet);
  if (verdict !== 'SEALED') throw new Error(`outbound: ${verdict}`);
  const wire = Uint8Array.from(outer);
  return { wire, inbound: b.plane.inbound(wire) };
}
