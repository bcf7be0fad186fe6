import { describe, expect, it } from 'vitest';
import {
  openReplayEvents,
  ReplayClient,
  ReplayCursor,
  saIdOf,
  saIdOfPfkey,
  XfrmClient,
} from '../../src/client/index.ts';
import { EmulatedKernel, newInboundFacts } from '../../src/kernel/emulated/index.ts';
import { type Batch, unixKernel } from '../../src/kernel/index.ts';
import {
  decodePfkey,
  encodePfkey,
  type PfkeyExtensions,
  type PfkeyMessageToBe,
  PfkeyReplayMode,
  ReplayReason,
  SaType,
} from '../../src/pfkey/index.ts';
import { sa } from '../../src/simulator/sas.ts';
import { AddressFamily, AeFlag, IpProto, parseAddress } from '../../src/xfrm/index.ts';

const v6 = parseAddress('2001:db8:1:2:3:4:5:6')?.address ?? { w0: 0, w1: 0, w2: 0, w3: 0 };
const address = (family: number, words: typeof v6): NonNullable<PfkeyExtensions['addressDst']> => ({
  proto: 0,
  prefixlen: 32,
  sockaddr: { family, port: 0, address: words },
});

const notification = (more: PfkeyExtensions = {}, header: Partial<PfkeyMessageToBe> = {}): PfkeyMessageToBe => ({
  kind: 'X_REPLAY_NOTIFY',
  errno: 0,
  satype: SaType.ESP,
  seq: 0,
  pid: 0,
  ...header,
  extensions: {
    sa: { spi: 0xc0ffee01, replay: 0, state: 1, auth: 0, encrypt: 0, flags: 0 },
    addressDst: address(AddressFamily.INET, { w0: 0xc0000201, w1: 0, w2: 0, w3: 0 }),
    lifetimeCurrent: { allocations: 7, bytes: (3n << 32n) + 1n, addtime: 1_700_000_000n, usetime: 1_700_000_001n },
    replayState: {
      mode: PfkeyReplayMode.ESN,
      oseq: (5n << 32n) + 6n,
      seq: (7n << 32n) + 8n,
      window: 64,
      bmpLen: 2,
      packetsHigh: 2,
      bitmap: [0xffff_ffff, 9],
    },
    replayReason: { reason: ReplayReason.PACKETS },
    ...more,
  },
});

/** At some odd place of a buffer, as in a batch. */
function read(bytes: Uint8Array, cursor = new ReplayCursor()): ReplayCursor {
  const buffer = new Uint8Array(bytes.length + 24);
  buffer.set(bytes, 8);
  return cursor.reset({ view: new DataView(buffer.buffer) }, 8, 8 + bytes.length);
}

describe('a cursor over X_REPLAY_NOTIFY', () => {
  it('reads what the message says, with the words of the one over NEWAE', () => {
    const cursor = read(encodePfkey(notification({}, { seq: 71, pid: 72 })));
    expect(cursor.next()).toBe(true);
    const { spi, proto, family, daddr0, daddr1, oseq, oseqHi, seq, seqHi, bytes, packets, addTime, useTime } = cursor;
    expect([spi, proto, family, daddr0, daddr1]).toEqual([0xc0ffee01, IpProto.ESP, AddressFamily.INET, 0xc0000201, 0]);
    expect([oseq, oseqHi, seq, seqHi]).toEqual([6, 5, 8, 7]);
    expect([bytes, packets, addTime, useTime]).toEqual([
      3 * 2 ** 32 + 1,
      2 * 2 ** 32 + 7,
      1_700_000_000,
      1_700_000_001,
    ]);
    expect([cursor.bitmap(), cursor.markValue, cursor.markMask]).toEqual([[0xffff_ffff, 9], 0, 0]);
    expect([cursor.requestSeq, cursor.requestPid, cursor.flags]).toEqual([71, 72, AeFlag.CR]);
    expect(cursor.next()).toBe(false);
  });

  it('knows IPv6, AH, and the other reasons', () => {
    const more = { addressDst: address(AddressFamily.INET6, v6), replayReason: { reason: ReplayReason.TIME } };
    const cursor = read(encodePfkey(notification(more, { satype: SaType.AH })));
    expect(cursor.next()).toBe(true);
    const { daddr0, daddr1, daddr2, daddr3, family, proto, flags } = cursor;
    expect({ w0: daddr0, w1: daddr1, w2: daddr2, w3: daddr3 }).toEqual(v6);
    expect([family, proto, flags]).toEqual([AddressFamily.INET6, IpProto.AH, AeFlag.CE]);
    const reason = ReplayReason.SET | ReplayReason.PACKETS;
    const set = read(encodePfkey(notification({ replayReason: { reason } })), cursor);
    expect([set.next(), set.flags]).toEqual([true, AeFlag.CU]);
  });

  it('passes over other messages, and ones that lack something', () => {
    expect(read(encodePfkey({ ...notification(), kind: 'X_REPLAY_GET' })).next()).toBe(false);
    for (const name of ['sa', 'addressDst', 'lifetimeCurrent', 'replayState', 'replayReason'] as const) {
      const message = notification();
      delete message.extensions[name];
      expect([name, read(encodePfkey(message)).next()]).toEqual([name, false]);
    }
  });

  it('reads nothing beyond a message, however it is cut off or spoiled', () => {
    const whole = encodePfkey(notification());
    const look = (bytes: Uint8Array): void => {
      const exact = new Uint8Array(bytes);
      const cursor = new ReplayCursor().reset({ view: new DataView(exact.buffer) }, 0, exact.length);
      if (!cursor.next()) return;
      cursor.bitmap();
      for (const name of ['daddr3', 'flags', 'packets', 'useTime', 'spi', 'seqHi', 'proto'] as const)
        expect(cursor[name]).toBeTypeOf('number');
    };
    for (let length = 0; length < whole.length; length++) look(whole.subarray(0, length));
    for (let at = 0; at < whole.length; at++) {
      for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
        const spoiled = whole.slice();
        spoiled[at] = value;
        look(spoiled);
      }
    }
  });
});

