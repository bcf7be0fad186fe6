import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { xfrmsync } from './run.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'xfrmsync-usage-'));
  await writeFile(join(directory, 'garbage'), Buffer.from('ff8001fe7f00c3d4'.repeat(8), 'hex'));
  await writeFile(join(directory, 'odd.hex'), '00112\n');
  await writeFile(join(directory, 'half.jsonl'), '{"message":"NEWSA"');
  await writeFile(join(directory, 'empty-sa.jsonl'), '\n{"message":"NEWSA"}\n');
  await writeFile(join(directory, 'policy.jsonl'), '{"message":"DELSA","daddr":"::","spi":1,"family":10,"proto":50}\n');
});
afterAll(() => rm(directory, { recursive: true }));

const ids = ['--src', '192.0.2.1', '--dst', '192.0.2.2', '--spi', '0x100'];
const aead = [...ids, '--aead', 'rfc4106(gcm(aes))'];
const key = '000102030405060708090a0b0c0d0e0f10111213';

/** Nothing in here gets as far as the kernel: `@` stands for the test's directory. */
const rows: readonly (readonly [what: string, args: readonly string[], line: RegExp])[] = [
  ['unknown command', ['as'], /unknown command 'as'/],
  ['misspelt command', ['sa', 'lsit'], /unknown command 'lsit' \(Did you mean list\?\)/],
  ['unknown option', ['sa', 'list', '--jsno'], /unknown option '--jsno' \(Did you mean --json\?\)/],
  ['argument too many', ['sa', 'list', 'all'], /too many arguments/],
  ['option without value', ['sa', 'get', '--dst'], /argument missing/],
  ['required option missing', ['sa', 'get', '--spi', '1'], /'--dst <address>' not specified/],
  ['bad address', ['sa', 'get', '--dst', '192.0.2.999', '--spi', '1'], /'192.0.2.999' is not an IPv4 or IPv6 address/],
  ['bad prefix', ['sa', 'list', '--src', '192.0.2.0/33'], /prefix length from 0 to 32/],
  ['bad number', ['sa', 'get', '--dst', '192.0.2.2', '--spi', '0x1g'], /whole number, decimal or 0x/],
  ['number too large', ['sa', 'get', '--dst', '192.0.2.2', '--spi', '4294967296'], /At most 4294967295/],
  ['bad mark', ['sa', 'get', '--dst', '192.0.2.2', '--spi', '1', '--mark', '1/2/3'], /VALUE\/MASK/],
  ['bad mode', ['sa', 'add', ...aead, '--mode', 'funnel'], /Choose one of transport, tunnel/],
  ['addresses missing', ['sa', 'add', '--spi', '1'], /--src, --dst and --spi are needed/],
  ['two families', ['sa', 'add', '--src', '::1', '--dst', '192.0.2.2', '--spi', '1'], /different address families/],
  ['no algorithm', ['sa', 'add', ...ids], /an algorithm is needed/],
  ['no key', ['sa', 'add', ...aead], /--aead needs --key or --key-file/],
  ['odd key', ['sa', 'add', ...aead, '--key', '001'], /3 hexadecimal digits are no whole number of bytes/],
  [
    'key of wrong length',
    ['sa', 'add', ...aead, '--key', '0011'],
    /takes a key of 20, 28, 36 bytes .*, this one has 2/,
  ],
  ['key that is no hex', ['sa', 'add', ...aead, '--key', 'secret'], /only hexadecimal digits/],
  ['odd key file', ['sa', 'add', ...aead, '--key-file', '@/odd.hex'], /5 hexadecimal digits/],
  ['missing key file', ['sa', 'add', ...aead, '--key', '@@/none'], /cannot read the file: ENOENT/],
  ['cipher without key', ['sa', 'add', ...ids, '--enc', 'cbc(aes)'], /--enc takes two words/],
  [
    'cipher with bad key',
    ['sa', 'add', ...ids, '--enc', 'cbc(aes)', '00'],
    /--enc: cbc\(aes\) takes a key of 16, 24, 32/,
  ],
  ['both kinds', ['sa', 'add', ...aead, '--key', key, '--auth', 'hmac(sha1)', key], /exclude each other/],
  ['ESN without window', ['sa', 'add', ...aead, '--key', key, '--esn', '--replay-window', '0'], /--esn needs a window/],
  ['window too large', ['sa', 'add', ...aead, '--key', key, '--replay-window', '4097'], /at most 4096/],
  ['number that needs ESN', ['sa', 'add', ...aead, '--key', key, '--oseq', '4294967296'], /need --esn/],
  ['bitmap of other size', ['sa', 'add', ...aead, '--key', key, '--bitmap', '0011223344556677'], /this window has 1/],
  ['file of SAs missing', ['sa', 'add', '--from', '@/none'], /cannot read .*: ENOENT/],
  ['file is no JSON', ['sa', 'add', '--from', '@/half.jsonl'], /half.jsonl line 1: not JSON/],
  ['file lacks a field', ['sa', 'add', '--from', '@/empty-sa.jsonl'], /empty-sa.jsonl line 2: sel: is missing/],
  ['file of other things', ['policy', 'add', '--from', '@/policy.jsonl'], /line 1: holds DELSA, NEWPOLICY is wanted/],
  ['nothing to set', ['ae', 'set', '--dst', '192.0.2.2', '--spi', '1'], /nothing to set/],
  ['half a policy', ['policy', 'delete', '--dir', 'out'], /--index, or --src and --dst, are needed/],
  ['bad template', ['policy', 'add', '--dir', 'in', '--tmpl', 'source=::1'], /'source=::1' is not one of src, dst/],
  ['prefixes of two families', ['policy', 'get', '--dir', 'in', '--src', '::/0', '--dst', '10.0.0.0/8'], /different/],
  ['unknown group', ['monitor', '--groups', 'sa,foo'], /'foo' is not one of acquire, expire/],
  ['groups and all', ['monitor', '--groups', 'sa', '--all'], /exclude each other/],
  ['namespace missing', ['sa', 'list', '--netns', 'no-such-namespace'], /no-such-namespace.*ip netns/],
  ['odd hex', ['decode', '--hex', '140'], /character 3: 3 hexadecimal digits/],
  ['no hex', ['decode', '--hex', '14 zz'], /character 3: 'z' is not a hexadecimal digit/],
  ['nothing', ['decode', '--hex', ''], /there is nothing/],
  ['cut off header', ['decode', '--hex', '14000000'], /byte 0: 4 bytes are left, a netlink header has 16/],
  [
    'cut off message',
    ['decode', '--hex', '1400000003000000000000000000000000'],
    /byte 0: .* says 20, 17 bytes are there/,
  ],
  ['garbage file', ['decode', '@/garbage'], /garbage: byte 0: not a netlink message/],
  ['file to decode missing', ['decode', '@/none'], /cannot read .*: ENOENT/],
  ['hex and file', ['decode', '--hex', '00', '@/garbage'], /exclude each other/],
  ['option of another target', ['conformance', '--any-kernel', '@/none'], /--any-kernel is for --target linux/],
  ['vectors missing', ['conformance', '@/none'], /ENOENT/],
];

