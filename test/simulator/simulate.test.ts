import { describe, expect, it } from 'vitest';
import { describePlan, formatLine, type RuleSwitch, shrink, simulate, storyOf } from '../../src/simulator/index.ts';
import { operationKinds } from '../../src/simulator/operations.ts';

/** Against hangs alone; each takes seconds on an idle machine. */
const TIMEOUT_MS = 10 * 60_000;
/** Takeovers until a rule that is switched off has to be found broken. */
const FOUND_WITHIN = 4_000;
/** Which rules of docs/safety.md may break without one of the replica's. */
const breaks: Readonly<Record<RuleSwitch, readonly string[]>> = {
  skip: ['S1'],
  grants: ['S1'],
  ceiling: ['S1'],
  strict: ['S2'],
  terms: ['S4'],
  // A stale handle can also give one SA the numbers of another.
  generations: ['S3', 'S7', 'recovery'],
  parked: ['S1'],
  durable: ['S4'],
  complete: ['S5'],
  monotonic: ['S3'],
  drain: ['S1'],
  votes: ['S1'],
};

/** What a failed test shows: enough to see it again. */
function told({ totals, failure }: ReturnType<typeof simulate>): string {
  if (failure === undefined) return '';
  const { plan } = shrink(failure.plan, failure.violation);
  return [`seed ${totals.seed}`, ...describePlan(plan), ...storyOf(plan).map(formatLine)].join('\n');
}

describe('simulate', () => {
  /** A fresh seed each time. A failure shows it: XFRMSYNC_SEED repeats it. */
  it(
    'no safety rule breaks',
    () => {
      const seed = Number(process.env.XFRMSYNC_SEED ?? Math.floor(Math.random() * 2 ** 32));
      const takeovers = Number(process.env.XFRMSYNC_TAKEOVERS ?? 300);
      const result = simulate({ seed, takeovers });
      expect(told(result)).toBe('');
      expect(result.totals.takeovers).toBeGreaterThanOrEqual(takeovers);
      expect(result.totals.packets).toBeGreaterThan(takeovers);
    },
    TIMEOUT_MS,
  );

  it.each(['strict', 'window'] as const)('inbound = %s', (inbound) => {
    expect(told(simulate({ seed: 7, takeovers: 60, inbound }))).toBe('');
  });

  it('the same seed is the same story', () => {
    const options = { seed: 11, takeovers: 20, without: 'parked' } as const;
    const [one, other] = [simulate(options), simulate(options)];
    expect(one.totals).toEqual(other.totals);
    expect(told(one)).not.toBe('');
    expect(told(one)).toBe(told(other));
    expect(simulate({ ...options, seed: 12 }).totals).not.toEqual(one.totals);
  });

  it(
    'every operation there is befalls a cluster, and some die in the middle of everything',
    () => {
      const { totals } = simulate({ seed: 5, takeovers: 500 });
      // Both nodes are promoted at once only where nobody is fenced: rare.
      const wanted = operationKinds.filter((kind) => kind !== 'promoteBoth');
      expect(wanted.filter((kind) => totals.faults[kind] === undefined)).toEqual([]);
      const deaths = Object.keys(totals.faults).filter((kind) => kind.includes('crash: '));
      for (const phase of ['takingOver', 'handingOver', 'awaitingHandover'])
        expect(deaths.some((kind) => kind.includes(phase))).toBe(true);
    },
    TIMEOUT_MS,
  );
});

describe('a rule that is switched off is found broken', () => {
  it.each(Object.keys(breaks) as RuleSwitch[])(
    'without %s',
    (without) => {
      const { failure } = simulate({ seed: 3, takeovers: FOUND_WITHIN, without });
      expect(breaks[without]).toContain(failure?.violation.rule);
    },
    TIMEOUT_MS,
  );
});

describe('shrink', () => {
  it('leaves what breaks the rule, and ends with it', () => {
    const { failure } = simulate({ seed: 3, takeovers: FOUND_WITHIN, without: 'strict' });
    if (failure === undefined) throw new Error('nothing to make shorter');
    const { plan, violation } = shrink(failure.plan, failure.violation);
    expect(plan.operations.length).toBeLessThan(failure.plan.operations.length);
    expect(plan.sas.length - plan.leftOut.length).toBe(1);
    const lines = storyOf(plan);
    expect(lines.at(-1)).toEqual({ atMs: violation.atMs, who: '', what: `S2 is broken: ${violation.text}` });
    expect(formatLine({ atMs: 12.5, who: 'a', what: 'promote' })).toBe('     12.50  a  promote');
  });
});
