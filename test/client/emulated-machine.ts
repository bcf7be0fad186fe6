import { carry, EmulatedKernel, type EmulatedNamespace, VirtualClock } from 'xfrmsync/emulated';
import { parseAddress } from 'xfrmsync/xfrm';
import { ADDRESSES, type Machine, PAYLOAD_BYTES, PORTS, type Side, TICK_MS } from './machine.ts';

const UDP = 17;
const UDP_HEADER = 8;
const IPV4_HEADER = 20;

function addressBytes(text: string): Uint8Array {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`${text} is no address`);
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setUint32(0, parsed.address.w0);
  return bytes;
}

/** Two namespaces of an emulated machine, its clock moved by those who wait. */
export function emulatedMachine(): Machine {
  const clock = new VirtualClock();
  const a = new EmulatedKernel({ clock });
  const sides: Readonly<Record<Side, EmulatedNamespace>> = { a, b: a.namespace() };
  const flow = {
    family: 2,
    saddr: addressBytes(ADDRESSES.a[0]),
    daddr: addressBytes(ADDRESSES.b[0]),
    proto: UDP,
    sport: PORTS.a,
    dport: PORTS.b,
  };
  const payloadBytes = UDP_HEADER + PAYLOAD_BYTES;
  const packet = { flow, mark: 0, ifId: 0, payloadBytes, packetBytes: IPV4_HEADER + payloadBytes };
  return {
    kernel: (side) => sides[side],
    send(count) {
      let taken = 0;
      for (let i = 0; i < count; i++) if (carry(sides.a, sides.b, packet).errno === 0) taken++;
      return taken;
    },
    async tick() {
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(TICK_MS);
    },
    setSysctl(side, name, value) {
      const errno = sides[side].setSysctl(name, String(value));
      if (errno !== 0) throw new Error(`${name} = ${value}: errno ${errno}`);
    },
  };
}
