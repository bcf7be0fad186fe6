import { expect, test } from 'vitest';
import { xfrmsync } from './run.ts';

test('simulate: the last line is the result, the same for the same seed', async () => {
  const args = ['simulate', '--seed', '42', '--takeovers', '10', '--json'];
  const [one, other] = [await xfrmsync(args), await xfrmsync(args)];
  // On a busy machine the run takes long enough to tell how far it is.
  const unexpected = one.stderr.split('\n').filter((line) => !/^(\d+ of 10 takeovers, .*)?$/.test(line));
  expect({ code: one.code, unexpected }).toEqual({ code: 0, unexpected: [] });
  expect(one.stdout).toBe(other.stdout);
  const result = JSON.parse(one.stdout.trimEnd().split('\n').at(-1) ?? '');
  expect(result).toMatchObject({ seed: 42, violations: 0 });
  for (const name of ['takeovers', 'steps', 'packets', 'lossBound', 'packetsLost', 'clusters', 'virtualMs'])
    expect(result[name], name).toEqual(expect.any(Number));
  expect(result.takeovers).toBeGreaterThanOrEqual(10);
  expect(Object.values(result.faults)).toContainEqual(expect.any(Number));
});

test('simulate: a broken rule is told as a story, and exit code 1', async () => {
  const { code, stdout, stderr } = await xfrmsync(['simulate', '--seed', '1', '--without', 'parked']);
  expect(code).toBe(1);
  expect(stderr).toMatch(/^xfrmsync: S1 is broken: /m);
  expect(stdout).toMatch(/^ +[\d.]+ {5}S1 is broken: /m);
  expect(stdout).toContain('1 violations');
});

test.each([
  [['--seed', '-1'], /whole number/],
  [['--takeovers', '0'], /whole number/],
  [['--without', 'hope'], /Allowed choices/],
  [['--strict', '--window'], /cannot be used with/],
])('simulate %j is wrong usage', async (args, why) => {
  const { code, stderr } = await xfrmsync(['simulate', ...args]);
  expect(code).toBe(2);
  expect(stderr).toMatch(why);
});
