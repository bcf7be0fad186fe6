/** What the flows say of the phases of a demo, and of the two changes of roles. Pure functions. */

import type { Direction } from './connections.ts';
import { outageMs, type Times } from './flow-report.ts';
import type { Flow } from './flows.ts';
import { type Phase, type Silence, sum } from './result.ts';

/** A phase begins where the one before it ends. */
export interface Begin {
  readonly name: string;
  readonly atMs: number;
}

/** Packets of [fromMs, toMs) by when they were sent: how many, and how many of them never arrived. */
export function countBetween(flows: readonly Times[], fromMs: number, toMs: number): { sent: number; lost: number } {
  const count = { sent: 0, lost: 0 };
  for (const { sentAtMs, receivedAtMs } of flows) {
    sentAtMs.forEach((ms, number) => {
      if (ms < fromMs || ms >= toMs) return;
      count.sent += 1;
      if (receivedAtMs[number] === undefined) count.lost += 1;
    });
  }
  return count;
}

export function phasesOf(flows: readonly Times[], begins: readonly Begin[], endMs: number): Phase[] {
  return begins.map(({ name, atMs }, i): Phase => {
    const toMs = begins[i + 1]?.atMs ?? endMs;
    const { sent, lost } = countBetween(flows, atMs, toMs);
    return { name, seconds: tenths((toMs - atMs) / 1000), packetsSent: sent, packetsLost: lost };
  });
}

/** How long the hosts heard nothing around `atMs`: of all flows of a direction together, and of single ones. */
export function silence(flows: readonly Flow[], atMs: number, toMs: number): Silence {
  const of = (direction: Direction): number => {
    const receivedAtMs = flows.filter((flow) => flow.direction === direction).flatMap((flow) => flow.receivedAtMs);
    return outageMs({ receivedAtMs }, atMs, toMs);
  };
  const [outageOutMs, outageInMs] = [of('out'), of('in')];
  const each = flows.map((flow) => outageMs(flow, atMs, toMs)).sort((a, b) => a - b);
  const flowSilenceMs = { median: each[each.length >> 1] ?? 0, max: each.at(-1) ?? 0 };
  return { outageMs: Math.max(outageOutMs, outageInMs), outageOutMs, outageInMs, flowSilenceMs };
}

/** Of what a standby's status said of an SA, and of what the attacker saw. */
export interface KnownSa {
  readonly spi: string;
  readonly oseq: number;
  readonly thresholdPackets: number;
  readonly peakPps: number;
}

/** How far the dead gateway's outbound numbers were ahead of what the standby knew. */
export function unseen(
  known: readonly KnownSa[],
  sent: ReadonlyMap<number, number>,
  unseenMs: number,
): { packetsPerSaBound: number; sas: number; packets: number; packetsPerSaMax: number } {
  const ahead: number[] = [];
  let bound = 0;
  for (const { spi, oseq, thresholdPackets, peakPps } of known) {
    bound = Math.max(bound, Math.max(0, thresholdPackets - 1) + Math.ceil((peakPps * unseenMs) / 1000));
    const last = sent.get(Number(spi));
    if (last !== undefined && last > oseq) ahead.push(last - oseq);
  }
  return { packetsPerSaBound: bound, sas: ahead.length, packets: sum(ahead), packetsPerSaMax: Math.max(0, ...ahead) };
}

export const tenths = (value: number): number => Math.round(value * 10) / 10;
