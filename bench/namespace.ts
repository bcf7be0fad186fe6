import { spawnSync } from 'node:child_process';

/** `unshare` for root, and for an ordinary user with a user namespace around it. */
const WAYS: readonly (readonly string[])[] = [
  ['unshare', '-n'],
  ['unshare', '-Urn'],
];

/** The words to put before a command that is to run in a fresh network namespace; undefined if this user may not make one. */
export function namespacePrefix(): readonly string[] | undefined {
  return WAYS.find(
    ([command = '', ...args]) => spawnSync(command, [...args, 'true'], { stdio: 'ignore' }).status === 0,
  );
}
