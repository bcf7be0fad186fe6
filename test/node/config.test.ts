import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, checkHooks, readConfig, readGatewayConfig } from '../../src/node/index.ts';

const PIN = `sha256:${'A'.repeat(43)}`;
const smallest = `
[node]
name = "a"
cluster = "c"
state_dir = "state"
control = "control.sock"
initial_role = "active"
[link]
listen = "127.0.0.1:4500"
key = "key.pem"
cert = "cert.pem"
[peer]
name = "b"
address = "[::1]:4500"
pin = "${PIN}"
[takeover]
mode = "safe"
`;

let directory = '';
let file = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'xfrmsync-config-'));
  file = join(directory, 'x.toml');
});
afterAll(() => rm(directory, { recursive: true }));

async function read(text: string) {
  await writeFile(file, text);
  return readConfig(file);
}

async function complaint(text: string): Promise<string> {
  const error = await read(text).then(
    () => undefined,
    (e: Error) => e,
  );
  expect(error).toBeInstanceOf(ConfigError);
  expect(error).toMatchObject({ code: 'ERR_CONFIG' });
  const { message } = error as Error;
  expect(message).not.toContain('\n');
  expect(message.split(file)).toHaveLength(2);
  return message;
}

describe('a configuration', () => {
  it('may ask for the emulated kernel', async () => {
    const { kernel } = await read(`${smallest}[kernel]\ntype = "emulated"\nrelease = "6.12.117"\nsocket = "k.sock"\n`);
    expect(kernel).toMatchObject({ type: 'emulated', release: '6.12.117', socket: join(directory, 'k.sock') });
    expect(await complaint(`${smallest}[kernel]\nsocket = "k.sock"\n`)).toContain('kernel.socket');
    expect(await complaint(`${smallest}[kernel]\ntype = "emulated"\nrelease = "six"\n`)).toContain('kernel.release');
  });

  it('may ask for PF_KEY, which takes the emulated kernel', async () => {
    const { kernel } = await read(`${smallest}[kernel]\ntype = "emulated"\nvia = "pfkey"\n`);
    expect(kernel.via).toBe('pfkey');
    const words = 'kernel.via = "pfkey" needs kernel.type = "emulated"';
    expect(await complaint(`${smallest}[kernel]\nvia = "pfkey"\n`)).toContain(words);
    expect(await complaint(`${smallest}[kernel]\ntype = "emulated"\nvia = "pf_key"\n`)).toContain(
      'kernel.via: must be',
    );
  });

  it('may have a user-space gateway', async () => {
    const gateway = `
[gateway]
listen = "127.0.0.1:4500"
addresses = ["198.51.100.1"]
partner = { outside = "127.0.0.1:4501" }
[[gateway.remotes]]
address = "198.51.100.9"
at = "127.0.0.1:4502"
`;
    const inside = '[gateway.inside]\ntun = "esp0"\n';
    const emulated = '[kernel]\ntype = "emulated"\n';
    const config = await read(smallest + emulated + gateway + inside);
    expect(config.gateway).toEqual({
      listen: { host: '127.0.0.1', port: 4500 },
      addresses: ['198.51.100.1'],
      partner: { outside: { host: '127.0.0.1', port: 4501 } },
      remotes: [{ address: '198.51.100.9', at: { host: '127.0.0.1', port: 4502 } }],
      inside: { tun: 'esp0' },
    });
    await writeFile(file, gateway + inside);
    expect(await readGatewayConfig(file)).toMatchObject({ kernel: { type: 'emulated' }, log: { level: 'info' } });
    expect(await complaint(smallest + gateway + inside)).toContain('gateway needs kernel.type = "emulated"');
    const both = '[gateway.inside]\ntun = "esp0"\nlisten = "127.0.0.1:1"\n';
    expect(await complaint(smallest + emulated + gateway + both)).toContain('gateway.inside: must have either tun');
    expect(await complaint(smallest + emulated + gateway.replace('198.51.100.9', 'x') + inside)).toContain(
      'gateway.remotes.0.address',
    );
  });

  it('needs little; everything else has a default, and paths start at the file', async () => {
    expect(await read(smallest)).toEqual({
      node: {
        name: 'a',
        cluster: 'c',
        state_dir: join(directory, 'state'),
        control: join(directory, 'control.sock'),
        initial_role: 'active',
      },
      link: {
        listen: { host: '127.0.0.1', port: 4500 },
        key: join(directory, 'key.pem'),
        cert: join(directory, 'cert.pem'),
        ping_ms: 100,
        timeout_ms: 2000,
        flush_ms: 5,
      },
      peer: [{ name: 'b', address: { host: '::1', port: 4500 }, pin: PIN }],
      replicate: {
        protocols: [50, 51],
        policies: true,
        reqids: [],
        if_ids: [],
        install: 'immediate',
        apply_ms: 100,
        sweep_ms: 10_000,
        mass_delete_percent: 50,
        mass_delete_keep_ms: 600_000,
      },
      exposure: { adaptive: true, packets: 1000, ms: 1000 },
      takeover: {
        mode: 'safe',
        grant_min: 1 << 18,
        grant_ms: 10_000,
        inbound: 'strict',
        quiet: 'closed',
        rate_max_pps: 1_000_000,
        rate_floor_pps: 10,
        drain_ms: 50,
        drain_max_ms: 1000,
        handover_timeout_ms: 15_000,
      },
      hooks: { timeout_ms: 10_000 },
      kernel: { type: 'linux', via: 'netlink', receive_buffer_bytes: 64 << 20 },
      log: { level: 'info' },
    });
  });

  it('absolute paths stay, hooks and the log file are resolved too', async () => {
    const text = `${smallest.replace('"state"', '"/var/lib/x"')}\n[hooks]\nclaim = "c.sh"\nrelease = "/r.sh"\n[log]\nfile = "l"\n`;
    expect(await read(text)).toMatchObject({
      node: { state_dir: '/var/lib/x' },
      hooks: { claim: join(directory, 'c.sh'), release: '/r.sh' },
      log: { file: join(directory, 'l') },
    });
  });

  it.each<[string, string, string, RegExp]>([
    ['an unknown key', 'name = "a"', 'name = "a"\nnmae = "x"', /node\.nmae is not a key that xfrmsync knows/],
    ['an unknown table', '[peer]', '[pear]\nx = 1\n[peer]', /pear is not a key that xfrmsync knows/],
    ['a missing key', 'cluster = "c"', '', /node\.cluster/],
    ['a number for a text', 'name = "a"', 'name = 5', /node\.name/],
    ['a text for a number', 'cert = "cert.pem"', 'cert = "cert.pem"\nping_ms = "1"', /link\.ping_ms/],
    ['a number out of bounds', 'cert = "cert.pem"', 'cert = "cert.pem"\nping_ms = 0', /link\.ping_ms.*1/],
    ['a name with a space', 'name = "a"', 'name = "a b"', /node\.name: must be 1 to 63 letters/],
    ['a role that is none', '"active"', '"master"', /node\.initial_role/],
    ['an endpoint without a port', '127.0.0.1:4500', '127.0.0.1', /link\.listen: must be ADDRESS:PORT/],
    ['an endpoint with a host name', '127.0.0.1:4500', 'localhost:4500', /link\.listen: must be ADDRESS:PORT/],
    ['an endpoint with port 0', '127.0.0.1:4500', '127.0.0.1:0', /link\.listen/],
    ['an endpoint with port 70000', '[::1]:4500', '[::1]:70000', /peer\.address/],
    ['IPv6 without brackets', '[::1]:4500', '::1:4500', /peer\.address: must be ADDRESS:PORT or \[IPV6\]:PORT/],
    ['a pin that is none', PIN, 'sha256:short', /peer\.pin: must be "sha256:" and 43 characters.*init/],
    ['two nodes of one name', 'name = "b"', 'name = "a"', /peer\.name must differ from node\.name/],
    [
      'a time-out below the ping',
      'cert = "cert.pem"',
      'cert = "cert.pem"\nping_ms = 1500',
      /link\.timeout_ms must be at least twice/,
    ],
    ['TOML that is none', '[peer]', '[peer', /:\d+:\d+: /],
    ['a key twice', 'name = "a"', 'name = "a"\nname = "a"', /:\d+:\d+: /],
  ])('%s: one line that names file and key', async (_, from, to, words) => {
    expect(smallest).toContain(from);
    expect(await complaint(smallest.replace(from, to))).toMatch(words);
  });

  it('several faults at once: all of them in one line', async () => {
    const message = await complaint(smallest.replace('name = "a"', 'name = 5').replace(PIN, 'x'));
    expect(message).toMatch(/node\.name.*; .*peer\.pin/);
  });

  it('a file that is not there, is a directory, or is far too long', async () => {
    await expect(readConfig(join(directory, 'none.toml'))).rejects.toThrow(/none\.toml.*xfrmsync init/);
    await expect(readConfig(directory)).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringContaining(directory),
    });
    const long = join(directory, 'long');
    await writeFile(long, '#'.repeat(2 << 20));
    await expect(readConfig(long)).rejects.toThrow(/no configuration file/);
  });

  it.skipIf(process.getuid?.() === 0)('a file that may not be read', async () => {
    await read(smallest);
    await chmod(file, 0);
    await expect(readConfig(file)).rejects.toThrow(/EACCES.*owns it/);
    await chmod(file, 0o600);
  });

  it('a hook that cannot be run is said before it is needed', async () => {
    const hook = join(directory, 'hook.sh');
    await writeFile(hook, '#!/bin/sh\n', { mode: 0o644 });
    const config = await read(`${smallest}\n[hooks]\nrelease = "hook.sh"\n`);
    await expect(checkHooks(config)).rejects.toThrow(/hooks\.release: .*hook\.sh cannot be run/);
    await chmod(hook, 0o755);
    await checkHooks(config);
  });
});
