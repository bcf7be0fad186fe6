import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkEmulated, type RunReport } from '../../../src/conformance/index.ts';

const vectors = join(import.meta.dirname, '../../vectors');

/** Scenarios that the engine does not answer as recorded, as "folder name". One that has come to pass must leave the list. */
const known = JSON.parse(readFileSync(join(import.meta.dirname, 'known-failures.json'), 'utf8')) as string[];

const profiles = ['6.1-amd64', '6.12-amd64', '6.1-uml'];

/** Scenarios in each file, so that none can be left out unnoticed. */
const files: Readonly<Record<string, number>> = {
  newae: 130,
  getae: 54,
  aevent: 80,
  replay: 67,
  lifetime: 26,
  sa: 107,
  policy: 38,
  netlink: 34,
  pfkey: 30,
};

async function run(path: string): Promise<RunReport[]> {
  const reports: RunReport[] = [];
  for await (const report of checkEmulated(path)) reports.push(report);
  return reports;
}

describe.each(profiles)('the emulated kernel answers as %s', (profile) => {
  it.each(Object.entries(files))('%s', async (file, count) => {
    const reports = await run(join(vectors, profile, `${file}.jsonl.gz`));
    const idOf = ({ name }: RunReport): string => `${profile} ${name.split(' ').at(-1)}`;
    const unexpected = reports.filter((report) => report.outcome !== 'passed' && !known.includes(idOf(report)));
    expect(unexpected.map(({ name, outcome, detail }) => `${outcome} ${name}: ${detail ?? ''}`)).toEqual([]);
    const fixed = reports.filter((report) => report.outcome === 'passed' && known.includes(idOf(report)));
    expect(fixed.map(idOf)).toEqual([]);
    expect(reports).toHaveLength(count);
  });
});

describe('the project has recorded more of PF_KEY', () => {
  it.each(profiles)('%s', async (profile) => {
    const reports = await run(join(vectors, 'pfkey', `${profile}.jsonl.gz`));
    expect(reports.filter(({ outcome }) => outcome !== 'passed')).toEqual([]);
    expect(reports).toHaveLength(21);
  });
});

describe('what the differential test has found is mended', () => {
  it.each(['6.1-uml', '6.12-amd64'])('%s', async (name) => {
    const reports = await run(join(vectors, 'own', `${name}.jsonl`));
    expect(reports.filter(({ outcome }) => outcome !== 'passed')).toEqual([]);
    expect(reports.length).toBeGreaterThan(20);
  });
});
