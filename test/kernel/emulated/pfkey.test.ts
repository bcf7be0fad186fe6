import { describe, expect, it } from 'vitest';
import { KernelError } from '../../../src/kernel/index.ts';
import { encodePfkey, type PfkeyMessage, SaType } from '../../../src/pfkey/index.ts';
import { hostLittleEndian } from '../../../src/wire/index.ts';
import { encodeMessage, XfrmGroup } from '../../../src/xfrm/index.ts';
import { pfkeyBytes, pfkeyMessage, pfkeyReceived, saId, saKeys, tell } from './pfkey-world.ts';
import { ask, newPolicy, newSa, received, type World, world } from './world.ts';

const errors = (run: () => void): unknown[] => {
  try {
    run();
  } catch (error) {
    if (error instanceof KernelError) return [error.code, error.errno];
    throw error;
  }
  return [];
};

function both(): World & { pfkey: ReturnType<World['kernel']['openPfkeyNow']> } {
  const here = world();
  return { ...here, pfkey: here.kernel.openPfkeyNow() };
}

describe('PF_KEY sockets', () => {
  it('are opened through the door, with a large receive buffer', async () => {
    const { kernel } = world();
    const socket = await kernel.openPfkey();
    expect(socket.receiveBufferBytes).toBeGreaterThan(64 << 20);
    const kinds: string[] = [];
    socket.receive((batch) => kinds.push(`${batch.count}`));
    socket.send(encodePfkey(pfkeyMessage('DUMP', {}, { satype: SaType.UNSPEC })));
    socket.drain();
    expect(kinds).toEqual(['1']);
    socket.close();
    expect(errors(() => socket.send(new Uint8Array(16)))).toEqual(['ERR_CLOSED', undefined]);
    expect(kernel.engine.pfkey.isEmpty).toBe(true);
  });

  it('need CAP_NET_ADMIN to open, and not to send', () => {
    const { kernel } = world();
    expect(errors(() => kernel.openPfkeyNow({ privileged: false }))).toEqual(['ERR_PERMISSION', 1]);
  });

  it('refuse what is no message: too short here, and as Linux does', () => {
    const { pfkey } = both();
    const bare = encodePfkey(pfkeyMessage('GET'));
    expect(errors(() => pfkey.send(new Uint8Array(15)))).toEqual(['ERR_ARGUMENT', undefined]);
    expect(errors(() => pfkey.send(bare.map((byte, i) => (i === 0 ? 1 : byte))))).toEqual(['ERR_MALFORMED', 22]);
    expect(errors(() => pfkey.send(bare.map((byte, i) => (i === 4 ? 3 : byte))))).toEqual(['ERR_MALFORMED', 90]);
    expect(errors(() => pfkey.send(new Uint8Array(300_000)))).toEqual(['ERR_TOO_LARGE', 90]);
    expect(pfkeyReceived(pfkey)).toEqual([]);
  });

  it('take a last word that is cut off for an extension, as Linux does', () => {
    const { pfkey } = both();
    const errnos = [1, 3, 4, 7].map((more) => {
      const bytes = new Uint8Array(16 + more);
      bytes.set(encodePfkey(pfkeyMessage('GET')));
      bytes.fill(1, 16);
      pfkey.send(bytes);
      return pfkeyReceived(pfkey).map(({ errno }) => errno);
    });
    expect(errnos).toEqual([[22], [22], [22], [22]]);
  });

  it('announce a policy with templates of two families as longer than it is, as Linux does', () => {
    const { pfkey } = both();
    const net = (w0: number) => ({
      proto: 255,
      prefixlen: 64,
      sockaddr: { family: 10, port: 0, address: { w0, w1: 0, w2: 0, w3: 0 } },
    });
    const end = (w0: number) => ({ family: 2, port: 0, address: { w0, w1: 0, w2: 0, w3: 0 } });
    const addresses = { src: end(0x0a09_0001), dst: end(0x0a09_0002) };
    const requests = [
      { proto: 50, mode: 2, level: 2, reqid: 0, addresses },
      { proto: 50, mode: 1, level: 2, reqid: 0 },
    ];
    const policy = { type: 2, dir: 2, id: 0, priority: 0, requests };
    const extensions = { addressSrc: net(0xfd08_0000), addressDst: net(0xfd05_0000), policy };
    pfkey.send(encodePfkey(pfkeyMessage('X_SPDADD', extensions)));
    const [told] = pfkeyBytes(pfkey);
    const view = new DataView(told?.buffer ?? new ArrayBuffer(16));
    expect([told?.length, 8 * view.getUint16(4, hostLittleEndian)]).toEqual([272, 296]);
  });

  it('lose what does not fit without a word: no overrun', () => {
    const here = both();
    here.pfkey.setReceiveBuffer(1);
    let overruns = 0;
    here.pfkey.onOverrun(() => overruns++);
    for (let spi = 1; spi <= 9; spi++) ask(here, newSa({}, spi));
    const [{ waiting, drops } = here.pfkey.snapshot()] = here.kernel.snapshot().pfkeySockets;
    expect(waiting).toBeGreaterThan(0);
    expect(waiting + drops).toBe(9);
    expect(drops).toBeGreaterThan(0);
    here.pfkey.drain();
    expect(overruns).toBe(0);
  });

  it('tell of what is lost if they are asked to: once for each time that they are read', () => {
    const { kernel, ...rest } = world();
    const socket = kernel.openPfkeyNow({ receiveBufferBytes: 1, tellOverruns: true });
    const told: string[] = [];
    socket.onOverrun(() => told.push('overrun'));
    socket.receive(({ count }) => told.push(`${count}`));
    for (let spi = 1; spi <= 9; spi++) ask({ kernel, ...rest }, newSa({}, spi));
    const { waiting } = socket.snapshot();
    socket.drain();
    expect(told).toEqual(['overrun', `${waiting}`]);
    ask({ kernel, ...rest }, newSa({}, 10));
    socket.drain();
    expect(told).toEqual(['overrun', `${waiting}`, '1']);
  });

  it('hold a dump up that has no room, and go on as it is read', () => {
    const here = both();
    for (let spi = 1; spi <= 200; spi++) ask(here, newSa({}, spi));
    pfkeyReceived(here.pfkey);
    here.pfkey.setReceiveBuffer(8192);
    here.pfkey.send(encodePfkey(pfkeyMessage('DUMP', {}, { satype: SaType.UNSPEC, seq: 9 })));
    expect(here.pfkey.snapshot().dumping).toBe(true);
    expect(here.pfkey.snapshot().waiting).toBeLessThan(50);
    here.pfkey.send(encodePfkey(pfkeyMessage('DUMP', {}, { satype: SaType.UNSPEC, seq: 10 })));
    const messages = pfkeyReceived(here.pfkey);
    const parts = messages.filter(({ errno }) => errno === 0);
    expect(messages.filter(({ errno }) => errno !== 0).map(({ errno, seq }) => [errno, seq])).toEqual([[16, 10]]);
    expect(parts.map(({ seq }) => seq)).toEqual([...Array.from({ length: 199 }, (_, i) => i + 1), 0]);
    expect(new Set(parts.map(({ extensions }) => extensions.sa?.spi)).size).toBe(200);
    expect(here.pfkey.snapshot().dumping).toBe(false);
  });

  it('hand a dump over batch by batch', async () => {
    const here = both();
    for (let spi = 1; spi <= 500; spi++) ask(here, newSa({}, spi));
    pfkeyReceived(here.pfkey);
    here.pfkey.setReceiveBuffer(8192);
    let count = 0;
    here.pfkey.receive((batch) => {
      count += batch.count;
    });
    here.pfkey.send(encodePfkey(pfkeyMessage('DUMP', {}, { satype: SaType.UNSPEC })));
    here.pfkey.drain();
    expect(count).toBe(500);
  });

  it('have faults as netlink ones have', () => {
    const here = both();
    here.pfkey.loseNext({ type: 3 });
    expect(tell(here.pfkey, pfkeyMessage('ADD', { ...saId(), ...saKeys }))).toEqual([]);
    expect(tell(here.pfkey, pfkeyMessage('GET', saId())).map(({ kind }) => kind)).toEqual(['GET']);
    here.pfkey.refuseSends(1);
    expect(errors(() => tell(here.pfkey, pfkeyMessage('GET', saId())))).toEqual(['ERR_SYSCALL', 105]);
    here.kernel.memoryPressure = true;
    expect(errors(() => tell(here.pfkey, pfkeyMessage('GET', saId())))).toEqual(['ERR_SYSCALL', 105]);
    here.kernel.clearFaults();
    expect(tell(here.pfkey, pfkeyMessage('GET', saId()))).toHaveLength(1);
  });
});

