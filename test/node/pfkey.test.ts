import { afterEach, describe, expect, it, vi } from 'vitest';
import { PfkeyClient, type Request, type Sa } from '../../src/client/index.ts';
import { EmulatedKernel, type EmulatedPfkeyOptions, newInboundFacts } from '../../src/kernel/emulated/index.ts';
import { type Kernel, unixKernel } from '../../src/kernel/index.ts';
import { forEachMessage } from '../../src/netlink/index.ts';
import { AuthAlg, EncryptAlg, type PfkeyExtensions, PfkeyMsg, SaState, SaType } from '../../src/pfkey/index.ts';
import { policy, sa } from '../../src/simulator/sas.ts';
import { XfrmGroup, XfrmMsg } from '../../src/xfrm/index.ts';
import { Cluster, TEST_TIMEOUT_MS } from './daemons.ts';
import { Doors, IN, id, OUT } from './doors.ts';

vi.setConfig({ testTimeout: TEST_TIMEOUT_MS });

/** Daemons whose kernels speak PF_KEY with them. test/node/pair.test.ts has what is the same over netlink. */

const END = 0xffff_ffff;
const [BITMAP, ESN] = [0x103, 0x104];

/** What a daemon has asked of its kernel. */
class Overheard {
  readonly groups = new Set<number>();
  readonly netlink = new Set<number>();
  readonly pfkey = new Set<number>();
}

/** Listens to what is opened and sent, from then on. */
function overhear(kernel: EmulatedKernel): Overheard {
  const overheard = new Overheard();
  const [open, openPfkey] = [kernel.open.bind(kernel), kernel.openPfkey.bind(kernel)];
  kernel.open = async (options = {}) => {
    const groups = [...(options.groups ?? [])];
    for (const group of groups) overheard.groups.add(group);
    const socket = await open({ ...options, groups });
    const send = socket.send.bind(socket);
    socket.send = (datagram) => {
      const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
      forEachMessage(datagram, (at) => void overheard.netlink.add(view.getUint16(at + 4, true)), 0, datagram.length);
      send(datagram);
    };
    return socket;
  };
  kernel.openPfkey = async (options?: EmulatedPfkeyOptions) => {
    const socket = await openPfkey(options);
    const send = socket.send.bind(socket);
    socket.send = (datagram) => {
      overheard.pfkey.add(datagram[1] as number);
      send(datagram);
    };
    return socket;
  };
  return overheard;
}

const address = (w0: number): NonNullable<PfkeyExtensions['addressSrc']> => ({
  proto: 0,
  prefixlen: 32,
  sockaddr: { family: 2, port: 0, address: { w0, w1: 0, w2: 0, w3: 0 } },
});

/** What names an SA to a PF_KEY program. */
const named = (spi: number): PfkeyExtensions => ({
  sa: { spi, replay: 32, state: SaState.MATURE, auth: AuthAlg.SHA1HMAC, encrypt: EncryptAlg.AESCBC, flags: 0 },
  addressSrc: address(sa(spi).body.saddr.w0),
  addressDst: address(sa(spi).body.id.daddr.w0),
});
const keys: PfkeyExtensions = {
  keyAuth: { bits: 160, key: new Uint8Array(20).fill(1) },
  keyEncrypt: { bits: 128, key: new Uint8Array(16).fill(2) },
};

/** A program beside the daemon. */
async function program(
  kernel: Kernel,
  kind: 'X_REPLAY_GET' | 'X_REPLAY_SET' | 'ADD' | 'UPDATE' | 'DELETE' | 'FLUSH',
  spi: number,
  more: PfkeyExtensions = {},
): Promise<PfkeyExtensions> {
  await using client = await PfkeyClient.open(kernel);
  const extensions = kind === 'FLUSH' ? {} : { ...named(spi), ...more };
  return (await client.request({ kind, satype: SaType.ESP, extensions })).extensions;
}

/** What the data plane knows of a packet that has come in. */
function packet(spi: number, seq: number) {
  const { daddr, family, proto } = id(spi);
  return { ...newInboundFacts(), daddr, family, proto, spi, seq, bytes: 100 };
}

