import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nowMs } from '../../src/demo/clock.ts';
import { Relay } from '../../src/demo/relay.ts';
import { openUdp, type UdpSocket } from '../../src/demo/sockets.ts';
import { unreadAt } from '../../src/demo/unread.ts';

/** A relay with real sockets at its ends. */

interface End extends UdpSocket {
  readonly got: Buffer[];
}

async function end(): Promise<End> {
  const got: Buffer[] = [];
  return { ...(await openUdp((packet) => got.push(packet))), got };
}

const esp = (spi: number, seq: number, text = 'sealed') => {
  const packet = Buffer.alloc(8 + text.length);
  packet.writeUInt32BE(spi, 0);
  packet.writeUInt32BE(seq, 4);
  packet.write(text, 8);
  return packet;
};
const KEEPALIVE = Buffer.from([0xff]);

let relay: Relay;
let gwa: End;
let gwb: End;
let peer: End;

beforeEach(async () => {
  [relay, gwa, gwb, peer] = await Promise.all([Relay.open(), end(), end(), end()]);
  relay.wire({ gwa: gwa.port, gwb: gwb.port, peer: peer.port });
});

afterEach(() => {
  for (const each of [relay, gwa, gwb, peer]) each.close();
});

/** The test's own time-out bounds it. */
async function until(right: () => boolean): Promise<void> {
  while (!right()) await new Promise((resolve) => setTimeout(resolve, 2));
}

const fromGateway = async (gateway: End, packet: Buffer) => {
  const before = peer.got.length;
  gateway.send(packet, relay.ports().forGateways);
  await until(() => peer.got.length > before);
};
const fromPeer = async (packet: Buffer, to: End) => {
  const before = to.got.length;
  peer.send(packet, relay.ports().forPeer);
  await until(() => to.got.length > before);
};

describe('the path', () => {
  it('relays to the gateway from which it has heard last', async () => {
    await fromGateway(gwa, KEEPALIVE);
    await fromPeer(esp(1, 1), gwa);
    expect(relay.counts()).toMatchObject({ holder: 'gwa', recorded: 1 });
    await fromGateway(gwb, KEEPALIVE);
    await fromPeer(esp(1, 2), gwb);
    expect(relay.counts().holder).toBe('gwb');
    expect(gwa.got).toEqual([esp(1, 1)]);
    expect(gwb.got).toEqual([esp(1, 2)]);
  });

  it('does not listen to strangers', async () => {
    const stranger = await end();
    await fromGateway(gwa, KEEPALIVE);
    stranger.send(esp(9, 9), relay.ports().forGateways);
    stranger.send(esp(9, 9), relay.ports().forPeer);
    await fromGateway(gwa, esp(2, 1));
    await fromPeer(esp(1, 1), gwa);
    expect(peer.got).toEqual([KEEPALIVE, esp(2, 1)]);
    expect(gwa.got).toEqual([esp(1, 1)]);
    expect(relay.counts().recorded).toBe(2);
    stranger.close();
  });

  it('replays each packet as it was, at the side for which it was', async () => {
    await fromGateway(gwa, esp(2, 1));
    await fromPeer(esp(1, 1), gwa);
    await fromPeer(esp(1, 2), gwa);
    await fromGateway(gwb, esp(2, 2));
    expect(await relay.replay({ target: 'active' })).toBe(2);
    expect(await relay.replay({ target: 'peer' })).toBe(2);
    await until(() => gwb.got.length === 2 && peer.got.length === 4);
    expect(gwb.got).toEqual([esp(1, 1), esp(1, 2)]);
    expect(peer.got.slice(2)).toEqual([esp(2, 1), esp(2, 2)]);
    // What is injected is not recorded.
    expect(relay.counts()).toMatchObject({ recorded: 4, replayed: 4 });
  });

  it('replays the newest of each SPI first, and only what came before a time', async () => {
    await fromGateway(gwa, KEEPALIVE);
    for (const packet of [esp(1, 1), esp(1, 2), esp(2, 1)]) await fromPeer(packet, gwa);
    const beforeMs = nowMs();
    await fromPeer(esp(1, 3), gwa);
    await relay.replay({ target: 'active', beforeMs, newest: 2, limit: 2 });
    await until(() => gwa.got.length === 6);
    expect(gwa.got.slice(4)).toEqual([esp(1, 2), esp(2, 1)]);
  });

  it('sends no more at a time than a socket buffer holds', async () => {
    await fromGateway(gwa, KEEPALIVE);
    for (let seq = 1; seq <= 200; seq++) await fromPeer(esp(1, seq), gwa);
    await relay.replay({ target: 'active' });
    await until(() => gwa.got.length === 400);
  });
});

/** Says its port, then how many packets have come when it is told to (its standard input ends). */
const RECEIVER = `
  const socket = require('dgram').createSocket('udp4').bind(0, '127.0.0.1', () => console.log(socket.address().port));
  let count = 0;
  socket.on('message', () => count++);
  process.stdin.on('end', () => { console.log(count); process.exit(); }).resume();`;

describe('a receiver that is held up', () => {
  it.runIf(process.platform === 'linux')('loses nothing of a replay that is larger than its buffer', async () => {
    const receiver = spawn(process.execPath, ['-e', RECEIVER], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
      const port = Number((await lines.next()).value);
      await fromGateway(gwa, KEEPALIVE);
      const packets = 1000;
      for (let seq = 1; seq <= packets; seq++) await fromPeer(esp(1, seq), gwa);
      // The gateway's packets go to the receiver from now on, which stands still until much more was sent than its buffer holds.
      relay.wire({ gwa: port, gwb: gwb.port, peer: peer.port });
      receiver.kill('SIGSTOP');
      const replayed = relay.replay({ target: 'active' });
      const stood = await Promise.race([replayed.then(() => 'replayed'), sleep(1000, 'held up')]);
      expect(stood).toBe('held up');
      expect(unreadAt(port)).toBeGreaterThan(0);
      receiver.kill('SIGCONT');
      expect(await replayed).toBe(packets);
      expect(unreadAt(port)).toBe(0);
      receiver.stdin.end();
      expect((await lines.next()).value).toBe(String(packets));
    } finally {
      receiver.kill('SIGKILL');
    }
  });
});

describe('what the recording says', () => {
  it('finds a number that both gateways used, and one that a gateway used for two packets', async () => {
    await fromGateway(gwa, esp(2, 1));
    await fromGateway(gwa, esp(2, 1));
    expect(relay.reused()).toEqual([]);
    await fromGateway(gwa, esp(2, 1, 'other'));
    await fromGateway(gwb, esp(2, 1));
    expect(relay.reused()).toEqual([
      { spi: 2, seq: 1, ports: ['gwa', 'gwa'] },
      { spi: 2, seq: 1, ports: ['gwa', 'gwb'] },
    ]);
  });

  it('knows SPIs, last numbers and what was left out', async () => {
    await fromGateway(gwa, esp(2, 7));
    await fromGateway(gwa, esp(3, 9));
    await fromPeer(esp(1, 1), gwa);
    const killMs = nowMs();
    await fromGateway(gwb, esp(2, 100));
    const backMs = nowMs();
    await fromGateway(gwa, esp(2, 200));
    expect(relay.spis(['gwa', 'peer'], 0, killMs)).toEqual([2, 3, 1]);
    expect(relay.spis(['gwb'], killMs, backMs)).toEqual([2]);
    expect([...relay.lastNumbers('gwa', killMs)]).toEqual([
      [2, 7],
      [3, 9],
    ]);
    expect([...relay.skips('gwa', 'gwb', killMs, backMs)]).toEqual([[2, 92]]);
  });
});
