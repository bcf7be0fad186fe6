/**
 * Loaded before the program of every process that a demo starts: the process ends when the demo has ended, however that came about, and
 * nothing of the demo's folder is left.
 */
import { rmSync } from 'node:fs';
import { basename } from 'node:path';
import { FOLDER_PREFIX, FOLDER_VARIABLE } from './folder.ts';

const folder = process.env[FOLDER_VARIABLE] ?? '';

process.once('disconnect', () => {
  try {
    if (basename(folder).startsWith(FOLDER_PREFIX)) rmSync(folder, { recursive: true, force: true });
  } catch {
    // Another of the processes is just writing there: it will remove it.
  }
  process.exit(1);
});
// A program that has nothing more to do ends all the same.
process.channel?.unref();
