/**
 * How many packets an SA has carried at the most within spans of a given length, as far as the counters that came in show it. From
 * that follows what it can have carried in a time of which nothing is known, if it was not busier than lately. Two spans: a flow that
 * comes in bursts fills a short one and leaves most of a long one empty.
 */
export interface Rate {
  readonly spans: readonly Span[];
}

interface Span {
  readonly lengthMs: number;
  /** The most packets in one such span. */
  most: number;
  sinceMs: number;
  sincePackets: number;
}

const SPANS_MS = [100, 1_000];
/** After this long without its like the most counts half. */
const HALF_LIFE_MS = 30_000;
/** Of packets that came while nobody was told of them, those of so many spans are taken to have come within one of them. */
const BURST_SPANS = 10;

export function newRate(packets: number, nowMs: number): Rate {
  return { spans: SPANS_MS.map((lengthMs) => ({ lengthMs, most: 0, sinceMs: nowMs, sincePackets: packets })) };
}

/**
 * Takes note that the SA had carried `packets` at `nowMs`. All that came since the last note may have come at once: the kernel tells of an SA
 * soon after it has moved. Not so after a time in which nothing was told (`untold`): then they are taken to have come more evenly. True if a
 * span has ended, so that the rate may be another one.
 */
export function noteRate({ spans }: Rate, packets: number, nowMs: number, untold = false): boolean {
  let noted = false;
  for (const span of spans) {
    const ms = nowMs - span.sinceMs;
    if (ms < span.lengthMs) continue;
    const count = Math.max(0, packets - span.sincePackets);
    const within = untold ? Math.min(1, (BURST_SPANS * span.lengthMs) / ms) : 1;
    span.most = Math.max(count * within, span.most * 0.5 ** (ms / HALF_LIFE_MS));
    span.sinceMs = nowMs;
    span.sincePackets = packets;
    noted = true;
  }
  return noted;
}

/** The most packets in `ms`, whenever they begin: they lie in one span more than fit into that time. */
export function packetsWithin({ spans }: Rate, ms: number): number {
  return Math.min(...spans.map(({ lengthMs, most }) => (Math.ceil(ms / lengthMs) + 1) * most));
}

/** The same as of `nowMs`, also if nothing was noted for long. Less than half a packet is none. */
export function packetsWithinAt(rate: Rate, ms: number, nowMs: number): number {
  const sinceMs = Math.max(...rate.spans.map((span) => span.sinceMs));
  const packets = packetsWithin(rate, ms) * 0.5 ** (Math.max(0, nowMs - sinceMs) / HALF_LIFE_MS);
  return packets < 0.5 ? 0 : packets;
}

/** Packets a second, over the longest span. */
export function packetsPerSecond({ spans }: Rate): number {
  const last = spans.at(-1);
  return last === undefined ? 0 : (last.most * 1000) / last.lengthMs;
}
