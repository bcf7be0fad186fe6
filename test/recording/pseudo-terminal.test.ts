import { describe, expect, it } from 'vitest';
import { record, WAYS } from '../../recording/pseudo-terminal.ts';

const PROGRAM = `
const { isTTY, columns, rows } = process.stdout;
console.log([isTTY, columns, rows, process.env.NO_COLOR ?? "colours", "it's ▁█"].join(" "));
process.exitCode = 3;`;

describe.each(WAYS.map((way) => [way.name, way] as const))('%s', (_, way) => {
  it.skipIf(!way.here())('gives a program a terminal of the wanted size, and its exit code', async () => {
    const { cast, status } = await record(way, [process.execPath, '-e', PROGRAM], { columns: 70, rows: 20 }, 'test');
    const text = cast.events.map(([, , text]) => text).join('');
    expect(text).toBe("true 70 20 colours it's ▁█\r\n");
    expect(status).toBe(3);
    expect(cast.header).toMatchObject({ version: 2, width: 70, height: 20, command: 'test' });
  });
});
