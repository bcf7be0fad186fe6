/** The flows between the hosts as data: what is sent when, and what has arrived. No sockets here. */
import { addressOf, type Connection, type Direction, hostAddress } from './connections.ts';
import type { Times } from './flow-report.ts';
import { type PacketMaker, packetMaker } from './packet.ts';
import type { Random } from './random.ts';

export interface Flow extends Times {
  readonly index: number;
  readonly connection: Connection;
  /** Seen from the gateways: `in` comes from the peer's side. */
  readonly direction: Direction;
  /** Packets that go out together; 1 for a steady flow. */
  readonly burst: number;
  /** Time between two packets, or two bursts. */
  readonly everyMs: number;
  readonly packet: PacketMaker;
  readonly sentAtMs: number[];
  readonly receivedAtMs: (number | undefined)[];
  received: number;
  /** Of the newest packet that arrived: when it was sent. */
  newestSentMs: number;
  /** Second and later deliveries of a packet. */
  duplicates: number;
  /** Numbers of packets that came when they were given up for lost. */
  readonly late: Set<number>;
  /** When the next packet or burst is due. */
  dueMs: number;
}

/** Some flows send in bursts of so many, once in so long. */
const BURST = { packets: 6, everyMs: 1_000 } as const;
/** Of the flows, and of the rate, at the most. */
const BURSTY_SHARE = 1 / 4;

/**
 * Two flows on each connection, one each way. All together send `ratePps`: a few in bursts, the others as steadily as is left for each of
 * them.
 */
export function makeFlows(connections: readonly Connection[], ratePps: number, random: Random): Flow[] {
  const count = 2 * connections.length;
  const burstPps = (1000 * BURST.packets) / BURST.everyMs;
  const bursty = Math.floor(BURSTY_SHARE * Math.min(count, ratePps / burstPps));
  const everyMs = (1000 * (count - bursty)) / (ratePps - bursty * burstPps);
  const isBursty = random.shuffle(Array.from({ length: count }, (_, i) => i < bursty));
  return connections.flatMap((connection, i) =>
    (['out', 'in'] as const).map((direction, j): Flow => {
      const { n, family } = connection;
      const index = 2 * i + j;
      const address = (side: 'gateway' | 'peer') => addressOf(hostAddress(n, family, side));
      const [source, destination] =
        direction === 'out' ? (['gateway', 'peer'] as const) : (['peer', 'gateway'] as const);
      return {
        index,
        connection,
        direction,
        ...(isBursty[index] ? { burst: BURST.packets, everyMs: BURST.everyMs } : { burst: 1, everyMs }),
        packet: packetMaker(index, family, address(source), address(destination)),
        sentAtMs: [],
        receivedAtMs: [],
        received: 0,
        newestSentMs: -1,
        duplicates: 0,
        late: new Set(),
        dueMs: 0,
      };
    }),
  );
}

/** From `startMs` on every flow is due once in its interval, each at a moment of its own. */
export function schedule(flows: readonly Flow[], startMs: number, random: Random): void {
  for (const flow of flows) flow.dueMs = startMs + random.unit() * flow.everyMs;
}

/** Takes note of a packet that is sent now; its number. */
export function noteSent(flow: Flow, nowMs: number): number {
  flow.sentAtMs.push(nowMs);
  return flow.sentAtMs.length - 1;
}

/**
 * Takes note of a packet that arrived. One sent before `givenUpMs` that had not come by then was lost to its application: that it comes
 * after all is the doing of a replay.
 */
export function noteArrival(
  flow: Flow,
  number: number,
  nowMs: number,
  givenUpMs: number,
): 'first' | 'late' | 'again' | 'unknown' {
  const sentMs = flow.sentAtMs[number];
  if (sentMs === undefined) return 'unknown';
  if (flow.receivedAtMs[number] !== undefined || flow.late.has(number)) {
    flow.duplicates += 1;
    return 'again';
  }
  if (sentMs < givenUpMs) {
    flow.late.add(number);
    return 'late';
  }
  flow.receivedAtMs[number] = nowMs;
  flow.received += 1;
  flow.newestSentMs = Math.max(flow.newestSentMs, sentMs);
  return 'first';
}
