import {
  EmulatedKernel,
  type EmulatedOptions,
  findInbound,
  inboundPolicyAllows,
  newInboundFacts,
  Verdict,
} from '../../src/kernel/emulated/index.ts';
import { toRowWord } from '../../src/kernel/emulated/input.ts';
import { Row } from '../../src/kernel/emulated/row.ts';
import { NO_SLOT } from '../../src/kernel/emulated/sad.ts';
import { AddressFamily, IpProto, PolicyDir, parseAddress } from '../../src/xfrm/index.ts';
import { ADDRESSES, type Gateway, type Host, type Machine, type Packet, PORT } from './machine.ts';

/** Three emulated machines, on the clock of this one. */

const PAYLOAD_BYTES = 64;
const PACKET_BYTES = PAYLOAD_BYTES + 20;

/** A packet with what its signature covers and the wire does not show. */
interface Sent extends Packet {
  readonly connection: number;
  readonly seqHi: number;
}

const parsed = (text: string) => parseAddress(text)?.address ?? { w0: 0, w1: 0, w2: 0, w3: 0 };

function flowOf(from: Host, connection: number) {
  const bytes = (text: string): Uint8Array =>
    Uint8Array.from([...text.split('.').map(Number), ...new Array(12).fill(0)]);
  return {
    family: AddressFamily.INET,
    saddr: bytes(ADDRESSES[from]),
    daddr: bytes(ADDRESSES[from === 'peer' ? 'a' : 'peer']),
    proto: IpProto.UDP,
    sport: PORT + connection,
    dport: PORT + connection,
  };
}

export class EmulatedMachine implements Machine {
  readonly name: string;
  readonly kernels: Record<Host, EmulatedKernel>;
  readonly #options: EmulatedOptions;

  constructor(options: EmulatedOptions = {}) {
    this.#options = options;
    this.kernels = {
      a: new EmulatedKernel(options),
      b: new EmulatedKernel(options),
      peer: new EmulatedKernel(options),
    };
    this.name = `emulated ${this.kernels.a.engine.host.profile.release}`;
  }

  async transmit(host: Host, connection: number, count: number): Promise<Packet[]> {
    const kernel = this.kernels[host];
    const { sad } = kernel.engine;
    const facts = {
      flow: flowOf(host, connection),
      mark: 0,
      ifId: 0,
      payloadBytes: PAYLOAD_BYTES,
      packetBytes: PACKET_BYTES,
    };
    const packets: Sent[] = [];
    for (let i = 0; i < count; i++) {
      const { sent, slot, seq, seqHi } = kernel.output(facts);
      if (!sent || slot === NO_SLOT) continue;
      const spi = toRowWord(sad.words[sad.row(slot) + Row.SPI] as number);
      packets.push({ from: host, connection, spi, seq, seqHi });
    }
    return packets;
  }

  async arrive(host: Host, packets: readonly Packet[]): Promise<Packet[]> {
    const kernel = this.kernels[host];
    const facts = newInboundFacts();
    return packets.filter((packet) => {
      const { from, spi, seq, seqHi, connection } = packet as Sent;
      Object.assign(facts, { daddr: parsed(ADDRESSES[host]), saddr: parsed(ADDRESSES[from]), spi, seq, seqHi });
      facts.bytes = PAYLOAD_BYTES;
      if (kernel.input(facts) !== Verdict.ACCEPT) return false;
      return inboundPolicyAllows(kernel.engine, PolicyDir.IN, flowOf(from, connection), 0, [
        findInbound(kernel.engine, facts),
      ]);
    });
  }

  async reboot(gateway: Gateway): Promise<void> {
    this.kernels[gateway] = new EmulatedKernel(this.#options);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
