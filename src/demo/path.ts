/** The process of the path: a relay that does what the conductor asks for over the IPC channel. Forked, never imported. */

import type { PathAnswer, PathCall } from './path-client.ts';
import { Relay } from './relay.ts';

const relay = await Relay.open();

process.on('message', (call: PathCall) => {
  // The conductor decides; what it may call is what `PathCall` names.
  const method = relay[call.method] as (...args: unknown[]) => unknown;
  Promise.resolve()
    .then(() => method.apply(relay, call.args))
    .then(
      (result) => answer({ id: call.id, result }),
      (error: Error) => answer({ id: call.id, error: error.message }),
    );
});

function answer(of: PathAnswer): void {
  if (process.connected) process.send?.(of, () => {});
}
