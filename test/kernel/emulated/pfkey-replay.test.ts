import { describe, expect, it } from 'vitest';
import type { EmulatedPfkeySocket } from '../../../src/kernel/emulated/index.ts';
import {
  type AnyPfkeyMessage,
  encodePfkey,
  type PfkeyExtensions,
  PfkeyReplayMode,
  ReplayReason,
} from '../../../src/pfkey/index.ts';
import { hostLittleEndian } from '../../../src/wire/index.ts';
import { AeFlag, XfrmGroup, type XfrmMessage } from '../../../src/xfrm/index.ts';
import { pfkeyMessage, pfkeyReceived, saId, saKeys, tell } from './pfkey-world.ts';
import { aevent, ask, kinds, newSa, packetIn, packetOut, received, type World, world } from './world.ts';

const HZ = 250;
const { PACKETS, TIME, SET } = ReplayReason;

interface Here extends World {
  readonly pfkey: EmulatedPfkeySocket;
}

/** A world with a registered PF_KEY socket. */
function here(): Here {
  const made = world({ hz: HZ });
  const pfkey = made.kernel.openPfkeyNow();
  tell(pfkey, pfkeyMessage('REGISTER'));
  return { ...made, pfkey };
}

const threshold = (packets: number, milliseconds: number): PfkeyExtensions => ({
  replayThreshold: { packets, milliseconds },
});

const add = (w: Here, more: PfkeyExtensions = {}): AnyPfkeyMessage[] =>
  tell(w.pfkey, pfkeyMessage('ADD', { ...saId(), ...saKeys, ...more }));
const set = (w: Here, what: PfkeyExtensions): AnyPfkeyMessage[] =>
  tell(w.pfkey, pfkeyMessage('X_REPLAY_SET', { ...saId(), ...what }, { seq: 71, pid: 72 }));
const get = (w: Here): AnyPfkeyMessage => tell(w.pfkey, pfkeyMessage('X_REPLAY_GET', saId()))[0] as AnyPfkeyMessage;

const legacy = (seq: bigint, oseq: bigint, bitmap: number): PfkeyExtensions => ({
  replayState: { mode: PfkeyReplayMode.LEGACY, oseq, seq, window: 32, bmpLen: 1, packetsHigh: 0, bitmap: [bitmap] },
});

/** Reason and numbers of each notification that waits. */
function told(w: Here): (readonly [reason: number | undefined, seq: bigint | undefined, oseq: bigint | undefined])[] {
  return pfkeyReceived(w.pfkey).map(({ kind, extensions }) => {
    expect(kind).toBe('X_REPLAY_NOTIFY');
    return [extensions.replayReason?.reason, extensions.replayState?.seq, extensions.replayState?.oseq];
  });
}

describe('replay notifications over PF_KEY', () => {
  it('come at N packets above what was last told, with numbers, window and lifetime', () => {
    const w = here();
    add(w, threshold(3, 0));
    for (let seq = 1; seq <= 2; seq++) packetIn(w, seq);
    expect(told(w)).toEqual([]);
    packetIn(w, 3);
    const [message] = pfkeyReceived(w.pfkey);
    expect(message).toMatchObject({ kind: 'X_REPLAY_NOTIFY', seq: 0, pid: 0, errno: 0, satype: 3 });
    expect(Object.keys(message?.extensions ?? {})).toEqual([
      'sa',
      'addressSrc',
      'addressDst',
      'lifetimeCurrent',
      'replayState',
      'replayReason',
    ]);
    expect(message?.extensions).toMatchObject({
      sa: { spi: 0x200 },
      // The packet that is told of is not in it yet, as with netlink.
      lifetimeCurrent: { allocations: 2 },
      replayState: {
        mode: PfkeyReplayMode.LEGACY,
        seq: 3n,
        oseq: 0n,
        window: 32,
        bmpLen: 1,
        packetsHigh: 0,
        bitmap: [7],
      },
      replayReason: { reason: PACKETS },
    });
    packetOut(w);
    packetOut(w);
    packetOut(w);
    expect(told(w)).toEqual([[PACKETS, 3n, 3n]]);
  });

  it('come T after the last one if there was a change; then the first packet is told at once', () => {
    const w = here();
    add(w, threshold(0, 1000));
    packetIn(w, 1);
    expect(told(w)).toEqual([]);
    w.clock.advance(1100);
    expect(told(w)).toEqual([[TIME, 1n, 0n]]);
    w.clock.advance(60_000);
    expect(told(w)).toEqual([]);
    packetIn(w, 2);
    packetIn(w, 3);
    expect(told(w)).toEqual([[TIME, 2n, 0n]]);
    w.clock.advance(1100);
    expect(told(w)).toEqual([[TIME, 3n, 0n]]);
  });

  it('reach those who are registered, and nobody else', () => {
    const w = here();
    const [other, silent] = [w.kernel.openPfkeyNow(), w.kernel.openPfkeyNow()];
    tell(other, pfkeyMessage('REGISTER', {}, { satype: 2 }));
    add(w, threshold(1, 0));
    pfkeyReceived(other);
    pfkeyReceived(silent);
    packetIn(w, 1);
    expect(pfkeyReceived(other).map(({ kind }) => kind)).toEqual(['X_REPLAY_NOTIFY']);
    expect(pfkeyReceived(silent)).toEqual([]);
  });

  it('stop when nobody is registered any more, and netlink does not notice', () => {
    const w = here();
    add(w, threshold(1, 0));
    w.pfkey.close();
    expect(w.kernel.engine.host.replayNotifier.callbacks).toEqual([]);
    packetIn(w, 1);
    const listener = w.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
    packetIn(w, 2);
    expect(kinds(listener)).toEqual([AeFlag.CR]);
  });

  it('show ESN state with both halves of its numbers', () => {
    const w = here();
    const replayEsnVal = {
      bmpLen: 2,
      oseq: 5,
      seq: 0,
      oseqHi: 1,
      seqHi: 1,
      replayWindow: 64,
      bmp: [0, 0],
    };
    const sa = newSa({ replayEsnVal });
    ask(w, { ...sa, body: { ...sa.body, replayWindow: 0, flags: 128 } });
    pfkeyReceived(w.pfkey);
    set(w, threshold(1, 0));
    packetOut(w);
    const [notified] = pfkeyReceived(w.pfkey);
    expect(notified?.extensions.replayState).toEqual({
      mode: PfkeyReplayMode.ESN,
      oseq: (1n << 32n) + 6n,
      seq: 1n << 32n,
      window: 64,
      bmpLen: 2,
      packetsHigh: 0,
      bitmap: [0, 0],
    });
  });
});

