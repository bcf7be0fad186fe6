import { chmod, mkdtemp, rm, stat } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ClientError, openEvents, saIdOf, XfrmClient } from '../../src/client/index.ts';
import { EmulatedKernel, outputSa } from '../../src/kernel/emulated/index.ts';
import { unixKernel } from '../../src/kernel/index.ts';
import { FrameType, frame, words } from '../../src/kernel/unix/index.ts';
import { serveKernel } from '../../src/node/kernel-server.ts';
import type { PrivateSocket } from '../../src/node/private-socket.ts';
import { XfrmGroup } from '../../src/xfrm/index.ts';
import { newSa } from '../kernel/emulated/world.ts';

/** The emulated kernel of one process, used by another through a Unix socket. */

let directory = '';
let path = '';
let machine: EmulatedKernel;
let server: PrivateSocket;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'xfrmsync-kernel-'));
  path = join(directory, 'kernel.sock');
  machine = new EmulatedKernel();
  server = await serveKernel(machine, path);
});
afterEach(async () => {
  server.close();
  await rm(directory, { recursive: true });
});

const install = (count: number): Promise<unknown> =>
  XfrmClient.open(machine).then(async (client) => {
    const sas = Array.from({ length: count }, (_, i) => newSa({}, i + 1));
    const results = await client.batch(sas);
    client.close();
    expect(results.filter(({ error }) => error !== undefined)).toEqual([]);
  });

describe('a kernel behind a Unix socket', () => {
  it('is for its owner alone', async () => {
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('takes requests and refuses them as the kernel itself does', async () => {
    await using client = await XfrmClient.open(unixKernel(path));
    const sa = newSa();
    await client.addSa(sa);
    await expect(client.addSa(sa)).rejects.toMatchObject({ code: 'ERR_KERNEL', errno: 17 });
    await client.setAevent(saIdOf(sa), { replayVal: { oseq: 5, seq: 0, bitmap: 0 } });
    await using direct = await XfrmClient.open(machine);
    expect((await direct.getAevent(saIdOf(sa)))?.attributes.replayVal?.oseq).toBe(5);
  });

  it('hands events to members of a group', async () => {
    await install(1);
    await using events = await openEvents(unixKernel(path), { groups: [XfrmGroup.AEVENTS] });
    const next = events[Symbol.asyncIterator]().next();
    for (let i = 0; i < 2; i++) outputSa(machine.engine, machine.engine.sad.newest(), 64);
    expect((await next).value).toMatchObject({ message: { kind: 'NEWAE', attributes: { replayVal: { oseq: 2 } } } });
  });

  it('carries a dump that is larger than what may wait unsent', async () => {
    const count = 5_000;
    await install(count);
    await using client = await XfrmClient.open(unixKernel(path));
    expect(new Set((await client.dumpSas()).map(({ body }) => body.id.spi)).size).toBe(count);
  });

  it('overruns, and says so, when the other process does not read', async () => {
    await install(1);
    const socket = await unixKernel(path).open({ groups: [XfrmGroup.AEVENTS], receiveBufferBytes: 4096 });
    const { aeventBytes, sent } = { aeventBytes: 200, sent: 60_000 };
    expect(sent * aeventBytes).toBeGreaterThan(8 << 20); // more than all buffers between the two
    const slot = machine.engine.sad.newest();
    for (let i = 0; i < sent; i++) {
      outputSa(machine.engine, slot, 64);
      // Turns of the event loop, in which the server hands on what it can.
      if (i % 100 === 0) await new Promise(setImmediate);
    }
    let received = 0;
    const overrun = new Promise<void>((resolve) => socket.onOverrun(resolve));
    socket.receive(({ count }) => {
      received += count;
    });
    await overrun;
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThan(sent / 2);
    socket.close();
  });

  it('says what is wrong with a group, and goes on', async () => {
    await expect(unixKernel(path).open({ groups: [77] })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
    await using client = await XfrmClient.open(unixKernel(path));
    expect((await client.sadInfo()).count).toBe(0);
  });

  it('ends the sockets of a client that goes away', async () => {
    const client = await XfrmClient.open(unixKernel(path));
    const events = await openEvents(unixKernel(path), { groups: [XfrmGroup.SA] });
    expect(machine.engine.sockets.size).toBe(2);
    client.close();
    events.close();
    await expect.poll(() => machine.engine.sockets.size).toBe(0);
  });

  it('fails the requests of clients when it goes away', async () => {
    await using client = await XfrmClient.open(unixKernel(path));
    server.close();
    await expect.poll(() => client.sadInfo().catch((error: ClientError) => error.code)).toBe('ERR_CLOSED');
  });

  it.each([
    ['garbage', Buffer.alloc(64, 0xff)],
    ['a datagram before it is open', frame(FrameType.DATAGRAM, Buffer.alloc(16))],
    ['an unknown type', frame(99, words([]))],
    ['half a word', frame(FrameType.OPEN, Buffer.alloc(3))],
  ])('%s ends the connection with a reason', async (_, bytes) => {
    const stream = connect(path);
    const pieces: Buffer[] = [];
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.write(bytes);
    await new Promise((resolve) => stream.once('end', resolve));
    stream.end();
    expect(Buffer.concat(pieces).toString()).toContain('"message"');
  });
});

describe('no kernel behind a Unix socket', () => {
  it('nobody there', async () => {
    await expect(unixKernel(join(directory, 'nobody.sock')).open()).rejects.toMatchObject({ code: 'ERR_NO_KERNEL' });
  });

  it.skipIf(process.getuid?.() === 0)('somebody else’s', async () => {
    await chmod(path, 0);
    await expect(unixKernel(path).open()).rejects.toMatchObject({ code: 'ERR_PERMISSION' });
  });

  it.each([
    ['a talker', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
    ['a frame that makes no sense', frame(FrameType.OVERRUN, words([]))],
  ])('%s', async (_, said) => {
    const other = createServer((stream) => void stream.on('error', () => {}).end(said));
    await new Promise<void>((resolve) => other.listen(join(directory, 'other.sock'), resolve));
    await expect(unixKernel(join(directory, 'other.sock')).open()).rejects.toMatchObject({ code: 'ERR_NO_KERNEL' });
    other.close();
  });
});
