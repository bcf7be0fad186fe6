/** What the kernels of the lab's machines have counted as lost, so that a loss can be traced to its place. */
import { readProcNet } from '../libc.ts';
import { parseXfrmStat, statGrowth, type XfrmStat } from '../state-text.ts';

const PLACES = ['peer', 'gwa', 'gwb', 'inside'] as const;
/** Of `/proc/net/snmp` and `snmp6`: packets that were given up. Others count what is no loss. */
const GIVEN_UP =
  /^(Ip6?)(InHdrErrors|InAddrErrors|InDiscards|InNoRoutes|OutNoRoutes|OutDiscards|ReasmFails|InUnknownProtos)$/;

export type Counted = Readonly<Record<string, XfrmStat>>;

/** `Ip: Forwarding InHdrErrors ...` above `Ip: 1 238 ...`. */
export function parseSnmp(text: string): Record<string, number> {
  const counts: Record<string, number> = {};
  const lines = text.split('\n');
  for (const [i, line] of lines.entries()) {
    const [group, ...names] = line.split(' ');
    const [again, ...values] = (lines[i + 1] ?? '').split(' ');
    if (group !== again || !Number.isNaN(Number(names[0]))) continue;
    for (const [n, name] of names.entries()) counts[`${group?.slice(0, -1)}${name}`] = Number(values[n]);
  }
  return counts;
}

/** Frames that no processor took from its backlog in time: the second column of each line, in hexadecimal. */
export function parseSoftnet(text: string): number {
  return text
    .trim()
    .split('\n')
    .reduce((sum, line) => sum + Number.parseInt(line.split(/\s+/)[1] ?? '0', 16), 0);
}

export function readCounted(): Counted {
  const places = PLACES.map((place) => {
    const all = {
      ...parseXfrmStat(readProcNet(place, 'xfrm_stat')),
      ...parseSnmp(readProcNet(place, 'snmp')),
      ...parseXfrmStat(readProcNet(place, 'snmp6')),
    };
    const wanted = Object.entries(all).filter(([name]) => name.startsWith('Xfrm') || GIVEN_UP.test(name));
    return [place, Object.fromEntries(wanted)] as const;
  });
  const softnet = { dropped: parseSoftnet(readProcNet('wire', 'softnet_stat')) };
  return Object.fromEntries([...places, ['backlog', softnet] as const]);
}

/** `gwa XfrmInStateSeqError 14, gwb IpInHdrErrors 238`; empty if nothing moved. */
export function countedText(before: Counted, after: Counted): string {
  return Object.entries(after)
    .flatMap(([place, counts]) =>
      Object.entries(statGrowth(before[place] ?? {}, counts)).map(([name, growth]) => `${place} ${name} ${growth}`),
    )
    .join(', ');
}
