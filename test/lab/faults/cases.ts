/** The fault cases, in an order in which one leaves what the next begins with. */
import type { Settings } from '../daemons.ts';
import type { Course } from './books.ts';
import { daemonCrash } from './crash.ts';
import { comeBack, death, standbyRestart } from './death.ts';
import type { Begins, Ground } from './ground.ts';
import { OVERRUN_SETTINGS, overrun } from './overrun.ts';
import { PARTITION_SETTINGS, partition } from './partition.ts';
import { switchovers } from './switchovers.ts';

export interface FaultCase {
  readonly name: string;
  readonly about: string;
  readonly begins: Begins;
  /** Of both daemons, beside what `xfrmsync init` writes. */
  readonly settings: Settings;
  readonly run: (ground: Ground) => Promise<Course>;
}

const DEFAULTS: Settings = {};
/** No link is lost because the machine is busy; that of a dead daemon is closed, and noticed at once. */
const PATIENT: Settings = { link: { timeout_ms: 10_000 } };

export const FAULT_CASES: readonly FaultCase[] = [
  {
    name: 'switchovers',
    about: 'back and forth under load',
    begins: 'pair',
    settings: PATIENT,
    run: switchovers,
  },
  {
    name: 'daemon-crash',
    about: 'SIGKILL of the daemon alone, on the active and then on the standby',
    begins: 'pair',
    settings: PATIENT,
    run: daemonCrash,
  },
  {
    name: 'standby-restart',
    about: 'the standby dies and boots with an empty kernel',
    begins: 'pair',
    settings: DEFAULTS,
    run: standbyRestart,
  },
  {
    name: 'death',
    about: 'the active dies, the standby takes over',
    begins: 'pair',
    settings: DEFAULTS,
    run: death,
  },
  {
    name: 'return',
    about: 'the dead one boots empty, is filled, and takes its place again',
    begins: 'alone',
    settings: DEFAULTS,
    run: comeBack,
  },
  {
    name: 'partition',
    about: 'the link is lost, both are alive, nobody is fenced; mode safe',
    begins: 'pair',
    settings: PARTITION_SETTINGS,
    run: partition,
  },
  {
    name: 'overrun',
    about: 'events are lost (ENOBUFS), and the active dies right after the account is whole again',
    begins: 'pair',
    settings: OVERRUN_SETTINGS,
    run: overrun,
  },
];
