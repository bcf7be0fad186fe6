import type { Kernel, PfkeySocket } from '../kernel/index.ts';
import { DecodeError, decodePfkey, encodePfkey, SaType } from '../pfkey/index.ts';
import { kernelRefused } from './errors.ts';
import { openPfkeySocket } from './pfkey.ts';

/** Any of them makes the kernel send X_REPLAY_NOTIFY and EXPIRE, of SAs of all kinds. */
const KIND = SaType.ESP;
/** Any number: nothing else is sent on this socket. */
const REGISTER_SEQ = 0x7866_7265;

/**
 * A PF_KEY socket that hears of replay notifications, and of SAs that come, change, go and expire; one that is told if it has lost any of
 * that. Nothing is handed over before its `receive` is called. The kernel takes this process for a key manager from then on: what needs an
 * SA waits for one instead of failing.
 *
 * @throws ClientError ERR_KERNEL if the kernel refuses to register, and KernelError as `openPfkey`
 */
export async function openReplayEvents(kernel: Kernel, receiveBufferBytes: number): Promise<PfkeySocket> {
  const socket = await openPfkeySocket(kernel, { receiveBufferBytes, tellOverruns: true });
  try {
    let refused = 0;
    socket.receive(({ buffer, count, offsets, lengths }) => {
      for (let i = 0; i < count; i++) {
        const start = offsets[i] as number;
        refused ||= errnoOfAnswer(buffer.subarray(start, start + (lengths[i] as number)));
      }
    });
    socket.send(
      encodePfkey({ kind: 'REGISTER', errno: 0, satype: KIND, seq: REGISTER_SEQ, pid: process.pid, extensions: {} }),
    );
    // The kernel has answered when the send returns.
    socket.drain();
    if (refused !== 0) throw kernelRefused('REGISTER', refused);
    socket.receive(undefined);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

function errnoOfAnswer(bytes: Uint8Array): number {
  try {
    const { kind, seq, pid, errno } = decodePfkey(bytes);
    return kind === 'REGISTER' && seq === REGISTER_SEQ && pid === process.pid ? errno : 0;
  } catch (error) {
    if (error instanceof DecodeError) return 0;
    throw error;
  }
}
