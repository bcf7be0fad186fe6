/** Fault cases one after the other, inside the guest. */
import { release } from 'node:os';
import { Books } from './books.ts';
import type { FaultCase } from './cases.ts';
import type { Form } from './form.ts';
import { Ground } from './ground.ts';
import type { FaultResult, FaultsResult } from './results.ts';

export interface RunOptions {
  /** The CLI's JavaScript file. */
  program: string;
  form: Form;
  cases: readonly FaultCase[];
  progress: (text: string) => void;
}

export async function runFaults({ program, form, cases, progress }: RunOptions): Promise<FaultsResult> {
  const ground = new Ground({ program, form, progress });
  const results: FaultResult[] = [];
  try {
    for (const one of cases) results.push(await runOne(ground, one));
  } finally {
    await ground.stage.end();
  }
  return {
    ok: results.every(({ ok }) => ok),
    kernel: release(),
    seconds: Math.round((performance.now() - ground.stage.startMs) / 1000),
    cases: results,
  };
}

async function runOne(ground: Ground, { name, about, begins, settings, run }: FaultCase): Promise<FaultResult> {
  const { stage } = ground;
  stage.say(`--- ${name}: ${about}`);
  try {
    await ground.prepare(begins, settings);
    const books = await Books.open(ground, name);
    const result = await books.close(await run(ground));
    stage.say(`--- ${name}: ${result.ok ? 'held' : 'BROKEN'}, ${result.seconds} s`);
    if (!result.ok) stage.lastWords();
    return result;
  } catch (error) {
    // The other cases can still be run, from a new beginning.
    ground.abandon();
    const { message } = error as Error;
    stage.say(`--- ${name}: BROKEN: ${message}`);
    stage.lastWords();
    return { ...NOTHING, name, error: message };
  }
}

const NOTHING: Omit<FaultResult, 'name'> = {
  ok: false,
  sas: 0,
  packetsSent: 0,
  packetsLost: 0,
  bound: null,
  replaysTried: 0,
  replaysAccepted: 0,
  outboundNumbersReused: 0,
  spisKept: 0,
  failovers: [],
  silenceMs: { median: 0, max: 0, intervalMs: 0 },
  facts: {},
  framesRecorded: 0,
  seconds: 0,
  replays: [],
  expectations: [],
};
