/** The daemon as its users start it: what a shell, a service manager and an operator see of it. */
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { XfrmClient } from '../../src/client/index.ts';
import { linuxKernel } from '../../src/kernel/index.ts';
import { initCluster } from '../../src/node/index.ts';
import { policy } from '../../src/simulator/sas.ts';
import { describeNative } from '../kernel/native.ts';
import { Gateways, main, type Outcome, TEST_TIMEOUT_MS, texts, when, xfrmsync } from './gateways.ts';

vi.setConfig({ testTimeout: TEST_TIMEOUT_MS });

const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

/** Whether an ordinary user can be played here, and reach the program. */
function nobodyCanRun(): boolean {
  if (process.getuid?.() !== 0) return false;
  try {
    execFileSync(NOBODY[0] as string, [...NOBODY.slice(1), process.execPath, main, '--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function expectOneLine({ stderr, stdout }: Outcome, words: RegExp): void {
  expect(stdout).toBe('');
  expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  expect(stderr).toMatch(words);
  expect(stderr).not.toMatch(/PRIVATE|\n\s+at /);
}

describe('a daemon that cannot start says why in one line, with exit code 2', () => {
  let directory = '';
  let good = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'xfrmsync-program-'));
    await chmod(directory, 0o755);
    const nodes = ['a', 'b'].map((name) => ({ name, address: '127.0.0.1' }));
    await initCluster({ directory, cluster: 'c', nodes, port: 4510 });
    good = await readFile(join(directory, 'a', 'xfrmsync.toml'), 'utf8');
    await writeFile(join(directory, 'a', 'open.pem'), await readFile(join(directory, 'a', 'key.pem')), { mode: 0o644 });
    await writeFile(join(directory, 'a', 'garbage.pem'), 'garbage\n', { mode: 0o600 });
  });
  afterAll(() => rm(directory, { recursive: true }));

  it.each<[string, string, string, RegExp]>([
    ['a syntax error', '[peer]', '[peer', /broken\.toml:\d+:\d+: /],
    ['an unknown key', '[peer]', '[peer]\nnmae = 1', /broken\.toml: peer\.nmae is not a key that xfrmsync knows/],
    ['a missing key', 'cluster = "c"', '', /broken\.toml: node\.cluster: is missing/],
    ['a wrong type', 'policies = true', 'policies = "yes"', /broken\.toml: replicate\.policies: must be true or false/],
    ['a wrong word', '"strict"\n', '"loose"\n', /takeover\.inbound: must be "strict" or "window"/],
    ['a number too large', '[hooks]', '[hooks]\ntimeout_ms = 700000', /hooks\.timeout_ms: must be at most 600000/],
    ['a number too small', '[hooks]', '[hooks]\ntimeout_ms = 0', /hooks\.timeout_ms: must be at least 1/],
    ['a fraction', '[hooks]', '[hooks]\ntimeout_ms = 1.5', /hooks\.timeout_ms: must be a whole number/],
    ['a path with a NUL', '"control.sock"', '"a\\u0000b"', /node\.control: must not have a NUL/],
    ['a hook that is a folder', '[hooks]', '[hooks]\nclaim = "."', /hooks\.claim: .* is no file; make it/],
    [
      'a hook that is not there',
      '[hooks]',
      '[hooks]\nclaim = "no.sh"',
      /hooks\.claim: .*no\.sh cannot be run .*ENOENT/,
    ],
    ['a key for everybody', '"key.pem"', '"open.pem"', /open\.pem can be read by others: run chmod 600/],
    ['a key that is none', '"key.pem"', '"garbage.pem"', /garbage\.pem is not a private key/],
    ['no certificate', '"cert.pem"', '"none.pem"', /cannot read .*none\.pem: ENOENT/],
  ])('%s', async (_, from, to, words) => {
    expect(good).toContain(from);
    const file = join(directory, 'a', 'broken.toml');
    await writeFile(
      file,
      good.replace(from, () => to),
    );
    const outcome = await xfrmsync(['daemon', '-c', file]);
    expectOneLine(outcome, words);
    expect(outcome.code).toBe(2);
  });

  it.skipIf(!nobodyCanRun())('a configuration that this user may not read', async () => {
    const file = join(directory, 'secret.toml');
    await writeFile(file, good);
    await chmod(file, 0);
    const outcome = await xfrmsync(['daemon', '-c', file], NOBODY);
    expectOneLine(outcome, /secret\.toml: EACCES.*run as the user that owns it/);
    expect(outcome.code).toBe(2);
  });
});

