/** What a recording of the outside LAN proves. Pure functions over what the attacker has seen. */

/** Where a frame came into the bridge. */
export type Port = 'peer' | 'gwa' | 'gwb';

export interface Seen {
  atMs: number;
  port: Port;
  /** Outer addresses as hex. */
  source: string;
  destination: string;
  spi: number;
  seq: number;
}

export interface Reuse {
  destination: string;
  spi: number;
  seq: number;
  /** Who sent it first, who again. */
  ports: readonly [Port, Port];
}

/**
 * Numbers that gateways sent more than once on the same SA. A frame that a gateway merely passes on (the peer's ESP after it gave the shared
 * address up) is not its own: only frames whose outer source is the gateways' count. Sequence numbers must not wrap within the recording.
 */
export function reusedNumbers(seen: readonly Seen[], gatewayAddresses: ReadonlySet<string>): Reuse[] {
  const first = new Map<string, Port>();
  const reused: Reuse[] = [];
  for (const frame of seen) {
    if (!gatewayAddresses.has(frame.source)) continue;
    const key = `${frame.destination}/${frame.spi}/${frame.seq}`;
    const port = first.get(key);
    if (port === undefined) first.set(key, frame.port);
    else reused.push({ destination: frame.destination, spi: frame.spi, seq: frame.seq, ports: [port, frame.port] });
  }
  return reused;
}

/**
 * Outbound numbers that no gateway used, between the last that `from` ever sent and the first of `to` since `sinceMs`; negative if numbers
 * were used again, undefined if either sent nothing on that SPI.
 */
export function skippedAt(
  seen: readonly Seen[],
  spi: number,
  from: Port,
  to: Port,
  sinceMs: number,
): number | undefined {
  let last: number | undefined;
  let next: number | undefined;
  for (const frame of seen) {
    if (frame.spi !== spi) continue;
    if (frame.port === from) last = Math.max(last ?? 0, frame.seq);
    if (frame.port === to && frame.atMs >= sinceMs) next = Math.min(next ?? frame.seq, frame.seq);
  }
  return last === undefined || next === undefined ? undefined : next - last - 1;
}

/**
 * The `count` newest frames of each SPI, newest first and one of each SPI in turn: the order in which a replay has the best chance
 * right after a takeover, before a new packet has moved a window.
 */
export function newestFirst<T extends { spi: number }>(frames: readonly T[], count: number): T[] {
  const bySpi = new Map<number, T[]>();
  for (const frame of frames) {
    const list = bySpi.get(frame.spi);
    if (list === undefined) bySpi.set(frame.spi, [frame]);
    else list.push(frame);
  }
  const ordered: T[] = [];
  for (let back = 1; back <= count; back++) {
    for (const list of bySpi.values()) {
      const frame = list[list.length - back];
      if (frame !== undefined) ordered.push(frame);
    }
  }
  return ordered;
}
