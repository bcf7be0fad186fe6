import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect as connectTls, createServer as createTls, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeFrame, LinkError, readIdentity } from '../../src/link/index.ts';
import type { Frame } from '../../src/replica/index.ts';
import { freePort, identities, Pair, raw } from './peers.ts';

/** docs/protocol.md. */
const FIRST_RETRY_MS = 100;

const ping = (timeMs: number): Frame => ({ type: 'ping', term: 1, timeMs, timeOfDayMs: 0 });
const counters = (timeMs: number, entries: number): Frame => ({
  type: 'counters',
  term: timeMs,
  entries: Array.from({ length: entries }, (_, handle) => ({
    handle,
    counters: {
      oseq: 1,
      oseqHi: 0,
      seq: 1,
      seqHi: 0,
      bitmap: undefined,
      bytes: 1e9,
      packets: 1e6,
      addTime: 1,
      useTime: 1,
    },
  })),
});

/** The other side's TLS by hand. */
function tls(
  port: number,
  identity: { key?: string; cert?: string } = identities.b,
  options: ConnectionOptions = {},
): Promise<{ socket: TLSSocket; closed: Promise<void> }> {
  const { key, cert } = identity;
  const pair = key === undefined || cert === undefined ? {} : { key, cert };
  const socket = connectTls({ host: '127.0.0.1', port, ...pair, rejectUnauthorized: false, ...options });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', () => {
      socket.on('error', () => {});
      socket.resume();
      resolve({ socket, closed });
    });
    socket.once('error', reject);
  });
}

