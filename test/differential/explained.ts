import type { Scenario } from '../../src/conformance/scenario.ts';

/** Differences that are understood and left. Each is listed in docs/emulated-kernel.md too. */

interface Explained {
  readonly name: string;
  readonly reason: string;
  readonly applies: (recorded: Scenario, detail: string) => boolean;
}

export const explained: readonly Explained[] = [];

/** The name of the explained difference that this one is. */
export const explanationOf = (recorded: Scenario, detail: string): string | undefined =>
  explained.find(({ applies }) => applies(recorded, detail))?.name;
