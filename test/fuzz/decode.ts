import { isDeepStrictEqual } from 'node:util';
import { forEachMessage } from 'xfrmsync/netlink';
import {
  AeventCursor,
  type AnyXfrmMessage,
  DecodeError,
  formatMessage,
  messageToJson,
  xfrm,
  xfrmFirstLayout,
  xfrmOfRelease,
} from 'xfrmsync/xfrm';

/** What must hold for any bytes whatever. */

const protocols = [
  ['current', xfrm],
  ['first layout', xfrmFirstLayout],
  ['6.1', xfrmOfRelease('6.1')],
] as const;

const cursor = new AeventCursor();

/** What became of an input: decoded, or refused with this code. Throws an Error that says which property it breaks. */
export function checkDecode(bytes: Uint8Array): 'decoded' | DecodeError['code'] {
  checkWalk(bytes);
  let outcome: ReturnType<typeof checkDecode> = 'decoded';
  for (const [name, { decode, encode }] of protocols) {
    let message: AnyXfrmMessage;
    try {
      message = decode(bytes) as AnyXfrmMessage;
    } catch (error) {
      if (!(error instanceof DecodeError)) throw new Error(`${name}: decode throws ${String(error)}`, { cause: error });
      if (name === 'current') outcome = error.code;
      continue;
    }
    const again = (encode as (message: AnyXfrmMessage) => Uint8Array)(message);
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    if (!Buffer.from(again).equals(bytes.subarray(0, length))) {
      throw new Error(`${name}: ${message.kind} encodes to other bytes: ${Buffer.from(again).toString('hex')}`);
    }
    if (!isDeepStrictEqual(decode(again), message))
      throw new Error(`${name}: ${message.kind} decodes to another value`);
    if (name !== 'current') continue;
    messageToJson(message, { showKeys: true });
    formatMessage(message);
    checkCursorAgrees(bytes, message);
  }
  return outcome;
}

function checkWalk(bytes: Uint8Array): void {
  let seen = 0;
  const end = forEachMessage(bytes, (at, length) => {
    seen++;
    if (length < 16 || at + length > bytes.length)
      throw new Error(`a message of ${length} bytes at ${at} is not inside`);
  });
  if (end > bytes.length || seen > bytes.length / 16)
    throw new Error(`the walk stops at ${end} after ${seen} messages`);
  cursor.reset(bytes);
  let found = 0;
  while (cursor.next()) found++;
  if (found + cursor.skipped !== seen) {
    throw new Error(`the cursor sees ${found} events and passes over ${cursor.skipped} messages of ${seen}`);
  }
}

/** Counters of the cursor and of the typed message are the same; where the cursor stops at all is the same too. */
export function checkCursorAgrees(bytes: Uint8Array, message: AnyXfrmMessage): void {
  const stops = cursor.reset(bytes).next() && cursor.offset === 0;
  const { replayVal, replayEsnVal, ltimeVal, mark, ifId } = message.kind === 'NEWAE' ? message.attributes : {};
  const replay = replayEsnVal ?? replayVal;
  if (message.kind !== 'NEWAE' || replay === undefined || ltimeVal === undefined) {
    if (stops) throw new Error(`the cursor takes ${message.kind} for an event`);
    return;
  }
  if (!stops) throw new Error('the cursor passes over an event');
  const { body } = message;
  const expected = {
    daddr: [body.saId.daddr.w0, body.saId.daddr.w1, body.saId.daddr.w2, body.saId.daddr.w3],
    id: [body.saId.spi, body.saId.family, body.saId.proto, body.flags, body.reqid],
    counters: [replay.oseq, replay.seq, replayEsnVal?.oseqHi ?? 0, replayEsnVal?.seqHi ?? 0],
    window: [
      replayEsnVal !== undefined,
      replayEsnVal?.replayWindow ?? 0,
      ...(replayEsnVal?.bmp ?? [replayVal?.bitmap]),
    ],
    lifetime: [ltimeVal.bytes, ltimeVal.packets, ltimeVal.addTime, ltimeVal.useTime].map(Number),
    mark: [mark?.value ?? 0, mark?.mask ?? 0, ifId ?? 0],
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const actual = {
    daddr: [cursor.daddr0, cursor.daddr1, cursor.daddr2, cursor.daddr3],
    id: [cursor.spi, cursor.family, cursor.proto, cursor.flags, cursor.reqid],
    counters: [cursor.oseq, cursor.seq, cursor.oseqHi, cursor.seqHi],
    window: [
      cursor.esn,
      cursor.replayWindow,
      ...Array.from({ length: cursor.bmpLen }, (_, i) => view.getUint32(cursor.bmpOffset + 4 * i, true)),
    ],
    lifetime: [cursor.bytes, cursor.packets, cursor.addTime, cursor.useTime],
    mark: [cursor.markValue, cursor.markMask, cursor.ifId],
  };
  if (!isDeepStrictEqual(actual, expected)) {
    throw new Error(`the cursor reads ${JSON.stringify(actual)}, the message says ${JSON.stringify(expected)}`);
  }
}