/** `count` packets come in, one after the other. */
function arrive(kernel: EmulatedKernel, count: number, spi: number, from = 1): void {
  for (let seq = from; seq < from + count; seq++) kernel.input(packet(spi, seq));
}

/** The replay state of an SA, whichever form it has. */
const stateOf = (one: Sa | undefined) => one?.attributes.replayEsnVal ?? one?.attributes.replayVal;

let cluster: Cluster | undefined;
afterEach(() => cluster?.[Symbol.asyncDispose]());

async function running(sas: readonly Sa[] = [], settings: (string | Record<string, unknown>)[] = []) {
  const made = await Cluster.make({ via: 'pfkey' });
  cluster = made;
  for (const name of ['a', 'b'] as const) await made.set(name, ...settings);
  const doors = await Doors.make();
  await doors.with('a', async (client) => {
    for (const one of sas) await client.addSa(one);
  });
  const heard = { a: overhear(doors.a), b: overhear(doors.b) };
  await made.start('a', doors.a);
  await made.start('b', doors.b);
  await made.until('b', (s) => s.complete && s.unseenMs !== null && s.installed === s.sas);
  return { cluster: made, doors, heard };
}

describe('a pair over PF_KEY', () => {
  it('sends no NEWAE and no GETAE, and joins neither AEVENTS nor the groups of SAs', async () => {
    const { cluster, doors, heard } = await running();
    doors.transmit('a', 500);
    arrive(doors.a, 50, IN);
    await cluster.until('b', (s) => s.counts.updatesReceived > 0);
    await cluster.control('b', { command: 'promote' });
    await cluster.until('a', (s) => s.complete && s.term === 2);
    doors.transmit('b', 10);
    await cluster.stop('b');
    await cluster.until('a', (s) => !s.peers.some(({ connected }) => connected));
    await cluster.control('a', { command: 'promote' });
    for (const { groups, netlink, pfkey } of [heard.a, heard.b]) {
      expect([...groups].sort()).toEqual([XfrmGroup.POLICY, XfrmGroup.MIGRATE].sort());
      expect(netlink).toContain(XfrmMsg.GETSA);
      expect(netlink).not.toContain(XfrmMsg.NEWAE);
      expect(netlink).not.toContain(XfrmMsg.GETAE);
      expect([...pfkey].sort()).toEqual([PfkeyMsg.REGISTER, PfkeyMsg.X_REPLAY_SET, PfkeyMsg.X_REPLAY_GET].sort());
    }
    expect(await cluster.status('a')).toMatchObject({ kernel: 'emulated', via: 'pfkey' });
    expect(cluster.said('a', 'over PF_KEY')).toHaveLength(1);
  });

  it('gets counters of SAs of every form by X_REPLAY_NOTIFY, and keeps them parked by X_REPLAY_SET', async () => {
    const sas = [
      sa(BITMAP, { bitmap: true, window: 64 }),
      sa(ESN, { esn: true, window: 128, oseqHi: 2, oseq: END - 20 }),
    ];
    const { cluster, doors } = await running(sas, ['replicate', { sweep_ms: 0 }]);
    for (const spi of [OUT, BITMAP, ESN]) doors.transmit('a', 40, spi);
    arrive(doors.a, 30, IN);
    const shown = async (spi: number) => (await cluster.status('b', true)).list?.find((one) => Number(one.spi) === spi);
    await cluster.when(async () => (await shown(OUT))?.oseq === 40 && (await shown(BITMAP))?.oseq === 40);
    // Over the end of the lower half.
    await cluster.when(async () => (await shown(ESN))?.oseq === 3 * 2 ** 32 + 19);
    await cluster.when(async () => (await shown(IN))?.seq === 30);
    expect((await cluster.status('a')).counts).toMatchObject({ swept: 0, overruns: 0 });
    expect((await cluster.status('a')).counts.aevents).toBeGreaterThan(3);
    // The standby's kernel is kept current, and cannot send.
    await cluster.when(async () => (await program(doors.b, 'X_REPLAY_GET', IN)).replayState?.seq === 30n);
    expect((await program(doors.b, 'X_REPLAY_GET', OUT)).replayState?.oseq).toBe(BigInt(END));
    expect((await program(doors.b, 'X_REPLAY_GET', ESN)).replayState?.oseq).toBe(2n ** 64n - 1n);
    for (const spi of [OUT, BITMAP, ESN]) expect(doors.transmit('b', 1, spi)).toEqual([]);
  });

  it('hands over exactly: numbers of 64 bits, windows, and packets of more than 32 bits', async () => {
    const packets = 3n * 2n ** 32n + 5n;
    const attributes = { ltimeVal: { bytes: 2n ** 45n, packets, addTime: 1_700_000_000n, useTime: 0n } };
    const long = sa(ESN, { esn: true, window: 128, oseqHi: 1, oseq: 7, attributes });
    const { cluster, doors } = await running([sa(BITMAP, { bitmap: true, window: 64 }), long]);
    arrive(doors.a, 70, BITMAP);
    arrive(doors.a, 3, BITMAP, 80);
    doors.transmit('a', 10, ESN);
    const before = stateOf(await doors.sa('a', BITMAP));
    expect(await cluster.control('b', { command: 'promote' })).toMatchObject({ kind: 'switchover', failed: 0 });
    expect(stateOf(await doors.sa('b', BITMAP))).toMatchObject({
      seq: 82,
      bmp: before && 'bmp' in before ? before.bmp : [],
    });
    expect(stateOf(await doors.sa('b', ESN))).toMatchObject({ oseqHi: 1, oseq: 18 });
    expect((await doors.sa('b', ESN))?.body.curlft.packets).toBe(packets + 10n);
    expect(doors.transmit('b', 1, ESN)).toEqual([19]);
    expect(doors.transmit('a', 1, ESN)).toEqual([]);
    // What has come in once does not come in again, and what is new does.
    expect(doors.b.input(packet(BITMAP, 82))).not.toBe(0);
    expect(doors.b.input(packet(BITMAP, 83))).toBe(0);
  });

  it('an active whose daemon is gone stops at its ceiling, and the other goes on above it', async () => {
    const { cluster, doors } = await running([], ['takeover', { mode: 'safe', grant_min: 64, grant_ms: 1 }]);
    await cluster.until('a', (s) => s.bound);
    doors.transmit('a', 10);
    await cluster.when(async () => (await cluster.status('b', true)).list?.some(({ oseq }) => oseq >= 10) ?? false);
    await cluster.stop('a');
    await cluster.until('b', (s) => !s.peers.some(({ connected }) => connected));
    const sent = doors.transmit('a', 1000);
    expect(sent.length).toBeGreaterThan(0);
    expect(sent.length).toBeLessThan(200);
    expect(doors.transmit('a', 1)).toEqual([]);
    expect(await cluster.control('b', { command: 'promote' })).toMatchObject({ kind: 'takeover', failed: 0 });
    const [next] = doors.transmit('b', 1);
    expect(next).toBeGreaterThan(sent.at(-1) as number);
  });

  it('a dismissed standby takes the ceilings away, limits by netlink and numbers by PF_KEY', async () => {
    const { cluster, doors } = await running([], ['takeover', { mode: 'safe', grant_min: 64, grant_ms: 1 }]);
    await cluster.stop('b');
    await cluster.until('a', (s) => !s.peers.some(({ connected }) => connected));
    await cluster.control('a', { command: 'dismiss' });
    await cluster.when(
      async () => (await doors.sa('a', OUT))?.body.lft.hardPacketLimit === sa(OUT).body.lft.hardPacketLimit,
    );
    expect(doors.transmit('a', 1000)).toHaveLength(1000);
  });
});

