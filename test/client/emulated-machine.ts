import { carry, EmulatedKernel, type EmulatedNamespace, udpPacket, VirtualClock } from 'xfrmsync/emulated';
import { ADDRESSES, type Machine, PAYLOAD_BYTES, PORTS, type Side, TICK_MS } from './machine.ts';

/** Two namespaces of an emulated machine, its clock moved by those who wait. */
export function emulatedMachine(): Machine {
  const clock = new VirtualClock();
  const a = new EmulatedKernel({ clock });
  const sides: Readonly<Record<Side, EmulatedNamespace>> = { a, b: a.namespace() };
  const packet = udpPacket({
    from: ADDRESSES.a[0],
    to: ADDRESSES.b[0],
    sport: PORTS.a,
    dport: PORTS.b,
    payloadBytes: PAYLOAD_BYTES,
  });
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
