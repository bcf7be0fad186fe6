import type { Aevent, Request, Result, SaId } from '../client/index.ts';
import type { Reading, Replica, Thresholds } from '../replica/index.ts';
import type { Config } from './config-schema.ts';

/** What a node needs of its kernel, whichever interface brings it. `openKernelInterface` chooses one; nothing else knows which it is. */
export interface KernelInterface {
  /** For log and status. */
  readonly name: Config['kernel']['via'];
  /** Starts to hand over events; until then they wait. */
  receive(): void;
  /** Hands over, before it returns, the events that wait. */
  drain(): void;
  /** Carries out many requests, in order. Results in that order; a failure is a result, not an exception. */
  batch(requests: readonly Request[]): Promise<Result[]>;
  /** All SAs, and all policies if they are wanted. @throws ClientError */
  read(policies: boolean): Promise<Reading>;
  /** Undefined if there is no such SA. @throws ClientError */
  readThresholds(id: SaId): Promise<Thresholds | undefined>;
  close(): void;
}

/** Where what an interface hears goes. */
export interface KernelEvents {
  /** Something has happened: `tell` is called at once, and says what to the replica. */
  readonly happened: (tell: (replica: Replica, nowMs: number) => void) => void;
  /** For the log: nothing that ends the interface. */
  readonly trouble: (text: string) => void;
  /** It cannot go on. */
  readonly failed: (error: Error) => void;
}

/** XFRMA_ETIMER_THRESH is read in units of this. */
const TIMER_UNIT_MS = 100;

/** The thresholds in an answer to GETAE; undefined if it does not have both. */
export function thresholdsOf({ attributes }: Pick<Aevent, 'attributes'>): Thresholds | undefined {
  const { replayThresh, etimerThresh } = attributes;
  if (replayThresh === undefined || etimerThresh === undefined) return undefined;
  return { packets: replayThresh, timerMs: etimerThresh * TIMER_UNIT_MS };
}