describe('thresholds over PF_KEY', () => {
  it('N grows with the rate and T is the target; the standby knows them, and stopping puts back what was found', async () => {
    const { cluster, doors } = await running([], ['exposure', { packets: 200, ms: 700 }]);
    const threshold = async (spi = OUT) => (await program(doors.a, 'X_REPLAY_GET', spi)).replayThreshold;
    // Told of over PF_KEY from the start, though netlink has given it the defaults.
    await using outside = await PfkeyClient.open(doors.a);
    const [src, dst] = [named(OUT).addressSrc?.sockaddr, named(OUT).addressDst?.sockaddr];
    if (src === undefined || dst === undefined) throw new Error('an SA has addresses');
    await cluster.when(
      async () =>
        (await outside.get({ satype: SaType.ESP, spi: OUT, src, dst }))?.extensions.replayThreshold !== undefined,
    );
    await cluster.when(async () => {
      doors.transmit('a', 200);
      const { packets = 0, milliseconds } = (await threshold()) ?? {};
      return packets > 2 && milliseconds === 700;
    });
    const packets = (await threshold())?.packets ?? 0;
    expect(packets).toBeLessThanOrEqual(201);
    const known = async () => (await cluster.status('b', true)).list?.find(({ spi }) => Number(spi) === OUT);
    await cluster.when(async () => ((await known())?.thresholdPackets ?? 0) > 2);
    await cluster.when(async () => (await known())?.thresholdTimerMs === 700);
    await cluster.resign('a');
    expect(await threshold()).toEqual({ packets: 2, milliseconds: 1000 });
  });

  it('that somebody has switched off are found by the sweep, and switched on again', async () => {
    const { cluster, doors } = await running([], ['replicate', { sweep_ms: 200 }]);
    await cluster.when(async () => (await program(doors.a, 'X_REPLAY_GET', OUT)).replayThreshold?.packets === 2);
    await program(doors.a, 'X_REPLAY_SET', OUT, { replayThreshold: { packets: 0, milliseconds: 0 } });
    await cluster.when(async () => ((await program(doors.a, 'X_REPLAY_GET', OUT)).replayThreshold?.packets ?? 0) > 0);
    const before = (await cluster.status('a')).counts.aevents;
    doors.transmit('a', 20);
    await cluster.until('a', (s) => s.counts.aevents > before);
  });
});