describe('two nodes with the right keys', () => {
  it('talk, in order, both ways', async () => {
    await using pair = await new Pair(await freePort()).connected();
    const { a, b } = pair;
    for (let i = 0; i < 100; i++) {
      a.send(ping(i));
      b.send(ping(-i));
    }
    await Promise.all([a, b].map((end) => end.until(() => end.frames.length === 100)));
    expect(b.frames).toEqual(Array.from({ length: 100 }, (_, i) => ping(i)));
    expect(a.frames).toEqual(Array.from({ length: 100 }, (_, i) => ping(-i)));
  });

  it('find each other again after a connection that broke, with the listening end started last', async () => {
    const pair = new Pair(await freePort());
    const { a, b } = pair;
    await b.links.open();
    await b.until(() => b.has('cannot reach'));
    await a.links.open();
    await Promise.all([a, b].map((end) => end.until(() => end.has('connected'))));
    b.link.settled();
    a.link.disconnect('a test');
    await b.until(() => b.said.filter((line) => line === 'connected').length === 2);
    await using _ = pair;
    expect(b.said.filter((line) => line.startsWith('trouble'))).toHaveLength(1);
  });

  it('a hundred thousand frames with backpressure: memory stays bounded, none is lost', async () => {
    await using pair = await new Pair(await freePort()).connected();
    const { a, b } = pair;
    let received = 0;
    let waitingMost = 0;
    b.onFrame = () => received++;
    const before = process.memoryUsage().arrayBuffers;
    const frames = function* (): Generator<Frame> {
      for (let i = 0; i < 100_000; i++) {
        yield counters(i, 10);
        if (i % 1000 === 0) waitingMost = Math.max(waitingMost, process.memoryUsage().arrayBuffers - before);
      }
    };
    await a.link.stream(frames());
    await b.until(() => received === 100_000);
    expect(waitingMost).toBeLessThan(64 << 20);
  });

  it('a side that reads nothing is let go before it costs much, and the sender goes on', async () => {
    await using pair = await new Pair(await freePort()).connected();
    const { a, b } = pair;
    b.link.pause();
    let sent = 0;
    for (; sent < 100_000 && a.link.connected; sent++) {
      a.send(counters(sent, 1000));
      if (sent % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(a.has('does not keep up')).toBe(true);
    expect(sent * encodeFrame(counters(1, 1000)).length).toBeLessThan(256 << 20);
    expect(a.link.writable).toBe(false);
    b.link.resume();
    await b.until(() => b.said.filter((line) => line === 'connected').length === 2);
  });

  it('a paused end goes on where it stopped', async () => {
    await using pair = await new Pair(await freePort()).connected();
    const { a, b } = pair;
    b.link.pause();
    for (let i = 0; i < 1000; i++) a.send(ping(i));
    b.link.resume();
    await b.until(() => b.frames.length === 1000);
    expect(b.frames.at(-1)).toEqual(ping(999));
  });

  it('nothing is left behind when both are closed: no timer, no socket', async () => {
    const before = process.getActiveResourcesInfo().length;
    const pair = await new Pair(await freePort()).connected();
    for (let i = 0; i < 3; i++) {
      const seen = pair.b.said.filter((line) => line === 'connected').length;
      pair.b.link.settled();
      pair.a.link.disconnect('again');
      for (const end of [pair.a, pair.b])
        await end.until(() => end.said.filter((line) => line === 'connected').length === seen + 1);
    }
    await pair[Symbol.asyncDispose]();
    while (process.getActiveResourcesInfo().length > before) await new Promise((resolve) => setImmediate(resolve));
  });

  it('a link that is closed while it dials leaves nothing behind', async () => {
    const before = process.getActiveResourcesInfo().length;
    const pair = new Pair(await freePort());
    await pair.b.links.open();
    pair.b.links.close();
    while (process.getActiveResourcesInfo().length > before) await new Promise((resolve) => setImmediate(resolve));
    expect(pair.b.said).toEqual([]);
  });

  it('an address that is taken: said with the address', async () => {
    await using pair = await new Pair(await freePort()).open();
    const other = new Pair(pair.port);
    await expect(other.a.links.open()).rejects.toMatchObject({
      code: 'ERR_CONNECTION',
      message: expect.stringContaining(`127.0.0.1 port ${pair.port}`),
    });
  });
});

describe('everybody else is turned away', () => {
  it.each([
    ['the dialling side has another key', { b: { identity: identities.stranger } }, 'a'],
    ['the listening side has another key', { a: { identity: identities.stranger } }, 'b'],
  ] as const)('%s: the other one says which key it saw, once', async (_, options, who) => {
    await using pair = await new Pair(await freePort(), options).open();
    const end = pair[who];
    await end.until(() => end.has('turned away'));
    await end.until(() => who === 'a' || end.said.length > 0);
    const other = who === 'a' ? pair.b : pair.a;
    if (who === 'a') await other.until(() => other.said.filter((line) => line.startsWith('disconnected')).length >= 2);
    expect(end.said.filter((line) => line.includes('turned away'))).toHaveLength(1);
    expect(end.said[0]).toContain(identities.stranger.pin);
    expect(end.frames.length + other.frames.length).toBe(0);
    expect(end.has('connected')).toBe(false);
  });

  const strangers: [string, (port: number) => Promise<{ closed: Promise<void> }>, string][] = [
    ['no certificate', (port) => tls(port, {}), 'no certificate'],
    [
      'TLS 1.2',
      async (port) => {
        await expect(tls(port, identities.b, { maxVersion: 'TLSv1.2' })).rejects.toThrow(/version/);
        return { closed: Promise.resolve() };
      },
      'attempt failed',
    ],
    [
      'plain garbage',
      async (port) => {
        const { socket, closed } = await raw(port);
        socket.write('GET / HTTP/1.1\r\n\r\n');
        return { closed };
      },
      'attempt failed',
    ],
  ];
  it.each(strangers)('%s: closed, one line, and the real node still connects', async (_, come, words) => {
    await using pair = new Pair(await freePort());
    await pair.a.links.open();
    for (let i = 0; i < 3; i++) {
      const { closed } = await come(pair.port);
      await closed;
    }
    await pair.a.until(() => pair.a.has(words));
    expect(pair.a.said.filter((line) => line.startsWith('trouble')).length).toBe(1);
    await pair.b.links.open();
    await pair.a.until(() => pair.a.has('connected'));
    pair.b.send(ping(1));
    await pair.a.until(() => pair.a.frames.length === 1);
  });

  it('forty who connect and say nothing do not keep the other node out', async () => {
    await using pair = new Pair(await freePort());
    await pair.a.links.open();
    const idle = await Promise.all(Array.from({ length: 40 }, () => raw(pair.port)));
    await pair.b.links.open();
    await pair.a.until(() => pair.a.has('connected'));
    expect(pair.a.frames).toEqual([]);
    for (const { socket } of idle) socket.destroy();
  });

  it('a stranger does not take the place of the node that is connected', async () => {
    await using pair = await new Pair(await freePort()).connected();
    const { closed } = await tls(pair.port, identities.stranger);
    await closed;
    pair.a.send(ping(5));
    await pair.b.until(() => pair.b.frames.length === 1);
    expect(pair.b.has('disconnected')).toBe(false);
  });
});

describe('the right key and wrong bytes', () => {
  it.each([
    ['a length beyond all bounds', Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 1]), 'a frame of'],
    ['a length below a header', Buffer.from([0, 0, 0, 1, 1, 0, 0, 0, 1]), 'a frame of 5 bytes'],
    ['an unknown type', Buffer.from([0, 0, 0, 5, 77, 0, 0, 0, 1]), 'unknown type'],
  ])('%s ends the connection, and says so', async (_, bytes, words) => {
    await using pair = new Pair(await freePort());
    await pair.a.links.open();
    const { socket, closed } = await tls(pair.port);
    await pair.a.until(() => pair.a.has('connected'));
    socket.write(bytes);
    await closed;
    expect(pair.a.said.at(-1)).toContain(words);
    expect(pair.a.link.connected).toBe(false);
  });

  it('half a frame and then silence: the connection stands, nothing is handed on, a new one takes its place', async () => {
    await using pair = new Pair(await freePort());
    await pair.a.links.open();
    const { socket, closed } = await tls(pair.port);
    const whole = encodeFrame(ping(1));
    socket.write(encodeFrame(ping(0)));
    socket.write(whole.subarray(0, 7));
    await pair.a.until(() => pair.a.frames.length === 1);
    await pair.b.links.open();
    await closed;
    pair.b.send(ping(2));
    await pair.a.until(() => pair.a.frames.length === 2);
    expect(pair.a.frames.at(-1)).toEqual(ping(2));
  });

  it('frames that come byte by byte, and many in one piece', async () => {
    await using pair = new Pair(await freePort());
    await pair.a.links.open();
    const { socket } = await tls(pair.port);
    const bytes = Buffer.concat(Array.from({ length: 50 }, (_, i) => encodeFrame(ping(i))));
    for (const byte of encodeFrame(ping(99))) {
      await new Promise<void>((resolve) => void socket.write(Uint8Array.of(byte), () => resolve()));
    }
    socket.write(bytes);
    await pair.a.until(() => pair.a.frames.length === 51);
    expect(pair.a.frames.at(-1)).toEqual(ping(49));
    socket.destroy();
  });

  it('a listening side that lets everybody in and then hangs up: tried again, more and more slowly', async () => {
    const port = await freePort();
    let times: number[] = [];
    const { key, cert } = identities.a;
    const server = createTls({ key, cert, requestCert: true, rejectUnauthorized: false }, (socket) => {
      times.push(performance.now());
      socket.on('error', () => {});
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    const pair = new Pair(port);
    await pair.b.links.open();
    await pair.b.until(() => times.length >= 4);
    pair.b.links.close();
    server.close();
    times = times.slice(0, 4);
    const gaps = times.slice(1).map((t, i) => t - (times[i] as number));
    // Seen from here each try comes later than it was meant to, never earlier; but for the resolution of timers.
    for (const [i, gap] of gaps.entries()) expect(gap).toBeGreaterThan(FIRST_RETRY_MS * 2 ** i - 2);
  });
});

describe('keys on disk', () => {
  let directory = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'xfrmsync-link-'));
    await writeFile(join(directory, 'key.pem'), identities.a.key, { mode: 0o600 });
    await writeFile(join(directory, 'cert.pem'), identities.a.cert);
    await writeFile(join(directory, 'open.pem'), identities.a.key);
    await chmod(join(directory, 'open.pem'), 0o644);
    await writeFile(join(directory, 'garbage.pem'), 'not a key\n', { mode: 0o600 });
    await writeFile(join(directory, 'other.pem'), identities.b.key, { mode: 0o600 });
  });
  afterAll(() => rm(directory, { recursive: true }));

  const read = (key: string, cert: string) => readIdentity(join(directory, key), join(directory, cert));

  it('are read, with their pin', async () => {
    expect(await read('key.pem', 'cert.pem')).toEqual(identities.a);
  });

  it.each([
    ['a key that others can read', 'open.pem', 'cert.pem', 'chmod 600'],
    ['no key', 'none.pem', 'cert.pem', 'none.pem'],
    ['no certificate', 'key.pem', 'none.pem', 'none.pem'],
    ['garbage for a key', 'garbage.pem', 'cert.pem', 'garbage.pem'],
    ['garbage for a certificate', 'key.pem', 'garbage.pem', 'not a certificate'],
    ["another certificate's key", 'other.pem', 'cert.pem', 'other.pem'],
  ])('%s: one clear line, without a key in it', async (_, key, cert, words) => {
    const error = await read(key, cert).then(
      () => undefined,
      (e: Error) => e,
    );
    expect(error).toBeInstanceOf(LinkError);
    expect(error).toMatchObject({ code: 'ERR_IDENTITY', message: expect.stringContaining(words) });
    expect(error?.message).not.toMatch(/PRIVATE|\n/);
  });
});
