import { emulatedTarget } from './emulated-target.ts';
import { type RunReport, runAll } from './report.ts';

/**
 * Carries out the scenarios at `path`, a file or a directory of them, on the emulated kernel in the profile that each asks for.
 * @throws VectorError for a file that cannot be used
 */
export function checkEmulated(path: string): AsyncGenerator<RunReport> {
  return runAll(path, emulatedTarget);
}
