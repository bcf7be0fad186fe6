import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** The built program (npm test builds it first), run as its users run it. */
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function start(args: readonly string[]) {
  return spawn(process.execPath, [main, ...args], { stdio: 'pipe', env: { ...process.env, NO_COLOR: '1' } });
}

export async function xfrmsync(args: readonly string[], input: string | Uint8Array = ''): Promise<Outcome> {
  const child = start(args);
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (chunk: Buffer) => {
      text[name] += chunk.toString();
    });
  }
  // A program that ends before it has read its input is no fault of the test.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...text };
}
