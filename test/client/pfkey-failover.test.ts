import { expect, it } from 'vitest';
import { openPfkeyEvents, PfkeyClient } from '../../src/client/index.ts';
import { EmulatedKernel, newInboundFacts, outputSa, Verdict, VirtualClock } from '../../src/kernel/emulated/index.ts';
import { type PfkeyExtensions, type PfkeyMessage, ReplayReason, SaType, type Sockaddr } from '../../src/pfkey/index.ts';

/** The proposal of 2004 as it was meant: key managers that keep a standby's SAs in step by PF_KEY alone. */

const SPI = 0x300;
const N = 4;
const LOCAL = { w0: 0xc000_0202, w1: 0, w2: 0, w3: 0 };
const PEER = { w0: 0xc000_0201, w1: 0, w2: 0, w3: 0 };
const address = (of: typeof LOCAL): NonNullable<PfkeyExtensions['addressSrc']> => ({
  proto: 0,
  prefixlen: 32,
  sockaddr: { family: 2, port: 0, address: of } satisfies Sockaddr,
});

function saOf(satype: number): { readonly name: PfkeyExtensions; readonly keys: PfkeyExtensions } {
  const isEsp = satype === SaType.ESP;
  return {
    name: {
      sa: { spi: SPI, replay: 32, state: 1, auth: 3, encrypt: isEsp ? 12 : 0, flags: 0 },
      addressSrc: address(PEER),
      addressDst: address(LOCAL),
    },
    keys: {
      keyAuth: { bits: 160, key: new Uint8Array(20).fill(1) },
      ...(isEsp && { keyEncrypt: { bits: 128, key: new Uint8Array(16).fill(2) } }),
    },
  };
}

function packetIn(kernel: EmulatedKernel, proto: number, seq: number): Verdict {
  return kernel.input({ ...newInboundFacts(), daddr: LOCAL, saddr: PEER, spi: SPI, proto, seq, bytes: 100 });
}

it.each([
  ['ESP', SaType.ESP, 50],
  ['AH', SaType.AH, 51],
] as const)(
  'an %s SA goes on at a standby: notified, set there, and what was told is not accepted again',
  async (...row) => {
    const [, satype, proto] = row;
    const clock = new VirtualClock();
    const [active, standby] = [new EmulatedKernel({ clock }), new EmulatedKernel({ clock })];
    await using here = await PfkeyClient.open(active);
    await using there = await PfkeyClient.open(standby);
    await using stream = await openPfkeyEvents(active, { register: [satype] });
    const { name, keys } = saOf(satype);
    const replayThreshold = { packets: N, milliseconds: 0 };

    // Everything but the numbers changes so seldom that key managers carry it over when they make the SA.
    await here.request({ kind: 'ADD', satype, extensions: { ...name, ...keys, replayThreshold } });
    await there.request({ kind: 'ADD', satype, extensions: { ...name, ...keys } });

    for (let seq = 1; seq <= 2 * N + 1; seq++) expect(packetIn(active, proto, seq)).toBe(Verdict.ACCEPT);
    for (let i = 0; i < N; i++) expect(outputSa(active.engine, active.engine.sad.newest(), 100).sent).toBe(true);

    const told: PfkeyMessage<'X_REPLAY_NOTIFY'>[] = [];
    for await (const event of stream) {
      if (event.type !== 'message' || event.message.kind !== 'X_REPLAY_NOTIFY') continue;
      told.push(event.message as PfkeyMessage<'X_REPLAY_NOTIFY'>);
      if (told.length === 3) break;
    }
    const numbers = told.map(({ extensions: e }) => [e.replayReason?.reason, e.replayState?.seq, e.replayState?.oseq]);
    expect(numbers).toEqual([
      [ReplayReason.PACKETS, BigInt(N), 0n],
      [ReplayReason.PACKETS, BigInt(2 * N), 0n],
      // Of both numbers: what has moved less is told with it.
      [ReplayReason.PACKETS, BigInt(2 * N + 1), BigInt(N)],
    ]);

    const { replayState, lifetimeCurrent } = told.at(-1)?.extensions ?? {};
    if (replayState === undefined || lifetimeCurrent === undefined) throw new Error('told without state or lifetime');
    await there.request({ kind: 'X_REPLAY_SET', satype, extensions: { ...name, replayState, lifetimeCurrent } });
    const state = await there.request({ kind: 'X_REPLAY_GET', satype, extensions: name });
    expect(state.extensions).toMatchObject({ replayState, lifetimeCurrent });
    // Nobody has asked for notifications there.
    expect(state.extensions.replayThreshold).toEqual({ packets: 0, milliseconds: 0 });

    // The active dies; its numbers go on at the standby. Fewer than N packets can be there that nobody was told of.
    expect(packetIn(active, proto, 2 * N + 2)).toBe(Verdict.ACCEPT);
    for (let seq = 1; seq <= 2 * N + 1; seq++) expect(packetIn(standby, proto, seq)).toBe(Verdict.REPLAY);
    expect(packetIn(standby, proto, 2 * N + 2)).toBe(Verdict.ACCEPT);
    expect(outputSa(standby.engine, standby.engine.sad.newest(), 100)).toMatchObject({ sent: true, seq: N + 1 });
  },
);
