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

/** One flow in four sends in bursts of so many. */
const BURST = 6;
const BURSTY_ONE_IN = 4;

/** Two flows on each connection, one each way. */
export function makeFlows(connections: readonly Connection[], random: Random): Flow[] {
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
        burst: random.below(BURSTY_ONE_IN) === 0 ? BURST : 1,
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

/** Time between two packets of a steady flow, when all flows together send `ratePps`. Bursts come as much more seldom as they are larger. */
export const intervalMs = (flows: number, ratePps: number): number => (1000 * flows) / ratePps;

/** From `startMs` on every flow is due once in its interval, each at a moment of its own. */
export function schedule(flows: readonly Flow[], ratePps: number, startMs: number, random: Random): void {
  const interval = intervalMs(flows.length, ratePps);
  for (const flow of flows) flow.dueMs = startMs + random.unit() * interval * flow.burst;
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
