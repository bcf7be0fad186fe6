import { closeSync, openSync } from 'node:fs';
import { KernelError, syscallError } from '../errors.ts';
import { CLONE_NEWNET } from './abi.ts';
import type { Libc } from './libc.ts';

/** The calling thread's own namespace; /proc/self would be the main thread's. */
const OWN_NAMESPACE = '/proc/thread-self/ns/net';

/**
 * Runs `action` with the calling thread in another network namespace. A socket belongs for good to the namespace it was made in, so
 * opening it is all that has to happen there. `action` must be synchronous: between setns(2) there and back no other JavaScript runs.
 */
export function inNetworkNamespace<T>(libc: Libc, path: string, action: () => T): T {
  const away = openNamespace(path);
  try {
    return inOpenNamespace(libc, away, path, action);
  } finally {
    closeSync(away);
  }
}

/** The same with a namespace that is open already; `name` is for the error. */
export function inOpenNamespace<T>(libc: Libc, away: number, name: string, action: () => T): T {
  return andBack(
    libc,
    () => {
      if (libc.setns(away, CLONE_NEWNET) < 0) throw syscallError('setns', libc.errno(), `Cannot enter ${name}`);
    },
    action,
  );
}

/** Makes a network namespace that nobody else is in and returns its descriptor: it lasts as long as that or a socket in it is open. */
export function newNetworkNamespace(libc: Libc): number {
  return andBack(
    libc,
    () => {
      if (libc.unshare(CLONE_NEWNET) < 0) {
        throw syscallError('unshare', libc.errno(), 'Cannot make a network namespace');
      }
    },
    () => openNamespace(OWN_NAMESPACE),
  );
}

function andBack<T>(libc: Libc, leave: () => void, action: () => T): T {
  const home = openNamespace(OWN_NAMESPACE);
  try {
    leave();
    try {
      return action();
    } finally {
      comeBack(libc, home);
    }
  } finally {
    closeSync(home);
  }
}

function comeBack(libc: Libc, home: number): void {
  if (libc.setns(home, CLONE_NEWNET) === 0) return;
  // Everything this thread opens from now on would be in the wrong place.
  throw new KernelError(
    'ERR_NAMESPACE',
    'The thread cannot return to its own network namespace: restart this process',
    {
      errno: libc.errno(),
      syscall: 'setns',
    },
  );
}

function openNamespace(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (cause) {
    throw new KernelError('ERR_NAMESPACE', `Cannot open the network namespace ${path}: list them with: ip netns`, {
      cause,
    });
  }
}