describe('requests of the extension', () => {
  const ids = [0x100, 0x101, 0x102].map((spi) => saIdOf(sa(spi)));

  async function machine(): Promise<EmulatedKernel> {
    const kernel = new EmulatedKernel();
    await using client = await XfrmClient.open(kernel);
    for (const spi of [0x100, 0x101]) await client.addSa(sa(spi));
    return kernel;
  }

  it('go out together, and their answers come in their order; failures are results', async () => {
    const client = await ReplayClient.open(await machine());
    const [first, missing] = [ids[0], ids[2]];
    if (first === undefined || missing === undefined) throw new Error('three SAs');
    const replayThreshold = { packets: 9, milliseconds: 400 };
    const many = Array.from({ length: 200 }, () => ({ kind: 'X_REPLAY_GET', id: first }) as const);
    const results = await client.batch([
      { kind: 'X_REPLAY_SET', id: first, extensions: { replayThreshold } },
      { kind: 'X_REPLAY_GET', id: missing },
      { kind: 'X_REPLAY_GET', id: { ...first, mark: { value: 1, mask: 1 } } },
      { kind: 'X_REPLAY_SET', id: { ...first, proto: IpProto.ROUTING } },
      ...many,
    ]);
    expect(results).toHaveLength(204);
    expect(results[0]).toMatchObject({ answer: { kind: 'X_REPLAY_SET', errno: 0 } });
    expect(results[1]).toMatchObject({ error: { code: 'ERR_KERNEL', errno: 3 } });
    expect(results[2]).toMatchObject({ error: { code: 'ERR_REQUEST', message: expect.stringContaining('mark') } });
    expect(results[3]).toMatchObject({ error: { code: 'ERR_REQUEST', message: expect.stringContaining('proto') } });
    for (const result of results.slice(4))
      expect(result).toMatchObject({ answer: { extensions: { replayThreshold } } });
    client.close();
    expect(await client.batch([{ kind: 'X_REPLAY_GET', id: first }])).toMatchObject([
      { error: { code: 'ERR_CLOSED' } },
    ]);
  });

  it('own ones are known by the announcement of what they have set', async () => {
    const kernel = await machine();
    const client = await ReplayClient.open(kernel);
    const socket = await openReplayEvents(kernel, 1 << 20);
    const heard: { own: boolean; reason: number | undefined }[] = [];
    socket.receive(({ buffer, count, offsets, lengths }: Batch) => {
      for (let i = 0; i < count; i++) {
        const start = offsets[i] as number;
        const { kind, seq, pid, extensions } = decodePfkey(buffer.subarray(start, start + (lengths[i] as number)));
        if (kind === 'X_REPLAY_NOTIFY')
          heard.push({ own: client.isOwn(seq, pid), reason: extensions.replayReason?.reason });
      }
    });
    const [id] = ids;
    if (id === undefined) throw new Error('an SA');
    await client.batch([
      { kind: 'X_REPLAY_SET', id, extensions: { replayThreshold: { packets: 1, milliseconds: 0 } } },
      {
        kind: 'X_REPLAY_SET',
        id,
        extensions: { lifetimeCurrent: { allocations: 1, bytes: 2n, addtime: 3n, usetime: 4n } },
      },
    ]);
    await using netlink = await XfrmClient.open(kernel);
    await netlink.setAevent(id, { replayVal: { oseq: 5, seq: 0, bitmap: 0 } });
    kernel.input({ ...newInboundFacts(), daddr: id.daddr, spi: id.spi, seq: 1, bytes: 1 });
    socket.drain();
    expect(heard).toEqual([
      { own: true, reason: ReplayReason.SET },
      { own: false, reason: ReplayReason.SET },
      { own: false, reason: ReplayReason.PACKETS },
    ]);
    socket.close();
    client.close();
  });

  it('are refused where there is no PF_KEY', async () => {
    await expect(ReplayClient.open(unixKernel('/nowhere'))).rejects.toMatchObject({ code: 'ERR_NO_PFKEY' });
    await expect(openReplayEvents(unixKernel('/nowhere'), 4096)).rejects.toMatchObject({ code: 'ERR_NO_PFKEY' });
  });
});

it('names SAs as netlink does', () => {
  const message = decodePfkey(encodePfkey(notification()));
  expect(saIdOfPfkey(message)).toEqual({
    daddr: { w0: 0xc0000201, w1: 0, w2: 0, w3: 0 },
    spi: 0xc0ffee01,
    proto: IpProto.ESP,
    family: AddressFamily.INET,
  });
  expect(saIdOfPfkey({ ...message, satype: SaType.UNSPEC })).toBeUndefined();
  expect(saIdOfPfkey({ ...message, extensions: {} })).toBeUndefined();
});