describeNative('the program, in a namespace for each node, with a cable between them', () => {
  it('a cable that is pulled: noticed by the time-out, promote is a takeover, and the old active steps down later', async () => {
    await using g = await Gateways.make();
    const journal = join(g.directory, 'journal');
    const hook = join(g.directory, 'hook.sh');
    const words = '$XFRMSYNC_NODE $XFRMSYNC_CLUSTER $XFRMSYNC_ROLE $XFRMSYNC_TERM<$XFRMSYNC_FROM>';
    await writeFile(hook, `#!/bin/sh\necho "${words}" >>'${journal}'\n`, { mode: 0o755 });
    for (const name of ['a', 'b'] as const)
      await g.edit(name, '[hooks]', `[hooks]\nclaim = "${hook}"\nrelease = "${hook}"`);
    await using kernel = await XfrmClient.open(linuxKernel({ namespace: g.namespaces.a.path }));
    for (const n of [1, 2, 3]) await kernel.addPolicy(policy(`10.${n}.0.0`));
    const daemons = { a: g.start('a'), b: g.start('b') };
    await g.until('b', (s) => s.complete && s.policies === 3);
    // Claimed once the standby has agreed: the journal is what the hook itself has seen.
    await when(() => existsSync(journal));

    const downs = () => texts(daemons.b.stderr()).filter((text) => text === 'the link to a is down').length;
    const before = downs();
    // The far end loses its carrier too: no FIN and no RST comes to either.
    await g.ip('a', 'link', 'set', 'sync0', 'down');
    await g.until('b', (s) => !s.peers.some(({ connected }) => connected));
    await g.until('a', (s) => !s.peers.some(({ connected }) => connected));
    expect(downs() - before).toBe(1);
    expectOneLine(await g.command('b', 'switchover'), /not connected, and a switchover needs both.*xfrmsync promote/);
    const looked = await g.command('b', 'promote', '--dry-run', '--json');
    expect(looked).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(looked.stdout)).toMatchObject({ course: 'takeover', newTerm: 2, against: [], sas: [] });
    expect((await g.command('b', 'promote', '--dry-run')).stdout).toMatch(
      /^b: standby, term 1\. promote would be a takeover\n/,
    );
    expect((await g.command('a', 'promote', '--dry-run')).stdout).toContain('this node is active');
    const promoted = await g.command('b', 'promote', '--json');
    expect(promoted).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(promoted.stdout)).toMatchObject({ kind: 'takeover', role: 'active', term: 2 });

    await g.ip('a', 'link', 'set', 'sync0', 'up');
    await g.until('a', (s) => s.role === 'standby' && s.term === 2 && s.complete && s.policies === 3);
    const seen = async () => (await readFile(journal, 'utf8')).trim().split('\n');
    await expect.poll(seen).toEqual(['a test active 1<>', 'b test active 2<>', 'a test standby 2<>']);

    const shown = await g.command('a', 'status', '--json', '--sas');
    expect(JSON.parse(shown.stdout)).toEqual({
      node: 'a',
      cluster: 'test',
      version: expect.any(String),
      kernel: expect.any(String),
      via: 'netlink',
      role: 'standby',
      term: 2,
      phase: 'steady',
      complete: true,
      bound: false,
      peers: [
        {
          name: 'b',
          connected: true,
          role: 'active',
          term: 2,
          bound: false,
          behindMs: null,
          clockOffsetMs: expect.any(Number),
          clockUncertaintyMs: expect.any(Number),
        },
      ],
      sas: 0,
      installed: 0,
      policies: 3,
      held: 0,
      unseenMs: expect.any(Number),
      exposure: { packets: 0, ms: 0, worst: null },
      quiet: 0,
      counts: expect.any(Object),
      list: [],
    });

    for (const name of ['a', 'b'] as const) {
      daemons[name].child.kill('SIGTERM');
      expect(await daemons[name].ended).toEqual([0, null]);
      expect(existsSync(g.file(name, 'control.sock'))).toBe(false);
      // S6: not a line of either key in what anybody was shown.
      const pem = (await readFile(g.file(name, 'key.pem'), 'utf8')).split('\n').filter((line) => line !== '');
      const said = [daemons.a.stderr(), daemons.b.stderr(), promoted.stdout, shown.stdout].join('\n');
      for (const line of pem) expect(said).not.toContain(line);
    }
  });

  it('a second daemon is told, a dead one is said with exit code 5, and what it left is no obstacle', async () => {
    await using g = await Gateways.make();
    const first = g.start('a');
    await g.until('a', (s) => s.role === 'active');
    expect((await stat(g.file('a', 'control.sock'))).mode & 0o777).toBe(0o600);
    const second = await xfrmsync(['daemon', '-c', g.file('a')], g.inside('a'));
    expectOneLine(second, /another xfrmsync daemon already answers on .*control\.sock: stop it first/);
    expect(second.code).toBe(1);
    expect(await g.status('a')).toMatchObject({ role: 'active' });

    first.child.kill('SIGKILL');
    await first.ended;
    const dead = await g.command('a', 'status');
    expectOneLine(dead, /cannot reach .*control\.sock .*start it with "xfrmsync daemon -c FILE"/);
    expect(dead.code).toBe(5);
    g.start('a');
    await g.until('a', (s) => s.role === 'active' && s.term === 1);
  });

  it('a path that is too long for a socket is refused, not cut off', async () => {
    await using g = await Gateways.make();
    await g.edit('a', '"control.sock"', `"${'s'.repeat(110)}"`);
    expectOneLine(
      await xfrmsync(['daemon', '-c', g.file('a')], g.inside('a')),
      /node\.control: .* longer than the 107/,
    );
  });

  it('a log that cannot be written, on a full disk or on standard error, does not stop replication', async () => {
    await using g = await Gateways.make();
    await g.edit('a', /$/, '\n[log]\nlevel = "debug"\nfile = "/dev/full"\n');
    await using kernel = await XfrmClient.open(linuxKernel({ namespace: g.namespaces.a.path }));
    const a = g.start('a');
    const full = openSync('/dev/full', 'w');
    const b = g.start('b', full);
    closeSync(full);
    await g.until('b', (s) => s.complete && s.peers.every(({ connected }) => connected));
    await kernel.addPolicy(policy('10.9.0.0'));
    await g.until('b', (s) => s.policies === 1);
    await kernel.flushPolicies();
    await g.until('b', (s) => s.policies === 0);
    await when(() => a.stderr() !== '');
    for (const { child, ended } of [a, b]) {
      child.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
    }
    expect(a.stderr()).toMatch(
      /^xfrmsync: cannot write the log \/dev\/full: ENOSPC[^\n]*; the node goes on without it\n$/,
    );
  });

  it.skipIf(process.getuid?.() !== 0)(
    'a state directory on a full disk: nobody takes over until there is room',
    async () => {
      await using g = await Gateways.make();
      const state = g.file('b', 'state');
      await mkdir(state, { recursive: true });
      const a = g.start('a');
      const b = g.start('b', 'pipe', [
        'unshare',
        '--mount',
        'sh',
        '-c',
        `mount -t tmpfs -o size=16k tmpfs '${state}' && exec "$@"`,
        'sh',
      ]);
      await g.until('b', (s) => s.complete);
      a.child.kill('SIGKILL');
      await g.until('b', (s) => !s.peers.some(({ connected }) => connected));
      const filler = join(`/proc/${b.child.pid}/root`, state, 'filler');
      await expect(writeFile(filler, Buffer.alloc(64 << 10))).rejects.toMatchObject({ code: 'ENOSPC' });

      const refused = await g.command('b', 'promote');
      expectOneLine(refused, /the new term cannot be stored .*ENOSPC.*promote again/);
      expect(refused.code).toBe(1);
      expect(await g.status('b')).toMatchObject({ role: 'standby', term: 1, complete: true });
      await rm(filler);
      expect(await g.command('b', 'promote')).toMatchObject({ code: 0 });
      expect(JSON.parse(await readFile(join(`/proc/${b.child.pid}/root`, state, 'role.json'), 'utf8'))).toMatchObject({
        term: 2,
        role: 'active',
      });
    },
  );
});