describe('thresholds over PF_KEY', () => {
  it('are those that GETAE shows, in its units', () => {
    const w = here();
    add(w, threshold(7, 500));
    const [reply] = ask(w, aevent('GETAE', {}, AeFlag.RTHR | AeFlag.ETHR)) as XfrmMessage<'NEWAE'>[];
    expect(reply?.attributes).toMatchObject({ replayThresh: 7, etimerThresh: 5 });
    expect(get(w).extensions.replayThreshold).toEqual({ packets: 7, milliseconds: 500 });
  });

  it('are shown whoever has set them, but told only if PF_KEY has', () => {
    const w = here();
    ask(w, newSa({ replayThresh: 1, etimerThresh: HZ }));
    pfkeyReceived(w.pfkey);
    expect(get(w).extensions.replayThreshold).toEqual({ packets: 1, milliseconds: 1000 });
    packetIn(w, 1);
    w.clock.advance(5000);
    expect(told(w)).toEqual([]);
    set(w, threshold(1, 0));
    packetIn(w, 2);
    expect(told(w)).toEqual([[PACKETS, 2n, 0n]]);
    ask(w, aevent('NEWAE', { replayThresh: 2 }));
    packetIn(w, 3);
    expect(told(w)).toEqual([]);
    packetIn(w, 4);
    expect(told(w)).toEqual([[PACKETS, 4n, 0n]]);
    expect(get(w).extensions.replayThreshold).toEqual({ packets: 2, milliseconds: 0 });
  });

  it('of zero make an SA silent, also one that was waiting for its next packet', () => {
    const w = here();
    add(w, threshold(100, 1000));
    w.clock.advance(60_000);
    expect(w.kernel.snapshot().sas[0]?.deferred).toBe(true);
    set(w, threshold(0, 0));
    for (let seq = 1; seq <= 9; seq++) packetIn(w, seq);
    w.clock.advance(60_000);
    expect(told(w)).toEqual([]);
    expect(w.kernel.snapshot().sas[0]).toMatchObject({ deferred: false, timers: { aeventMs: null } });
  });

  it('T is rounded up to whole jiffies and counts from when it is set', () => {
    const w = here();
    add(w);
    packetIn(w, 1);
    set(w, threshold(0, 1));
    expect(get(w).extensions.replayThreshold).toEqual({ packets: 0, milliseconds: 4 });
    w.clock.advance(20);
    expect(told(w)).toEqual([[TIME, 1n, 0n]]);
    set(w, threshold(0, 0xffff_ffff));
    expect(get(w).extensions.replayThreshold).toEqual({ packets: 0, milliseconds: 0xffff_ffff });
  });

  it('are taken by UPDATE of a larval SA, and of a live one', () => {
    const w = here();
    tell(w.pfkey, pfkeyMessage('GETSPI', { ...saId(), sa: undefined, spirange: { min: 0x200, max: 0x200 } } as never));
    tell(w.pfkey, pfkeyMessage('UPDATE', { ...saId(), ...saKeys, ...threshold(1, 0) }));
    packetIn(w, 1);
    expect(told(w)).toEqual([[PACKETS, 1n, 0n]]);
    tell(w.pfkey, pfkeyMessage('UPDATE', { ...saId(), ...saKeys, ...threshold(2, 0) }));
    packetIn(w, 2);
    packetIn(w, 3);
    expect(told(w)).toEqual([[PACKETS, 3n, 0n]]);
  });

  it('show in the answer to GET once PF_KEY has set them, and in no other message', () => {
    const w = here();
    const plain = add(w)[0] as AnyPfkeyMessage;
    expect(plain.extensions.replayThreshold).toBeUndefined();
    const asked = (): AnyPfkeyMessage => tell(w.pfkey, pfkeyMessage('GET', saId()))[0] as AnyPfkeyMessage;
    expect(asked().extensions.replayThreshold).toBeUndefined();
    set(w, threshold(5, 0));
    expect(asked().extensions.replayThreshold).toEqual({ packets: 5, milliseconds: 0 });
    const [dumped] = tell(w.pfkey, pfkeyMessage('DUMP'));
    expect(Object.keys(dumped?.extensions ?? {})).toEqual(Object.keys(plain.extensions));
  });
});

