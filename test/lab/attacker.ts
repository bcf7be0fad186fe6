/** The attacker on the outside LAN: records every ESP frame that comes into the bridge, and sends recordings again. */
import { type Port, type Reuse, reusedNumbers, type Seen } from '../../src/demo/recording.ts';
import { parseEsp, readdressed } from './frames.ts';
import { close, packetDrops, packetEar, packetSocket, send, socketAddress } from './libc.ts';
import { ADDRESSES, MACS } from './world.ts';

export interface Recorded extends Seen {
  /** Outer addresses as hex. */
  source: string;
  destination: string;
  frame: Buffer;
}

const PORTS: readonly Port[] = ['peer', 'gwa', 'gwb'];
/** A drill records some ten thousand frames; beyond this something sends without end. */
const FRAMES_MAX = 500_000;
/** In one turn of the event loop, so that the traffic goes on meanwhile. */
const INJECT_BATCH = 200;
const FRAME_BYTES_MAX = 2048;

export interface Attacker {
  /** In the order in which the bridge got the frames. */
  readonly recording: readonly Recorded[];
  /** Frames that the kernel did not hand over; with any the recording proves nothing. */
  drops(): number;
  /** Takes what has come in. Called on every tick. */
  poll(nowMs: number): void;
  /** Sends recorded frames to one machine, the hardware address rewritten. Those that already went there in vain may go again. */
  inject(frames: readonly Recorded[], target: Port): Promise<void>;
  close(): void;
}

export function startAttacker(): Attacker {
  const ports = new Map(PORTS.map((port) => [`to-${port}`, port]));
  // One ear for all ports: the recording is in the order in which frames came in.
  const ear = packetEar('wire', [...ports.keys()]);
  const mouths = new Map(PORTS.map((port) => [port, packetSocket('wire', `to-${port}`, false)]));
  const recording: Recorded[] = [];
  const buffer = Buffer.alloc(FRAME_BYTES_MAX);
  let drops = 0;
  return {
    recording,
    drops: () => {
      drops += packetDrops(ear.fd);
      return drops;
    },
    poll(nowMs) {
      for (let bytes = ear.receiveFrom(buffer); bytes >= 0; bytes = ear.receiveFrom(buffer)) {
        const port = ports.get(ear.interfaceName() ?? '');
        const esp = parseEsp(buffer.subarray(0, bytes));
        if (port === undefined || esp === undefined) continue;
        if (recording.length >= FRAMES_MAX) throw new Error(`more than ${FRAMES_MAX} ESP frames recorded`);
        const { source, destination, spi, seq } = esp;
        recording.push({
          atMs: nowMs,
          port,
          source,
          destination,
          spi,
          seq,
          frame: Buffer.from(buffer.subarray(0, bytes)),
        });
      }
    },
    async inject(frames, target) {
      const fd = mouths.get(target) as number;
      for (let i = 0; i < frames.length; i++) {
        const { frame } = frames[i] as Recorded;
        while (send(fd, readdressed(frame, MACS[target]), frame.length, null) < 0) await nextTurn();
        if (i % INJECT_BATCH === INJECT_BATCH - 1) await nextTurn();
      }
    },
    close() {
      close(ear.fd);
      for (const fd of mouths.values()) close(fd);
    },
  };
}

const nextTurn = () => new Promise<void>((resolve) => setTimeout(resolve, 1));

function addressHex(address: string): string {
  return address.includes(':')
    ? socketAddress(6, address, 0).subarray(8, 24).toString('hex')
    : socketAddress(4, address, 0).subarray(4, 8).toString('hex');
}

/** Numbers that gateways sent twice (S1). Frames from the shared addresses count: others were only passed on. */
export function reusedOutbound(recording: readonly Recorded[]): Reuse[] {
  const shared = new Set([4, 6].map((family) => addressHex(ADDRESSES.shared[family as 4 | 6])));
  return reusedNumbers(recording, ({ source }) => shared.has(source));
}
