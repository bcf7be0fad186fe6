import type { Scenario } from '../../src/conformance/scenario.ts';
import { NlmF } from '../../src/netlink/index.ts';
import { XfrmMsg } from '../../src/xfrm/index.ts';
import { randomOf } from '../fuzz/random.ts';
import { hexOf, request, words } from './bytes.ts';
import {
  ASKER,
  type Draft,
  eventsOf,
  type KernelProfile,
  LISTENER,
  newDraft,
  openSockets,
  quietTimers,
  requestStep,
  send,
  sideStep,
} from './draft.ts';
import { weighted } from './pool.ts';
import { choiceStory, directedSa, migrateStory } from './stories.ts';
import { timerSteps, trafficSteps } from './traffic.ts';

/** Sequences of requests and packets, each made from a seed and an index alone. */

type Kind = 'requests' | 'traffic' | 'timers';

export interface GenerateOptions {
  /** Without sequences that wait for timers: a run of them takes seconds on a real kernel. */
  readonly timers: boolean;
}

export function generate(
  seed: number,
  index: number,
  profile: KernelProfile,
  { timers }: GenerateOptions = { timers: true },
): Scenario {
  const random = randomOf(seed, index);
  // Packets take a real kernel much longer than requests.
  const kind = weighted<Kind>(random, [
    [900, 'requests'],
    [95, 'traffic'],
    [5, 'timers'],
  ]);
  const draft = newDraft(random, profile);
  openSockets(draft);
  const wanted = kind === 'timers' && !timers ? 'requests' : kind;
  if (wanted === 'requests') requestSteps(draft);
  else if (wanted === 'traffic') trafficSteps(draft);
  else timerSteps(draft);
  eventsOf(draft, LISTENER);
  lookAround(draft);
  return {
    name: `differential-${seed}-${index}`,
    category: 'differential',
    note: `${wanted}, seed ${seed}, sequence ${index}`,
    kernel: profile.kernel,
    hz: profile.hz,
    pad64: profile.pad64,
    topology: wanted === 'requests' ? 'single' : 'pair',
    steps: draft.steps,
  };
}

function requestSteps(draft: Draft): void {
  const { random, steps } = draft;
  quietTimers(draft);
  const end = steps.length + 20 + random.below(40);
  while (steps.length < end) {
    const step = weighted(random, [
      [8, () => sideStep(draft)],
      [6, () => send(draft, directedSa(draft))],
      [2, () => migrateStory(draft)],
      [1, () => choiceStory(draft)],
      [84, () => requestStep(draft)],
    ]);
    step();
  }
}

/** At the end: all that there is. */
function lookAround(draft: Draft): void {
  const ask = (type: number, flags: number, body: Uint8Array): Uint8Array =>
    request({ type, flags: NlmF.REQUEST | flags, seq: draft.seq(), pid: 0 }, body);
  draft.steps.push(
    { op: 'send', t: 0, sock: ASKER, hex: hexOf(ask(XfrmMsg.GETSA, NlmF.DUMP, new Uint8Array(0))) },
    { op: 'send', t: 0, sock: ASKER, hex: hexOf(ask(XfrmMsg.GETPOLICY, NlmF.DUMP, new Uint8Array(0))) },
    { op: 'send', t: 0, sock: ASKER, hex: hexOf(ask(XfrmMsg.GETSADINFO, 0, words(0))) },
    { op: 'send', t: 0, sock: ASKER, hex: hexOf(ask(XfrmMsg.GETSPDINFO, 0, words(0))) },
  );
}
