import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { describeNative, type Namespace, newNamespace } from '../kernel/native.ts';
import { start, xfrmsync } from './run.ts';

describeNative('commands on the kernel of this machine', () => {
  let directory: string;
  let namespace: Namespace;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'xfrmsync-native-'));
  });
  afterAll(() => rm(directory, { recursive: true }));
  beforeEach(async () => {
    namespace = await newNamespace();
  });
  afterEach(() => namespace[Symbol.asyncDispose]());

  const here = (...args: string[]) => xfrmsync([...args, '--netns', namespace.path]);
  const tunnel = [
    ...['--dir', 'out', '--src', '10.1.0.0/16', '--dst', '10.2.0.0/16', '--proto', 'udp', '--dport', '53'],
    ...['--priority', '100', '--hard-packets', '5000', '--mark', '0x1/0xff', '--if-id', '7'],
    ...['--tmpl', 'src=192.0.2.1,dst=192.0.2.2,proto=esp,mode=tunnel,reqid=9,spi=0x100'],
    ...['--tmpl', 'proto=comp,mode=transport,optional'],
  ];
  const name = [
    ...['--dir', 'out', '--src', '10.1.0.0/16', '--dst', '10.2.0.0/16', '--proto', 'udp', '--dport', '53'],
    ...['--mark', '0x1/0xff', '--if-id', '7'],
  ];

  test('an empty SAD and SPD print nothing', async () => {
    expect(await here('sa', 'list')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await here('policy', 'list', '--json')).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('a policy is added, read, updated and deleted', async () => {
    expect(await here('policy', 'add', ...tunnel)).toMatchObject({ code: 0, stderr: '' });
    const again = await here('policy', 'add', ...tunnel);
    expect(again.code).toBe(6);
    expect(again.stderr).toMatch(
      /^xfrmsync: policy out 10\.1\.0\.0\/16 -> 10\.2\.0\.0\/16 udp dport 53 not added: .*EEXIST.*\n$/,
    );

    const text = await here('policy', 'get', ...name);
    expect(text.stdout).toContain('10.1.0.0/16 -> 10.2.0.0/16 udp dport 53  out  allow  priority 100');
    expect(text.stdout).toContain('192.0.2.1 -> 192.0.2.2  esp 0x00000100  tunnel  reqid 9');
    expect(text.stdout).toMatch(/comp {2}transport {2}reqid 0 {2}optional/);
    expect(text.stdout).toContain('0 packets (hard 5000)');
    expect(text.stdout).toMatch(/mark +0x1\/0xff/);

    const json = JSON.parse((await here('policy', 'get', ...name, '--json')).stdout);
    expect(json).toMatchObject({
      message: 'NEWPOLICY',
      priority: 100,
      dir: 'out',
      lft: { hardPacketLimit: 5000, hardByteLimit: null },
      attributes: { mark: { value: 1, mask: 255 }, ifId: 7 },
    });
    expect(json.attributes.tmpl).toHaveLength(2);
    expect((await here('policy', 'get', '--dir', 'out', '--index', String(json.index), ...name.slice(-4))).code).toBe(
      0,
    );

    expect((await here('policy', 'update', ...tunnel, '--action', 'block')).code).toBe(0);
    expect((await here('policy', 'list', '--dir', 'out')).stdout).toContain('out  block');
    expect((await here('policy', 'list', '--dir', 'in')).stdout).toBe('');
    expect((await here('policy', 'delete', ...name)).code).toBe(0);
    const gone = await here('policy', 'delete', ...name);
    expect(gone).toMatchObject({ code: 6, stdout: '' });
    expect(gone.stderr).toMatch(/^xfrmsync: cannot delete policy out .*ENOENT.*\n$/);
  });

  test('policies go through a file and come back the same', async () => {
    await here('policy', 'add', ...tunnel);
    await here('policy', 'add', '--dir', 'in', '--src', 'fd00:1::/32', '--dst', 'fd00:2::/32', '--action', 'block');
    const before = (await here('policy', 'list', '--json')).stdout;
    expect(before.trimEnd().split('\n')).toHaveLength(2);
    expect(await here('policy', 'flush')).toMatchObject({ code: 2, stdout: '' });
    expect((await here('policy', 'flush', '--yes', '--json')).stdout).toBe('{"flushed":2,"left":0}\n');
    const added = await xfrmsync(['policy', 'add', '--from', '-', '--netns', namespace.path], before);
    expect(added).toEqual({ code: 0, stdout: '2 policies added\n', stderr: '' });
    const after = (await here('policy', 'list', '--json')).stdout;
    // The kernel lists the newest first and stamps its own time.
    const stable = (text: string) =>
      text
        .trimEnd()
        .split('\n')
        .map((line) => ({ ...JSON.parse(line), curlft: 0 }))
        .sort((a, b) => a.index - b.index);
    expect(stable(after)).toEqual(stable(before));
  });

  test('an SA that this kernel refuses: one line, exit code 6', async () => {
    // A protocol that is no IPsec protocol is refused by every kernel.
    const key = '000102030405060708090a0b0c0d0e0f10111213';
    const { code, stdout, stderr } = await here(
      ...['sa', 'add', '--src', '192.0.2.1', '--dst', '192.0.2.2', '--spi', '0x100', '--proto', 'tcp'],
      ...['--aead', 'rfc4106(gcm(aes))', '--key', key],
    );
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' });
    expect(stderr).toMatch(/^xfrmsync: cannot add SA 192\.0\.2\.2 tcp 0x00000100: NEWSA: EINVAL, [^\n]+\n$/);
    expect(stderr).not.toContain(key);
  });

  test.each([
    ['sa', 'get'],
    ['sa', 'delete'],
    ['ae', 'get'],
    ['ae', 'set', '--oseq', '1'],
  ])('%s %s of an SA that is not there: exit code 6', async (...command) => {
    const { code, stdout, stderr } = await here(...command, '--dst', '192.0.2.2', '--spi', '256');
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' });
    expect(stderr).toMatch(/^xfrmsync: [^\n]*SA 192\.0\.2\.2 esp 0x00000100[^\n]*\n$/);
  });

  /** The line that says that a listener of group POLICY is there: its mask in /proc/net/netlink of the namespace. */
  async function untilListening(pid: number): Promise<void> {
    const isListening = (line: string): boolean => {
      const [, protocol, , groups] = line.trim().split(/\s+/);
      return protocol === '6' && groups === '000000ff';
    };
    const path = namespace.path.replace(/ns\/net$/, 'net/netlink');
    for (;;) {
      if ((await readFile(path, 'utf8')).split('\n').some(isListening)) return;
      process.kill(pid, 0); // throws when the listener is gone
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  test('monitor prints, counts and records what is announced; decode reads the record', async () => {
    const file = join(directory, 'events.bin');
    const monitor = start(['monitor', '--json', '--count', '2', '--record', file, '--netns', namespace.path]);
    const closed = once(monitor, 'close');
    const lines: string[] = [];
    createInterface({ input: monitor.stdout }).on('line', (line) => lines.push(line));
    await untilListening(monitor.pid as number);
    await here('policy', 'add', ...tunnel);
    await here('policy', 'delete', ...name);
    expect((await closed)[0]).toBe(0);
    const events = lines.map((line) => JSON.parse(line));
    expect(events.map(({ message }) => message)).toEqual(['NEWPOLICY', 'DELPOLICY']);
    expect(events[0].time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(events[0]).toMatchObject({ priority: 100, sel: { daddr: '10.2.0.0', prefixlenD: 16, proto: 'udp' } });
    expect((await stat(file)).mode & 0o777).toBe(0o600);

    const decoded = await xfrmsync(['decode', '--json', file]);
    const withoutTime = events.map(({ time, ...message }) => message);
    expect(
      decoded.stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(withoutTime);
  });

  test('monitor ends quietly on an interrupt', async () => {
    const monitor = start(['monitor', '--netns', namespace.path]);
    let errors = '';
    monitor.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    const closed = once(monitor, 'close');
    await untilListening(monitor.pid as number);
    monitor.kill('SIGINT');
    expect((await closed)[0]).toBe(0);
    expect(errors).toBe('');
  });

  test('monitor ends quietly when its reader goes away', async () => {
    const monitor = start(['monitor', '--netns', namespace.path]);
    let errors = '';
    monitor.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    const closed = once(monitor, 'close');
    await untilListening(monitor.pid as number);
    monitor.stdout.destroy();
    await once(monitor.stdout, 'close');
    await here('policy', 'add', ...tunnel);
    expect((await closed)[0]).toBe(0);
    expect(errors).toBe('');
  });
});