describe('what PF_KEY tells', () => {
  it('of SAs that programs add, change, delete and flush is followed', async () => {
    const { cluster, doors } = await running();
    await program(doors.a, 'ADD', 0x201, keys);
    await cluster.when(async () => (await doors.sa('b', 0x201))?.attributes.algCrypt?.name === 'cbc(aes)');
    doors.transmit('a', 9, 0x201);
    const shown = async (spi: number) => (await cluster.status('b', true)).list?.find((one) => Number(one.spi) === spi);
    await cluster.when(async () => (await shown(0x201))?.oseq === 9);
    const limits = { allocations: 0, bytes: 12_345n, addtime: 0n, usetime: 0n };
    await program(doors.a, 'UPDATE', 0x201, { ...keys, lifetimeHard: limits, lifetimeSoft: limits });
    await cluster.when(async () => (await doors.sa('b', 0x201))?.body.lft.hardByteLimit === 12_345n);
    await program(doors.a, 'DELETE', 0x201);
    await cluster.when(async () => (await doors.sa('b', 0x201)) === undefined);
    // In its place another one, with other keys, before anybody has looked.
    await doors.with('a', async (client) => {
      await client.deleteSa(id(IN));
      await client.addSa(sa(IN, { key: 7 }));
    });
    await cluster.when(async () => (await doors.sa('b', IN))?.attributes.algAead?.key[0] === 7);
    await doors.with('a', (client) => client.addPolicy(policy('10.7.0.0')));
    await cluster.until('b', (s) => s.policies === 2);
    await program(doors.a, 'FLUSH', 0);
    await cluster.when(() => doors.count('b') === 0);
  });

  it('of a state that somebody else has set is read, and own settings are passed over', async () => {
    const { cluster, doors } = await running([], ['replicate', { sweep_ms: 0 }]);
    doors.transmit('a', 10);
    await cluster.when(async () => (await program(doors.a, 'X_REPLAY_GET', OUT)).replayThreshold !== undefined);
    await cluster.until('a', (s) => s.counts.aevents > 0);
    const shown = async () => (await cluster.status('b', true)).list?.find(({ spi }) => Number(spi) === OUT)?.oseq;
    await doors.with('a', (client) => client.setAevent(id(OUT), { replayVal: { oseq: 5000, seq: 0, bitmap: 0 } }));
    await cluster.when(async () => (await shown()) === 5000);
    const { replayState } = await program(doors.a, 'X_REPLAY_GET', OUT);
    if (replayState === undefined) throw new Error('a state is always there');
    await program(doors.a, 'X_REPLAY_SET', OUT, { replayState: { ...replayState, oseq: 6000n } });
    await cluster.when(async () => (await shown()) === 6000);
    // The takeover sets every state, and its own word of it is not taken for somebody's.
    const before = (await cluster.status('b')).counts.swept;
    await cluster.control('b', { command: 'promote' });
    await cluster.until('a', (s) => s.complete && s.term === 2);
    expect((await cluster.status('b')).counts).toMatchObject({ aevents: 0, swept: before });
  });

  it('and loses for want of room is told by an overrun, and read anew', async () => {
    const { cluster, doors } = await running(
      [],
      ['kernel', { receive_buffer_bytes: 4096 }, 'replicate', { sweep_ms: 0 }],
    );
    // Without a turn of the event loop in between: far more than the buffer holds, and what is lost is not only counters.
    const spis = Array.from({ length: 50 }, (_, i) => 0x300 + i);
    const requests: Request[] = spis.map((spi) => ({ kind: 'NEWSA', ...sa(spi) }));
    await doors.with('a', (client) => client.batch(requests));
    doors.transmit('a', 300);
    await cluster.until('a', (s) => s.counts.overruns > 0);
    await cluster.until('b', (s) => s.sas === 52);
    const shown = async () => (await cluster.status('b', true)).list?.find(({ spi }) => Number(spi) === OUT)?.oseq;
    await cluster.when(async () => (await shown()) === 300);
    // Also of SAs that were made in the overrun word comes.
    doors.transmit('a', 5, 0x310);
    await cluster.when(
      async () => (await cluster.status('b', true)).list?.find(({ spi }) => Number(spi) === 0x310)?.oseq === 5,
    );
  });
});

