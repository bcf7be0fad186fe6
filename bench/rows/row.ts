import type { Log } from '../measure.ts';
import type { Aim, Measurement, Result } from '../report.ts';

/** One row of the bench: runs in a process of its own. */
export interface Row {
  name: string;
  aims: readonly (Aim | Measurement)[];
  /** Runs in a fresh network namespace with CAP_NET_ADMIN. */
  needsNamespace: boolean;
  run(log: Log): Promise<Result[]>;
}
