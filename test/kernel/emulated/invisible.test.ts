import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { emulatedTarget } from '../../../src/conformance/emulated-target.ts';
import { runScenario } from '../../../src/conformance/run.ts';
import { readScenarios } from '../../../src/conformance/vectors.ts';
import type { EmulatedNamespace, EmulatedPfkeySocket } from '../../../src/kernel/emulated/index.ts';
import { PfkeyMsg, SaType } from '../../../src/pfkey/index.ts';
import { pfkeyBytes, pfkeyMessage, tell } from './pfkey-world.ts';

/**
 * Nobody who does not ask for replay notifications sees anything of them: with somebody beside who could (a PF_KEY socket that is registered
 * for all kinds of SAs and so has the front end listen) each recorded scenario goes as it was recorded, to the byte, and the one beside gets
 * what Linux has and nothing else.
 */

const vectors = join(import.meta.dirname, '../../vectors');
const TYPE_AT = 1;
const LINUX_TYPES_MAX = 24;

function beside(namespace: EmulatedNamespace, sockets: EmulatedPfkeySocket[]): void {
  const socket = namespace.openPfkeyNow({ receiveBufferBytes: 1 << 24 });
  for (const satype of [SaType.AH, SaType.ESP, SaType.IPCOMP]) tell(socket, pfkeyMessage('REGISTER', {}, { satype }));
  sockets.push(socket);
}

const files = ['newae', 'getae', 'aevent', 'replay', 'lifetime', 'sa', 'policy', 'netlink', 'pfkey'];

describe.each(['6.1-amd64', '6.12-amd64', '6.1-uml'])('replay notifications are invisible in %s', (profile) => {
  it.each(files)('%s', async (file) => {
    let seen = 0;
    for await (const { scenario } of readScenarios(join(vectors, profile, `${file}.jsonl.gz`))) {
      const sockets: EmulatedPfkeySocket[] = [];
      const target = emulatedTarget(scenario, (namespace) => beside(namespace, sockets));
      expect([scenario.name, runScenario(scenario, target)]).toEqual([scenario.name, { outcome: 'passed' }]);
      for (const socket of sockets) {
        for (const message of pfkeyBytes(socket)) {
          expect(message[TYPE_AT]).toBeLessThanOrEqual(LINUX_TYPES_MAX);
          seen++;
        }
      }
      target.close();
    }
    // SAs come and go in most files, and the one beside hears of it.
    if (file !== 'policy') expect(seen).toBeGreaterThan(0);
  });
});

it('the types that are ours are beyond those of Linux', () => {
  expect(Math.min(PfkeyMsg.X_REPLAY_NOTIFY, PfkeyMsg.X_REPLAY_SET, PfkeyMsg.X_REPLAY_GET)).toBeGreaterThan(
    LINUX_TYPES_MAX,
  );
});
