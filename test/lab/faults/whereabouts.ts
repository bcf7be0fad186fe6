/** Where packets of peers were lost, by the recording of the outside network. Pure functions. */
import type { Port } from '../../../src/demo/recording.ts';

/** A frame in the recording, which is in the order in which frames came into the bridge. */
export interface Passed {
  readonly port: Port;
  readonly spi: number;
  readonly seq: number;
  /** Ethernet, from the destination on. */
  readonly frame: Buffer;
}

/** An inbound SA: its SPI, its replay window, and the numbers that no application got. */
export interface Missing {
  readonly spi: number;
  readonly window: number;
  readonly numbers: ReadonlySet<number>;
}

export interface Whereabouts {
  /** The peer's kernel never sent them. */
  neverSent: number;
  /** Led to a gateway, and neither accepted nor passed on: by gateway. */
  readonly cameTo: Record<string, number>;
  /** Of the latter, those that came so late, behind numbers that came to the same gateway before, that any window had to refuse them. */
  overtaken: number;
}

const MAC_BYTES = 6;

export function whereabouts(
  recording: readonly Passed[],
  macs: Readonly<Record<string, string>>,
  missing: readonly Missing[],
): Whereabouts {
  const names = new Map(Object.entries(macs).map(([name, mac]) => [mac.replaceAll(':', ''), name]));
  const bySpi = new Map(missing.map((sa) => [sa.spi, sa]));
  // By SPI and gateway, the highest number that was led there; by SPI and number, what became of a missing one at last.
  const highest = new Map<string, number>();
  const last = new Map<string, { gateway: string; overtaken: boolean }>();
  for (const { spi, seq, frame } of recording) {
    const sa = bySpi.get(spi);
    if (sa === undefined) continue;
    const gateway = names.get(frame.toString('hex', 0, MAC_BYTES)) ?? 'all';
    const key = `${spi}/${gateway}`;
    const top = highest.get(key) ?? 0;
    if (sa.numbers.has(seq)) last.set(`${spi}/${seq}`, { gateway, overtaken: seq + sa.window <= top });
    highest.set(key, Math.max(top, seq));
  }
  const found: Whereabouts = { neverSent: 0, cameTo: {}, overtaken: 0 };
  for (const { spi, numbers } of missing)
    for (const seq of numbers) {
      const end = last.get(`${spi}/${seq}`);
      if (end === undefined) found.neverSent += 1;
      else found.cameTo[end.gateway] = (found.cameTo[end.gateway] ?? 0) + 1;
      if (end?.overtaken) found.overtaken += 1;
    }
  return found;
}

export function whereText({ neverSent, cameTo, overtaken }: Whereabouts): string {
  const words = Object.entries(cameTo).map(([name, packets]) => `${packets} came last to ${name}`);
  if (overtaken > 0) words.push(`${overtaken} of them overtaken by more than a window`);
  if (neverSent > 0) words.push(`${neverSent} never came out of the peer`);
  return words.join(', ');
}

/** By how much at most a frame that was led to a gateway was behind the highest number that had come there before it, on any of these SAs. */
export function furthestBehind(
  recording: readonly Passed[],
  macs: Readonly<Record<string, string>>,
  spis: ReadonlySet<number>,
): number {
  const names = new Set(Object.values(macs).map((mac) => mac.replaceAll(':', '')));
  const highest = new Map<string, number>();
  let furthest = 0;
  for (const { spi, seq, frame } of recording) {
    const mac = frame.toString('hex', 0, MAC_BYTES);
    if (!spis.has(spi) || !names.has(mac)) continue;
    const top = highest.get(`${spi}/${mac}`) ?? 0;
    furthest = Math.max(furthest, top - seq);
    highest.set(`${spi}/${mac}`, Math.max(top, seq));
  }
  return furthest;
}
