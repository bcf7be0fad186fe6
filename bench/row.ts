/** Runs one row, in the process and the network namespace that main.ts gives it: progress to stderr, results as JSON to stdout. */
import { rows } from './rows/index.ts';

const name = process.argv[2];
const row = rows.find((row) => row.name === name);
if (row === undefined) throw new Error(`No row ${name}`);
const results = await row.run((text) => process.stderr.write(`${text}\n`));
process.stdout.write(JSON.stringify(results));