describe('X_REPLAY_SET', () => {
  it('sets the state of an established SA, as NEWAE does: netlink is told CU, PF_KEY if it asked, the sender gets its message', () => {
    const w = here();
    const listener = w.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
    add(w, threshold(10, 0));
    const what = {
      ...legacy(1000n, 50n, 5),
      lifetimeCurrent: { allocations: 9, bytes: 900n, addtime: 1n, usetime: 2n },
    };
    const [notified, answer] = set(w, what);
    expect(notified).toMatchObject({
      kind: 'X_REPLAY_NOTIFY',
      seq: 71,
      pid: 72,
      extensions: { replayReason: { reason: SET } },
    });
    expect(answer).toMatchObject({ kind: 'X_REPLAY_SET', errno: 0, seq: 71, pid: 72, extensions: what });
    expect(received(listener)).toMatchObject([
      {
        kind: 'NEWAE',
        seq: 71,
        pid: 72,
        body: { flags: AeFlag.CU },
        attributes: {
          replayVal: { seq: 1000, oseq: 50, bitmap: 5 },
          ltimeVal: { bytes: 900n, packets: 9n, addTime: 1n, useTime: 2n },
        },
      },
    ]);
    expect(get(w).extensions).toMatchObject(what);
    // What was set counts as told.
    packetIn(w, 1001);
    expect(told(w)).toEqual([]);
  });

  it('of NEWAE PF_KEY is told too, if it asked, but not of thresholds alone', () => {
    const w = here();
    add(w);
    ask(w, aevent('NEWAE', { replayVal: { seq: 5, oseq: 6, bitmap: 1 } }));
    expect(told(w)).toEqual([]);
    set(w, threshold(10, 0));
    ask(w, aevent('NEWAE', { replayThresh: 20 }));
    expect(told(w)).toEqual([]);
    ask(w, aevent('NEWAE', { replayVal: { seq: 7, oseq: 8, bitmap: 1 } }));
    expect(told(w)).toEqual([[SET, 7n, 8n]]);
  });

  it('shows numbers at their very end', () => {
    const w = here();
    const end = 0xffff_ffff;
    const replayEsnVal = { bmpLen: 2, oseq: end, seq: end, oseqHi: end, seqHi: end - 1, replayWindow: 64, bmp: [0, 0] };
    const sa = newSa({ replayEsnVal });
    ask(w, { ...sa, body: { ...sa.body, replayWindow: 0, flags: 128 } });
    pfkeyReceived(w.pfkey);
    expect(get(w).extensions.replayState).toMatchObject({ oseq: 2n ** 64n - 1n, seq: 2n ** 64n - 1n - 2n ** 32n });
  });

  it('sets and shows packet counts of more than 32 bits', () => {
    const w = here();
    add(w, threshold(10, 0));
    const current = { lifetimeCurrent: { allocations: 7, bytes: 900n, addtime: 1n, usetime: 2n } };
    const state = { replayState: { ...legacy(5n, 0n, 1).replayState, packetsHigh: 3 } } as PfkeyExtensions;
    set(w, { ...state, ...current });
    expect(get(w).extensions).toMatchObject({ ...state, ...current });
    expect(w.kernel.snapshot().sas[0]?.packets).toBe(3 * 2 ** 32 + 7);
    // Without a lifetime it says nothing, and without it a lifetime is of 32 bits.
    set(w, legacy(6n, 0n, 1));
    expect(w.kernel.snapshot().sas[0]?.packets).toBe(3 * 2 ** 32 + 7);
    set(w, current);
    expect(w.kernel.snapshot().sas[0]?.packets).toBe(7);
  });

  it('sets an ESN state', () => {
    const w = here();
    const replayEsnVal = { bmpLen: 2, oseq: 0, seq: 0, oseqHi: 0, seqHi: 0, replayWindow: 64, bmp: [0, 0] };
    const sa = newSa({ replayEsnVal });
    ask(w, { ...sa, body: { ...sa.body, replayWindow: 0, flags: 128 } });
    pfkeyReceived(w.pfkey);
    const replayState = {
      mode: PfkeyReplayMode.ESN,
      oseq: 2n ** 40n + 3n,
      seq: 2n ** 33n + 1n,
      window: 48,
      bmpLen: 2,
      packetsHigh: 0,
      bitmap: [1, 2],
    };
    expect(set(w, { replayState })[0]?.errno).toBe(0);
    expect(get(w).extensions.replayState).toEqual(replayState);
    expect(w.kernel.snapshot().sas[0]).toMatchObject({ oseq: 2n ** 40n + 3n, notified: { seq: 2n ** 33n + 1n } });
  });

  it.each([
    ['nothing to set', {}, 22],
    [
      'another mode',
      {
        replayState: {
          mode: PfkeyReplayMode.ESN,
          oseq: 0n,
          seq: 0n,
          window: 32,
          bmpLen: 1,
          packetsHigh: 0,
          bitmap: [0],
        },
      },
      22,
    ],
    [
      'another length',
      {
        replayState: {
          mode: PfkeyReplayMode.LEGACY,
          oseq: 0n,
          seq: 0n,
          window: 32,
          bmpLen: 2,
          packetsHigh: 0,
          bitmap: [0, 0],
        },
      },
      22,
    ],
    [
      'another window',
      {
        replayState: {
          mode: PfkeyReplayMode.LEGACY,
          oseq: 0n,
          seq: 0n,
          window: 31,
          bmpLen: 1,
          packetsHigh: 0,
          bitmap: [0],
        },
      },
      22,
    ],
    [
      'a number that is too large',
      {
        replayState: {
          mode: PfkeyReplayMode.LEGACY,
          oseq: 0n,
          seq: 2n ** 32n,
          window: 32,
          bmpLen: 1,
          packetsHigh: 0,
          bitmap: [0],
        },
      },
      22,
    ],
  ])('refuses %s, and changes nothing', (_, what, errno) => {
    const w = here();
    add(w);
    packetIn(w, 1);
    const before = w.kernel.snapshot().sas;
    expect(set(w, what as PfkeyExtensions).map((message) => message.errno)).toEqual([errno]);
    expect(w.kernel.snapshot().sas).toEqual(before);
  });

  it('refuses what is not there, and what is not established', () => {
    const w = here();
    const answer = (spi: number): number | undefined =>
      tell(w.pfkey, pfkeyMessage('X_REPLAY_SET', { ...saId(spi), ...threshold(1, 0) }))[0]?.errno;
    expect(answer(0x200)).toBe(3);
    tell(w.pfkey, pfkeyMessage('GETSPI', { ...saId(), sa: undefined, spirange: { min: 0x200, max: 0x200 } } as never));
    expect(answer(0x200)).toBe(22);
    expect(get(w)).toMatchObject({ kind: 'X_REPLAY_GET', errno: 0, extensions: { sa: { state: 0 } } });
    expect(tell(w.pfkey, pfkeyMessage('X_REPLAY_GET', saId(0x999))).map(({ errno }) => errno)).toEqual([3]);
    expect(tell(w.pfkey, pfkeyMessage('X_REPLAY_GET', {})).map(({ errno }) => errno)).toEqual([22]);
    // Only the kernel sends it.
    expect(tell(w.pfkey, pfkeyMessage('X_REPLAY_NOTIFY', saId())).map(({ errno }) => errno)).toEqual([95]);
  });

  it('a state whose bitmap is not there is refused', () => {
    const w = here();
    add(w);
    const bytes = encodePfkey(pfkeyMessage('X_REPLAY_SET', { ...saId(), ...legacy(1n, 1n, 1) }));
    // bmpLen, 20 bytes before the end: packetsHigh, the bitmap's word and padding follow.
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(bytes.length - 20, 3, hostLittleEndian);
    w.pfkey.send(bytes);
    expect(pfkeyReceived(w.pfkey).map(({ errno }) => errno)).toEqual([22]);
  });
});
