/** What the counts of the hosts say about one failover. Pure functions; the lab's drill uses them too. */

/** One flow as the two hosts at its ends saw it; the number of a packet is its index. */
export interface Times {
  readonly sentAtMs: readonly number[];
  /** When each packet arrived first; undefined: not (yet). */
  readonly receivedAtMs: readonly (number | undefined)[];
}

export interface Loss {
  before: number;
  /** Sent from the failover on until the first packet sent after it got through. */
  during: number;
  after: number;
}

/** Packets sent in [fromMs, toMs) that never arrived, split at the failover. */
export function lossAround(flow: Times, fromMs: number, failoverMs: number, toMs: number): Loss {
  const loss: Loss = { before: 0, during: 0, after: 0 };
  let through = false;
  flow.sentAtMs.forEach((sentMs, number) => {
    if (sentMs < fromMs || sentMs >= toMs) return;
    const arrived = flow.receivedAtMs[number] !== undefined;
    if (sentMs < failoverMs) {
      if (!arrived) loss.before += 1;
    } else if (arrived) through = true;
    else if (through) loss.after += 1;
    else loss.during += 1;
  });
  return loss;
}

export function sentBetween(flow: Times, fromMs: number, toMs: number): number {
  return flow.sentAtMs.reduce((count, ms) => count + (ms >= fromMs && ms < toMs ? 1 : 0), 0);
}

export function receivedBetween(flow: Times, fromMs: number, toMs: number): number {
  return flow.receivedAtMs.reduce<number>(
    (count, ms) => count + (ms !== undefined && ms >= fromMs && ms < toMs ? 1 : 0),
    0,
  );
}

/** The longest time without an arrival that touches [failoverMs, toMs): the outage, plus at most the flow's own interval. */
export function outageMs(flow: Pick<Times, 'receivedAtMs'>, failoverMs: number, toMs: number): number {
  const arrivals = flow.receivedAtMs.filter((ms): ms is number => ms !== undefined && ms < toMs).sort((a, b) => a - b);
  let longest = 0;
  let previous = arrivals[0] ?? failoverMs;
  for (const ms of [...arrivals, toMs]) {
    if (ms >= failoverMs) longest = Math.max(longest, ms - previous);
    previous = ms;
  }
  return Math.round(longest);
}
