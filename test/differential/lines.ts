import type { Scenario } from '../../src/conformance/scenario.ts';

/** What the guest tells the host, line by line: which sequence it starts, what it has found; all other lines are for people. */

export interface Finding {
  readonly index: number;
  readonly detail: string;
  readonly scenario: Scenario;
}

const START = 'sequence ';
const FINDING = 'finding ';

export const startLine = (index: number): string => `${START}${index}`;
export const findingLine = (finding: Finding): string => `${FINDING}${JSON.stringify(finding)}`;

export type Line =
  | { readonly kind: 'start'; readonly index: number }
  | { readonly kind: 'finding'; readonly finding: Finding }
  | { readonly kind: 'text'; readonly text: string };

export function parseLine(line: string): Line {
  if (line.startsWith(START)) return { kind: 'start', index: Number(line.slice(START.length)) };
  if (line.startsWith(FINDING)) {
    return { kind: 'finding', finding: JSON.parse(line.slice(FINDING.length)) as Finding };
  }
  return { kind: 'text', text: line };
}
