import type { EmulatedPfkeySocket } from '../../../src/kernel/emulated/index.ts';
import {
  type AnyPfkeyMessage,
  decodePfkey,
  encodePfkey,
  type PfkeyExtensions,
  type PfkeyKind,
  type PfkeyMessage,
  SaType,
  type Sockaddr,
} from '../../../src/pfkey/index.ts';
import { SPI } from './world.ts';

/** PF_KEY for the small world of world.ts: the same peer, the same SA. */

const at = (w0: number): Sockaddr => ({ family: 2, port: 0, address: { w0, w1: 0, w2: 0, w3: 0 } });
const address = (w0: number): NonNullable<PfkeyExtensions['addressSrc']> => ({
  proto: 0,
  prefixlen: 32,
  sockaddr: at(w0),
});

/** What names the SA. */
export const saId = (spi = SPI): PfkeyExtensions => ({
  sa: { spi, replay: 32, state: 1, auth: 3, encrypt: 12, flags: 0 },
  addressSrc: address(0x0a09_0002),
  addressDst: address(0x0a09_0001),
});

export const saKeys: PfkeyExtensions = {
  keyAuth: { bits: 160, key: new Uint8Array(20).fill(1) },
  keyEncrypt: { bits: 128, key: new Uint8Array(16).fill(2) },
};

export function pfkeyMessage<K extends PfkeyKind>(
  kind: K,
  extensions: PfkeyExtensions = {},
  header: Partial<Pick<PfkeyMessage, 'satype' | 'seq' | 'pid'>> = {},
): AnyPfkeyMessage {
  return { kind, errno: 0, satype: SaType.ESP, seq: 1, pid: 4321, ...header, extensions } as AnyPfkeyMessage;
}

/** The bytes of all messages that wait. */
export function pfkeyBytes(socket: EmulatedPfkeySocket): Uint8Array[] {
  const { batch } = socket.read();
  return Array.from({ length: batch.count }, (_, i) => {
    const start = batch.offsets[i] as number;
    return batch.buffer.slice(start, start + (batch.lengths[i] as number));
  });
}

export const pfkeyReceived = (socket: EmulatedPfkeySocket): AnyPfkeyMessage[] =>
  pfkeyBytes(socket).map((bytes) => decodePfkey(bytes));

/** Sends a message and returns what came back. */
export function tell(socket: EmulatedPfkeySocket, message: AnyPfkeyMessage): AnyPfkeyMessage[] {
  socket.send(encodePfkey(message));
  return pfkeyReceived(socket);
}
