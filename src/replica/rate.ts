import type { Rate } from './sa.ts';

/** Rates are taken over at least this long: shorter spans make a burst of two packets look like a line rate. */
const SPAN_MS = 100;
/** After this long without its like a peak counts half. */
const HALF_LIFE_MS = 30_000;

/** Takes note that the SA had carried `packets` at `nowMs`. */
export function noteRate(rate: Rate, packets: number, nowMs: number): void {
  const span = nowMs - rate.sinceMs;
  if (span < SPAN_MS) return;
  const pps = (Math.max(0, packets - rate.sincePackets) * 1000) / span;
  rate.peakPps = Math.max(pps, rate.peakPps * 0.5 ** (span / HALF_LIFE_MS));
  rate.sinceMs = nowMs;
  rate.sincePackets = packets;
}
