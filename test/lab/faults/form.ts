import { CASES, type Case } from '../sas.ts';

/** How much is run: SAs, traffic, repetitions. The cases are the same. */
export interface Form {
  readonly connections: readonly Case[];
  /** Of each flow; two flows a connection. */
  readonly ratePps: number;
  /** Datagrams of a burst, on one flow after the other. Every flow has had one before a fault. */
  readonly burst: number;
  readonly burstEveryMs: number;
  /** Of traffic before and after a fault. */
  readonly seconds: number;
  readonly switchovers: number;
  /** Datagrams that every flow sends at once to overrun the daemon. */
  readonly overrunBurst: number;
}

/** What an emulated machine carries beside two daemons. */
const LOAD = { burst: 8, burstEveryMs: 400 } as const;

export const FULL: Form = { connections: CASES, ratePps: 10, ...LOAD, seconds: 5, switchovers: 20, overrunBurst: 60 };

/** Of the matrix both modes, families, ciphers and kinds of window, and all that is special. */
const FEW: readonly Case[] = CASES.filter(
  ({ mode, family, cipher, esn, encap, mark }) =>
    encap || mark || ((mode === 'tunnel') === (cipher === 'gcm') && (family === 4) === esn),
);

export const SHORT: Form = { connections: FEW, ratePps: 20, ...LOAD, seconds: 1.5, switchovers: 3, overrunBurst: 60 };
