/** `npm run bench`: xfrmsync beside its peers, on the same bytes, in one run. See bench/README.md. */
import { spawn } from 'node:child_process';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { namespacePrefix } from './namespace.ts';
import { type Result, skipped, table } from './report.ts';
import { rows } from './rows/index.ts';
import type { Row } from './rows/row.ts';

const USAGE = `npm run bench -- [--only NAME]... [--json]
  --only NAME   a row (${rows.map((row) => row.name).join(', ')}); may be given more than once
  --json        one JSON object on stdout instead of the table; progress goes to stderr
`;

/** What is kept of a row's progress and, should it fail, of its error. */
const COMPLAINT_CHARACTERS_MAX = 4096;
const ROW_PROGRAM = fileURLToPath(new URL('./row.js', import.meta.url));

/** One row in a process of its own, so that no row meets a compiler that another one has taught. */
async function runRow(row: Row): Promise<Result[]> {
  const prefix = row.needsNamespace ? namespacePrefix() : [];
  if (prefix === undefined) {
    const reason = 'no network namespace: neither unshare -n nor unshare -Urn works for this user';
    return row.aims.map((aim) => skipped(aim, reason));
  }
  const [command = '', ...args] = [...prefix, process.execPath, ROW_PROGRAM, row.name];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    progress(text);
    complaint = (complaint + text).slice(-COMPLAINT_CHARACTERS_MAX);
  });
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (code === 0) return JSON.parse(output) as Result[];
  process.exitCode = 1;
  const error = complaint.split('\n').find((line) => /^\w*Error\b/.test(line));
  return row.aims.map((aim) => skipped(aim, `failed: ${error ?? `exit code ${code}`}`));
}

/** On a terminal the last word stands in one line; a log gets them all. */
function progress(text: string): void {
  if (!process.stderr.isTTY) process.stderr.write(text);
  else for (const line of text.trimEnd().split('\n')) process.stderr.write(`\r\x1b[K${line}`);
}

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const unknown = values.only?.find((name) => !rows.some((row) => row.name === name));

if (values.help) {
  process.stdout.write(USAGE);
} else if (unknown !== undefined) {
  process.stderr.write(`No row ${unknown}.\n${USAGE}`);
  process.exitCode = 2;
} else {
  const machine = {
    cores: cpus().length,
    arch: process.arch,
    kernel: release(),
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
  };
  const results: Result[] = [];
  for (const row of rows) {
    if (values.only === undefined || values.only.includes(row.name)) results.push(...(await runRow(row)));
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  const { cores, arch, kernel, node, date } = machine;
  const heading = `${date}, ${cores} cores ${arch}, Linux ${kernel}, Node ${node}`;
  process.stdout.write(
    values.json ? `${JSON.stringify({ machine, rows: results }, null, 2)}\n` : `${heading}\n${table(results)}`,
  );
}