describe('one database for both', () => {
  it('what netlink makes PF_KEY is told of, with the number and the process of the request', () => {
    const here = both();
    ask(here, { ...newSa(), seq: 41, pid: 42 });
    const [added] = pfkeyReceived(here.pfkey);
    expect(added).toMatchObject({ kind: 'ADD', seq: 41, pid: 42, errno: 0, satype: SaType.ESP });
    expect(added?.extensions).toMatchObject({ sa: { spi: 0x200, replay: 32, encrypt: 0 }, sa2: { mode: 1, reqid: 7 } });
    expect(tell(here.pfkey, pfkeyMessage('GET', saId())).map(({ kind }) => kind)).toEqual(['GET']);
  });

  it('what PF_KEY makes netlink is told of, silent as it is', () => {
    const here = both();
    const listener = here.kernel.openNow({ groups: [XfrmGroup.SA, XfrmGroup.AEVENTS] });
    tell(here.pfkey, pfkeyMessage('ADD', { ...saId(), ...saKeys }, { seq: 51, pid: 52 }));
    expect(received(listener)).toMatchObject([
      { kind: 'NEWSA', seq: 51, pid: 52, body: { seq: 51, replayWindow: 32 } },
    ]);
    expect(here.kernel.snapshot().sas[0]?.thresholds).toEqual({ packets: 0, jiffies: 0 });
    tell(here.pfkey, pfkeyMessage('DELETE', saId(), { seq: 53, pid: 54 }));
    expect(received(listener)).toMatchObject([{ kind: 'DELSA', seq: 53, pid: 54 }]);
    expect(here.kernel.snapshot().sas).toEqual([]);
  });

  it('policies of either are seen by the other', () => {
    const here = both();
    const listener = here.kernel.openNow({ groups: [XfrmGroup.POLICY] });
    ask(here, newPolicy({}, 1));
    const [added] = pfkeyReceived(here.pfkey) as PfkeyMessage<'X_SPDADD'>[];
    expect(added).toMatchObject({ kind: 'X_SPDADD', seq: 3, pid: 0 });
    const id = added?.extensions.policy?.id ?? 0;
    expect(received(listener)).toHaveLength(1);
    const policy = { type: 0, dir: 0, id, priority: 0, requests: [] };
    tell(here.pfkey, pfkeyMessage('X_SPDDELETE2', { policy }, { seq: 61, pid: 62 }));
    expect(received(listener)).toMatchObject([{ kind: 'DELPOLICY', seq: 61, pid: 62, body: { index: id } }]);
    expect(here.kernel.snapshot().policies).toEqual([]);
  });

  it('PF_KEY of another namespace hears nothing', () => {
    const here = both();
    const elsewhere = here.kernel.namespace().openPfkeyNow();
    ask(here, newSa());
    expect(pfkeyReceived(here.pfkey)).toHaveLength(1);
    expect(pfkeyReceived(elsewhere)).toEqual([]);
  });

  it('an SA that was given up is not asked for again, nor found by its number', () => {
    const here = both();
    tell(here.pfkey, pfkeyMessage('REGISTER'));
    ask(here, newPolicy({}, 1));
    pfkeyReceived(here.pfkey);
    const bytes = (w0: number): Uint8Array => Uint8Array.of(w0 >>> 24, w0 >>> 16, w0 >>> 8, w0, ...new Uint8Array(12));
    const flow = { family: 2, saddr: bytes(0x0a09_0002), daddr: bytes(0x0a09_0001), proto: 17, sport: 1, dport: 2 };
    const packet = { flow, mark: 0, ifId: 0, payloadBytes: 9, packetBytes: 29 };
    here.kernel.output(packet);
    const [asked] = pfkeyReceived(here.pfkey);
    expect(asked).toMatchObject({ kind: 'ACQUIRE', satype: SaType.ESP });
    const failed = { ...pfkeyMessage('ACQUIRE', {}, { seq: asked?.seq ?? 0 }), errno: 3 };
    expect(tell(here.pfkey, failed)).toEqual([]);
    here.kernel.output(packet);
    expect(pfkeyReceived(here.pfkey)).toEqual([]);
    here.clock.advance(60_000);
    here.kernel.output(packet);
    expect(pfkeyReceived(here.pfkey).map(({ kind }) => kind)).toEqual(['EXPIRE', 'ACQUIRE']);
  });

  it('a message that is answered is not kept: its sender may use the memory again', () => {
    const here = both();
    const bytes = encodePfkey(pfkeyMessage('ADD', { ...saId(), ...saKeys }));
    here.pfkey.send(bytes);
    bytes.fill(0xff);
    const [, got] = tell(here.pfkey, pfkeyMessage('GET', saId()));
    expect(got?.extensions.keyEncrypt?.key).toEqual(new Uint8Array(16).fill(2));
    here.requests.send(encodeMessage(newSa({}, 0x300)));
    expect(pfkeyReceived(here.pfkey)).toHaveLength(1);
  });
});
