import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ControlHandler, openControl } from '../../src/node/control-server.ts';
import { callControl } from '../../src/node/index.ts';
import type { PrivateSocket } from '../../src/node/private-socket.ts';

let directory = '';
let path = '';
let server: PrivateSocket | undefined;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'xfrmsync-control-'));
  path = join(directory, 'x', 'control.sock');
});
afterEach(async () => {
  server?.close();
  server = undefined;
  await rm(directory, { recursive: true });
});

const echo: ControlHandler = async (request) => ({ ok: true, result: request });
const open = async (handler = echo): Promise<void> => {
  server = await openControl(path, handler);
};

/** Everything that comes back for `bytes`. */
function say(bytes: string | Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(path);
    let text = '';
    socket.on('error', () => {});
    socket.on('data', (piece: Buffer) => {
      text += piece.toString();
    });
    socket.once('connect', () => socket.write(bytes));
    socket.once('close', () => resolve(text));
  });
}

describe('the control socket', () => {
  it('is for its owner alone, and so is its folder', async () => {
    await open();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(directory, 'x'))).mode & 0o777).toBe(0o700);
    expect(await callControl(path, { command: 'status' })).toEqual({ command: 'status', sas: false });
  });

  it.each([
    ['garbage', 'hello\n', 'it is no JSON'],
    ['another shape', '{"command":"reboot"}\n', 'command'],
    ['a key too many', '{"command":"promote","now":true}\n', 'now'],
    ['a wrong type', '{"command":"promote","force":"yes"}\n', 'force'],
    ['an array', '[]\n', 'not a request'],
  ])('%s is answered with what is wrong', async (_, bytes, words) => {
    await open();
    const answer = JSON.parse(await say(bytes));
    expect(answer).toMatchObject({ ok: false });
    expect(answer.reason).toContain(words);
  });

  it('a request without an end is refused at its limit, not kept', async () => {
    await open();
    expect(JSON.parse(await say('x'.repeat(4 << 20)))).toEqual({ ok: false, reason: 'the request is too long' });
    expect(await callControl(path, { command: 'resync' })).toEqual({ command: 'resync' });
  });

  it('a request that fails inside is an answer too', async () => {
    await open(() => Promise.reject(new Error('no way')));
    await expect(callControl(path, { command: 'resync' })).rejects.toMatchObject({
      code: 'ERR_REFUSED',
      message: 'no way',
    });
  });

  it('a second daemon is told that there is one, and takes nothing away', async () => {
    await open();
    await expect(openControl(path, echo)).rejects.toThrow(`another xfrmsync daemon already answers on ${path}`);
    expect(await callControl(path, { command: 'resync' })).toBeDefined();
  });

  it('the socket that a killed daemon left behind is replaced', async () => {
    path = join(directory, 'dead.sock');
    const program = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('ready'))`;
    const daemon = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(daemon.stdout, 'data');
    daemon.kill('SIGKILL');
    await once(daemon, 'close');
    expect((await stat(path)).isSocket()).toBe(true);
    await expect(callControl(path, { command: 'resync' })).rejects.toMatchObject({ code: 'ERR_NO_DAEMON' });
    await open();
    expect(await callControl(path, { command: 'resync' })).toBeDefined();
  });

  it('a file that is no socket is not removed', async () => {
    path = join(directory, 'precious');
    await writeFile(path, 'text');
    await expect(openControl(path, echo)).rejects.toThrow(/node\.control: .*precious is there and is no socket/);
    expect((await stat(path)).size).toBe(4);
  });

  it('a folder that cannot be made: says which', async () => {
    await writeFile(join(directory, 'x'), '');
    await expect(openControl(path, echo)).rejects.toThrow(/control\.sock|\/x/);
  });

  it('callers who say nothing do not keep a daemon from ending', async () => {
    await open();
    const idle: Socket[] = [];
    for (let i = 0; i < 5; i++) {
      const socket = connect(path);
      socket.on('error', () => {});
      socket.resume();
      idle.push(socket);
      await new Promise<void>((resolve) => socket.once('connect', resolve));
    }
    const closed = idle.map((socket) => new Promise<void>((resolve) => socket.once('close', () => resolve())));
    await callControl(path, { command: 'resync' });
    server?.close();
    await Promise.all(closed);
  });
});

describe('without a daemon', () => {
  it('nothing there: how to start one', async () => {
    await expect(callControl(path, { command: 'resync' })).rejects.toMatchObject({
      code: 'ERR_NO_DAEMON',
      message: expect.stringMatching(
        /control\.sock \(ENOENT\): no daemon answers there: start it with "xfrmsync daemon -c FILE"/,
      ),
    });
  });

  it('it dies before it answers', async () => {
    path = join(directory, 's');
    const dying = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => dying.listen(path, resolve));
    await expect(callControl(path, { command: 'resync' })).rejects.toMatchObject({ code: 'ERR_NO_DAEMON' });
    dying.close();
  });

  it('it hangs', async () => {
    path = join(directory, 's');
    const held: Socket[] = [];
    const hanging = createServer((socket) => void held.push(socket));
    await new Promise<void>((resolve) => hanging.listen(path, resolve));
    await expect(callControl(path, { command: 'resync' }, 50)).rejects.toThrow(/did not answer within 0\.05 s/);
    for (const socket of held) socket.destroy();
    hanging.close();
  });

  it.skipIf(process.getuid?.() === 0)("another user's: who to be", async () => {
    await open();
    await chmod(path, 0);
    await expect(callControl(path, { command: 'resync' })).rejects.toThrow(/belongs to another user/);
  });
});
