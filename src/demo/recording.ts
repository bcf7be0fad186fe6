/** What a recording of the outside network proves. Pure functions over what the attacker has seen; the lab's drill uses them too. */

/** Who sent a frame, by the port or the link that it came in through. */
export type Port = 'peer' | 'gwa' | 'gwb';

export interface Seen {
  readonly atMs: number;
  readonly port: Port;
  /** The outer destination, where one SPI can belong to several. */
  readonly destination?: string;
  readonly spi: number;
  readonly seq: number;
}

export interface Reuse {
  readonly spi: number;
  readonly seq: number;
  /** Who sent it first, who again. */
  readonly ports: readonly [Port, Port];
}

/**
 * Numbers that were sent more than once on the same SA. `counts` says which frames are to be looked at: one that a gateway merely passes on is
 * not its own. `copies` says whether two frames are the same one twice, which the network may do. Sequence numbers must not wrap within the
 * recording.
 */
export function reusedNumbers<T extends Seen>(
  seen: readonly T[],
  counts: (frame: T) => boolean,
  copies: (one: T, other: T) => boolean = () => false,
): Reuse[] {
  const first = new Map<string, T>();
  const reused: Reuse[] = [];
  for (const frame of seen) {
    if (!counts(frame)) continue;
    const { destination = '', spi, seq, port } = frame;
    const key = `${destination}/${spi}/${seq}`;
    const before = first.get(key);
    if (before === undefined) first.set(key, frame);
    else if (!copies(before, frame)) reused.push({ spi, seq, ports: [before.port, port] });
  }
  return reused;
}

/**
 * For each SPI, outbound numbers that no gateway used: between the last that `from` ever sent and the first of `to` since `sinceMs`; negative
 * if numbers were used again. SPIs on which either sent nothing are left out.
 */
export function skips(seen: readonly Seen[], from: Port, to: Port, sinceMs: number): Map<number, number> {
  const last = new Map<number, number>();
  const next = new Map<number, number>();
  for (const { port, spi, seq, atMs } of seen) {
    if (port === from) last.set(spi, Math.max(last.get(spi) ?? 0, seq));
    else if (port === to && atMs >= sinceMs) next.set(spi, Math.min(next.get(spi) ?? seq, seq));
  }
  const skipped = new Map<number, number>();
  for (const [spi, seq] of next) {
    const before = last.get(spi);
    if (before !== undefined) skipped.set(spi, seq - before - 1);
  }
  return skipped;
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