describe('bad usage and bad input give one line and exit code 2', () => {
  test.concurrent.each(rows)('%s', async (_, args, line) => {
    const outcome = await xfrmsync(args.map((arg) => arg.replace(/@(?=\/)/, directory)));
    expect(outcome.stderr).toMatch(/^xfrmsync: [^\n]+\n$/);
    expect(outcome.stderr).toMatch(line);
    expect(outcome.stdout).toBe('');
    expect(outcome.code).toBe(2);
  });
});

test('no error quotes a key', async () => {
  for (const secret of ['5ec2e7', '5ec2e75', '5ec2e7xx', '5ec2e7:']) {
    for (const words of [
      ['--aead', 'rfc4106(gcm(aes))', '--key', secret],
      ['--enc', 'cbc(aes)', secret],
    ]) {
      const { code, stderr } = await xfrmsync(['sa', 'add', ...ids, ...words]);
      expect(code).toBe(2);
      expect(stderr).not.toContain('5ec2e7');
    }
  }
});

test('no command: the help on standard error, exit code 2', async () => {
  const { code, stderr } = await xfrmsync([]);
  expect(code).toBe(2);
  expect(stderr).toContain('Usage: xfrmsync');
});

test('help of every command has an example; the program names its exit codes', async () => {
  const top = await xfrmsync(['--help']);
  expect(top.code).toBe(0);
  for (const n of [0, 1, 2, 3, 4, 5, 6]) expect(top.stdout).toMatch(new RegExp(`^ +${n}  \\S`, 'm'));
  const groups: Record<string, readonly string[]> = {
    sa: ['list', 'get', 'add', 'update', 'delete', 'flush'],
    policy: ['list', 'get', 'add', 'update', 'delete', 'flush'],
    ae: ['get', 'set'],
  };
  const commands = [['monitor'], ['decode'], ['conformance'], ['simulate']];
  for (const [group, names] of Object.entries(groups)) commands.push(...names.map((name) => [group, name]));
  for (const command of commands) {
    const { code, stdout } = await xfrmsync([...command, '--help']);
    expect(code).toBe(0);
    expect(stdout, command.join(' ')).toMatch(/Examples?:\n {2}xfrmsync /);
    expect(stdout).toContain('--json');
  }
});

test('--version is that of the package', async () => {
  const { default: manifest } = await import('../../package.json', { with: { type: 'json' } });
  expect(await xfrmsync(['--version'])).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: '' });
});
