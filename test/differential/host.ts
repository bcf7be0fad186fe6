import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type LabKernel, type RunResult, runInLab } from '../lab/lab.ts';
import { type Finding, parseLine } from './lines.ts';

/** The host's part: runs main.js on a kernel of the lab, and keeps what it finds. */

export interface HostOptions {
  readonly kernel: LabKernel;
  /** For main.js. */
  readonly args: readonly string[];
  readonly timeoutMs: number;
  readonly onText?: (text: string) => void;
  readonly onFinding?: (finding: Finding) => void;
}

export interface HostResult extends RunResult {
  readonly findings: Finding[];
  /** The sequence that was under way at the end: of a guest that died, what it died of. */
  readonly last: number | undefined;
  /** The last line for people. */
  readonly summary: string | undefined;
}

/** Runs from source and compiled alike: the guest needs the compiled form, from `npm run build:tools`. */
const program = (): string =>
  fileURLToPath(
    new URL('../../build/test/differential/main.js', import.meta.url).href.replace('/build/build/', '/build/'),
  );

export async function runOnKernel({ kernel, args, timeoutMs, onText, onFinding }: HostOptions): Promise<HostResult> {
  const findings: Finding[] = [];
  let last: number | undefined;
  let summary: string | undefined;
  const result = await runInLab(kernel, [process.execPath, program(), ...args], {
    timeoutMs,
    onLine(text, stream) {
      if (stream === 'stderr') return onText?.(text);
      const line = parseLine(text);
      if (line.kind === 'start') last = line.index;
      else if (line.kind === 'finding') {
        findings.push(line.finding);
        onFinding?.(line.finding);
      } else {
        summary = line.text;
        onText?.(line.text);
      }
    },
  });
  return { ...result, findings, last, summary };
}

/** Writes a finding as a scenario file. */
export function saveFinding({ scenario }: Finding, directory: string): string {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${scenario.kernel}-${scenario.name}.jsonl`);
  writeFileSync(file, `${JSON.stringify(scenario)}\n`);
  return file;
}
