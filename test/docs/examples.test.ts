import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describeNative } from '../kernel/native.ts';
import { documents, repository } from './documents.ts';

/** Blocks that are marked `js run`: whole programs. They lie below the repository, so that `xfrmsync` names this package. */
const examples = documents().flatMap(({ path, blocks }) =>
  blocks
    .filter(({ language, words }) => language === 'js' && words.includes('run'))
    .map(({ text, line }) => ({ name: `${path}:${line}`, text })),
);

test('there are examples', () => {
  expect(examples.length).toBeGreaterThan(3);
});

const needsLinux = ({ text }: (typeof examples)[number]): boolean => text.includes('linuxKernel');

function runs(
  name: string,
  chosen: typeof examples,
  prefix: readonly string[],
  describeIt: typeof describeNative,
): void {
  describeIt(name, () => {
    let directory: string;
    beforeAll(async () => {
      await mkdir(join(repository, 'build'), { recursive: true });
      directory = await mkdtemp(join(repository, 'build/examples-'));
    });
    afterAll(() => rm(directory, { recursive: true }));

    test.each(chosen)('$name', async ({ name, text }) => {
      const file = join(directory, `${name.replace(/[^a-z0-9]+/gi, '-')}.mjs`);
      await writeFile(file, text);
      const [program = '', ...args] = [...prefix, process.execPath, file];
      const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
      let [out, err] = ['', ''];
      child.stdout.on('data', (bytes: Buffer) => {
        out += bytes.toString();
      });
      child.stderr.on('data', (bytes: Buffer) => {
        err += bytes.toString();
      });
      const [code] = await once(child, 'close');
      expect({ code, err }).toEqual({ code: 0, err: '' });
      expect(out).not.toBe('');
    });
  });
}

runs(
  'examples of the documentation run',
  examples.filter((example) => !needsLinux(example)),
  [],
  describe,
);
runs(
  "examples that open this machine's kernel run in a namespace of their own",
  examples.filter(needsLinux),
  ['unshare', '--net'],
  describeNative,
);
