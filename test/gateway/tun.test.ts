import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { describeNative } from '../kernel/native.ts';

const main = fileURLToPath(new URL('../../dist/index.js', import.meta.url));
const hasTun = await access('/dev/net/tun', constants.R_OK | constants.W_OK).then(
  () => true,
  () => false,
);

/** A network namespace of its own, in which a process answers what the kernel sends to a TUN device. */
const program = `
  import { openTun } from ${JSON.stringify(new URL('kernel/linux/index.js', `file://${main}`).href)};
  import { execFileSync } from 'node:child_process';
  import { createSocket } from 'node:dgram';
  const ip = (...words) => execFileSync('ip', words, { encoding: 'utf8' });
  const seen = [];
  const tun = await openTun('t0', {
    onPacket(packet) {
      if (packet[0] >> 4 !== 4 || packet[9] !== 17) return;
      seen.push(packet.length);
      // The same datagram back: addresses and ports change places, which leaves both checksums as they are.
      const back = Uint8Array.from(packet);
      back.copyWithin(12, 16, 20);
      back.set(packet.subarray(12, 16), 16);
      back.set(packet.subarray(22, 24), 20);
      back.set(packet.subarray(20, 22), 22);
      if (!tun.write(back)) throw new Error('not written');
    },
    onError(error) { console.log(error.message); },
  });
  ip('address', 'add', '10.9.9.1/24', 'dev', 't0');
  ip('link', 'set', 't0', 'up');
  const socket = createSocket('udp4').bind(0, '10.9.9.1');
  let answers = 0;
  socket.on('message', (bytes) => {
    if (bytes.toString() === 'hello') answers++;
    if (answers < 50) { socket.send('hello', 7, '10.9.9.2'); return; }
    socket.close();
    tun.close();
    const there = ip('link').includes('t0');
    console.log(JSON.stringify({ answers, seen: seen.length, bytes: seen[0], there, taken: tun.write(new Uint8Array(20)) }));
  });
  socket.once('listening', () => socket.send('hello', 7, '10.9.9.2'));`;

function run(source: string): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn('unshare', ['-Urn', process.execPath, '--input-type=module', '-e', source]);
    const text = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (piece: Buffer) => {
        text[name] += piece.toString();
      });
    }
    child.on('close', (code) => resolve({ code: code ?? -1, ...text }));
  });
}

describeNative('a TUN device', () => {
  describe.skipIf(!hasTun)(hasTun ? 'of this machine' : 'of this machine (skipped: no access to /dev/net/tun)', () => {
    it('hands packets over both ways, and is gone when it is closed', async () => {
      const { stdout, stderr } = await run(program);
      expect(stderr).toBe('');
      expect(JSON.parse(stdout)).toEqual({ answers: 50, seen: 50, bytes: 33, there: false, taken: false });
    });

    it('cannot have a name that is too long', async () => {
      const { stderr } = await run(program.replace("'t0', {", "'t0123456789012345', {"));
      expect(stderr).toContain('is no name of a device');
    });
  });
});
