import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A demo's private folder: configurations, keys, sockets and logs. */

export const FOLDER_PREFIX = 'xfrmsync-demo-';
/** Tells the processes of a demo which folder it is. */
export const FOLDER_VARIABLE = 'XFRMSYNC_DEMO_FOLDER';

/** sockaddr_un.sun_path of the systems where it is shortest, less what stands below the folder. */
const PATH_MAX = 103 - '/peer/control.sock'.length;

/** In the system's temporary folder, or in /tmp if sockets could not have a path that long. */
export async function makeFolder(): Promise<string> {
  const base = join(tmpdir(), `${FOLDER_PREFIX}XXXXXX`).length <= PATH_MAX ? tmpdir() : '/tmp';
  return mkdtemp(join(base, FOLDER_PREFIX));
}
