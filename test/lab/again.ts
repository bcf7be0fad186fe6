/** A program that runs twice: on the host, where it boots a guest and starts itself there, and in the guest, where it does the work. */
import { type LabKernel, runInLab } from './lab.ts';

const RESULT_PREFIX = 'lab-result ';
const GUEST_FLAG = 'XFRMSYNC_LAB_GUEST';

export const isGuest = (): boolean => process.env[GUEST_FLAG] === '1';

/**
 * On the host: the same program with the same arguments, in a guest. Its lines go on to this process's own streams; the result is what it
 * gave to `tellHost`. @throws Error if there was none
 */
export async function runAgainInLab<T>(
  kernel: LabKernel,
  program: string,
  timeoutMs: number,
  env: Readonly<Record<string, string>> = {},
): Promise<T> {
  process.stdout.write(`booting ${kernel}\n`);
  let result: T | undefined;
  const { status } = await runInLab(kernel, [process.execPath, program, ...process.argv.slice(2)], {
    timeoutMs,
    env: { ...env, [GUEST_FLAG]: '1' },
    onLine(line, stream) {
      if (stream === 'stdout' && line.startsWith(RESULT_PREFIX))
        result = JSON.parse(line.slice(RESULT_PREFIX.length)) as T;
      else (stream === 'stdout' ? process.stdout : process.stderr).write(`${line}\n`);
    },
  });
  if (result === undefined) throw new Error(`no result from the guest (status ${status})`);
  return result;
}

/** In the guest: the result, as one line. */
export function tellHost(result: object): void {
  process.stdout.write(`${RESULT_PREFIX}${JSON.stringify(result)}\n`);
}