describe('what PF_KEY cannot do', () => {
  it('SAs with a mark are left alone, and it is said', async () => {
    const mark = { value: 5, mask: 0xff };
    const { cluster, doors } = await running([sa(0x400, { attributes: { mark } })]);
    expect((await cluster.status('a')).sas).toBe(2);
    await cluster.until('b', (s) => s.sas === 2 && s.installed === 2);
    expect(cluster.said('a', 'SAs with a mark are left alone')).toHaveLength(1);
    expect(doors.count('a')).toBe(3);
    expect(doors.count('b')).toBe(2);
  });

  it('a standby over PF_KEY refuses SAs with a mark of an active over netlink', async () => {
    const made = await Cluster.make();
    cluster = made;
    await made.set('b', 'kernel', { type: 'emulated', via: 'pfkey' });
    const doors = await Doors.make();
    const mark = { value: 5, mask: 0xff };
    await doors.with('a', (client) => client.addSa(sa(0x400, { attributes: { mark } })));
    await made.start('a', doors.a);
    await made.start('b', doors.b);
    await made.until('b', (s) => s.complete && s.installed === 2);
    expect(made.said('b', 'the kernel refused NEWSA').join()).toContain('cannot name an SA that has a mark');
    doors.transmit('a', 30);
    await made.when(async () => (await made.status('b', true)).list?.some(({ oseq }) => oseq === 30) ?? false);
    expect(await made.control('b', { command: 'promote' })).toMatchObject({ kind: 'switchover', failed: 1 });
    expect(doors.transmit('b', 1)).toEqual([32]);
  });

  it('a kernel without the extension is refused at the start', async () => {
    cluster = await Cluster.make({ via: 'pfkey' });
    await expect(cluster.start('a', unixKernel('/nowhere'))).rejects.toMatchObject({ code: 'ERR_NO_PFKEY' });
    // A kernel that has PF_KEY as Linux has it: it takes no such message.
    const plain = new EmulatedKernel();
    const openPfkey = plain.openPfkey.bind(plain);
    plain.openPfkey = async (options) => {
      const socket = await openPfkey(options);
      const send = socket.send.bind(socket);
      socket.send = (datagram) => send(datagram.map((byte, i) => (i === 1 && byte > 24 ? 99 : byte)));
      return socket;
    };
    await expect(cluster.start('a', plain)).rejects.toMatchObject({
      code: 'ERR_NO_PFKEY',
      message: expect.stringContaining('use netlink'),
    });
  });
});
