/** `npm run demo:record`: a run of `xfrmsync demo` on a terminal, kept as an asciicast and as docs/demo.svg. See docs/demo.md. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Cast, formatCast, parseCast } from './cast.ts';
import { film } from './film.ts';
import { record, WAYS } from './pseudo-terminal.ts';
import { svg } from './svg.ts';
import { textOf } from './terminal.ts';

/** From build/recording/. */
const place = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const PROGRAM = place('dist/cli/main.js');
const SIZE = { columns: 80, rows: 24 } as const;
const FILM = { framesPerSecond: 2, lineSeconds: 0.35 } as const;
const SVG_BYTES_MAX = 250_000;
const USAGE = `npm run demo:record -- [--from CAST] [--cast FILE] [--svg FILE]
  --from CAST   make the SVG of this recording; nothing is run
  --cast FILE   where the recording goes (build/demo.cast)
  --svg FILE    where the SVG goes (docs/demo.svg)
`;

const { values } = parseArgs({
  options: {
    from: { type: 'string' },
    cast: { type: 'string', default: place('build/demo.cast') },
    svg: { type: 'string', default: place('docs/demo.svg') },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

async function recording(): Promise<Cast> {
  if (values.from !== undefined) return parseCast(readFileSync(values.from, 'utf8'));
  const way = WAYS.find((way) => way.here());
  if (way === undefined) throw new Error(`no pseudo-terminal: neither ${WAYS.map(({ name }) => name).join(' nor ')}`);
  process.stderr.write(`recording on a pseudo-terminal (${way.name})\n`);
  const { cast, status } = await record(way, [process.execPath, PROGRAM, 'demo'], SIZE, 'xfrmsync demo');
  mkdirSync(dirname(values.cast), { recursive: true });
  writeFileSync(values.cast, formatCast(cast));
  process.stderr.write(`${values.cast}: ${cast.events.length} pieces of output\n`);
  if (status !== 0) throw new Error(`the demo has ended with ${status}: its recording is kept, no SVG is made of it`);
  return cast;
}

if (values.help) process.stdout.write(USAGE);
else {
  const cast = await recording();
  const frames = film(cast, FILM);
  const lastLine = (frames.at(-1)?.rows ?? []).map(textOf).findLast((line) => line !== '');
  const picture = svg(frames, {
    title: `A recorded run of ${cast.header.command ?? 'xfrmsync demo'}`,
    description: `The live view of a failover between two gateways, and the table of its result. It ends with: ${lastLine}`,
  });
  const bytes = Buffer.byteLength(picture);
  if (bytes > SVG_BYTES_MAX) throw new Error(`the SVG would have ${bytes} bytes; at most ${SVG_BYTES_MAX} are allowed`);
  writeFileSync(values.svg, picture);
  process.stderr.write(`${values.svg}: ${frames.length} frames, ${bytes} bytes\n`);
}
