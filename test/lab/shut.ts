/** Flows that a closed inbound window keeps out. */
import type { Stage } from './stage.ts';
import type { Flow } from './traffic.ts';

/**
 * With `strict` a window starts above all that the old gateway can have accepted. What it can have accepted follows from the flow's peak
 * rate, so a slow flow with bursts may stay shut out for longer than a drill waits. Such flows are then sent on faster, this much at a time
 * and at most.
 */
const PUSH = { datagrams: 20, everyMs: 50, datagramsMax: 10_000 } as const;

/** Sends on inbound flows on which nothing sent since `sinceMs` has got through, until something does. Returns them. */
export async function pushShut(
  stage: Stage,
  sinceMs: number,
  counts: (flow: Flow) => boolean = () => true,
): Promise<Flow[]> {
  const shut = () =>
    stage.traffic.flows.filter((flow) => flow.direction === 'in' && flow.newestSentMs < sinceMs && counts(flow));
  const first = shut();
  if (first.length > 0) stage.say(`${first.length} inbound windows are still closed: sending past them`);
  for (let sent = 0; sent < PUSH.datagramsMax && shut().length > 0; sent += PUSH.datagrams) {
    stage.traffic.push(shut(), PUSH.datagrams);
    await stage.pass(PUSH.everyMs);
  }
  return first;
}
