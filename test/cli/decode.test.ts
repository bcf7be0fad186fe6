import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodePfkey, pfkeyFromJson } from '../../src/pfkey/index.ts';
import { xfrmsync } from './run.ts';

/** A GETAE's answer of Linux 6.1 (vectors: getae-flags-000, flags RTHR), little-endian. */
const newae =
  '7c0000001e00000003000000000000000a09000200000000000000000000000000000300020032000a09000100000000' +
  '0000000000000000010000000100000010000a0000000000000000000000000024000900000000000000000000000000' +
  '000000007208016b00000000000000000000000008000b0006000000';
const done = '1400000003000200090000000000000000000000';
const flushsa = '140000001c000000050000000000000032000000';
const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');

function record(...datagrams: string[]): Buffer {
  return Buffer.concat(
    datagrams.flatMap((hex) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(hex.length / 2);
      return [length, bytes(hex)];
    }),
  );
}

/** A pcap file of LINKTYPE_NETLINK; each packet names its netlink protocol. */
function pcap(linkType: number, ...packets: [protocol: number, hex: string][]): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4);
  header.writeUInt32LE(linkType, 20);
  const parts = packets.flatMap(([protocol, hex]) => {
    const packet = Buffer.alloc(16 + 16);
    packet.writeUInt32LE(16 + hex.length / 2, 8);
    packet.writeUInt32LE(16 + hex.length / 2, 12);
    packet.writeUInt16BE(protocol, 16 + 14);
    return [packet, bytes(hex)];
  });
  return Buffer.concat([header, ...parts]);
}

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'xfrmsync-decode-'));
});
afterAll(() => rm(directory, { recursive: true }));

const kinds = (stdout: string): string[] =>
  stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { message: string }).message);

const all = ['NEWAE', 'FLUSHSA', 'DONE'];
const both = newae + flushsa + done;
const forms: readonly (readonly [string, string | Buffer])[] = [
  ['hex text', both],
  ['hex with spaces, colons and lines', `0x${both.replace(/../g, '$&:').replace(/.{48}/g, '$&\n ')}\n`],
  ['upper-case hex', both.toUpperCase()],
  ['messages back to back', bytes(both)],
  ['records of one message', record(newae, flushsa, done)],
  ['records, the first one short', record(flushsa, newae, done).subarray(0)],
  ['a record of several messages', record(newae + flushsa, done)],
  ['pcap', pcap(253, [6, newae], [0, 'ffff'], [6, flushsa + done])],
];

test.each(forms)('reads %s, from standard input and from a file', async (name, input) => {
  const piped = await xfrmsync(['decode', '--json'], input);
  expect(piped).toMatchObject({ code: 0, stderr: '' });
  expect(kinds(piped.stdout).sort()).toEqual([...all].sort());
  const file = join(directory, name.replaceAll(' ', '-'));
  await writeFile(file, input);
  expect(await xfrmsync(['decode', '--json', file])).toEqual(piped);
});

test('prints values by name, as text and as JSON', async () => {
  const json = await xfrmsync(['decode', '--json', '--hex', newae]);
  expect(JSON.parse(json.stdout)).toMatchObject({
    message: 'NEWAE',
    saId: { daddr: '10.9.0.2', spi: '0x00000300', family: 'inet', proto: 'esp' },
    saddr: '10.9.0.1',
    reqid: 1,
    attributes: { replayVal: { oseq: 0, seq: 0, bitmap: 0 }, replayThresh: 6 },
  });
  const text = await xfrmsync(['decode', '--hex', newae]);
  expect(text.stdout).toMatch(/^NEWAE/);
  expect(text.stdout).toContain('spi 0x00000300');
  expect(text.stdout).toContain('replayThresh 6');
});

const broken: readonly (readonly [string, string | Buffer, kinds: string[], RegExp])[] = [
  ['a message cut off', bytes(newae + done).subarray(0, 130), ['NEWAE'], /byte 124: 6 bytes are left/],
  [
    'a record cut off',
    record(newae, done).subarray(0, -1),
    ['NEWAE'],
    /byte 128: the record has 20 bytes, 19 are there/,
  ],
  ['a length cut off', Buffer.concat([record(newae), bytes('1400')]), ['NEWAE'], /byte 128: .* cut off after 2 bytes/],
  ['a record that is empty', Buffer.concat([record(newae), bytes('00000000')]), ['NEWAE'], /byte 128: .* empty/],
  ['an attribute too short', newae.replace('10000a00', '08000a00'), [], /XFRMA_REPLAY_VAL at byte 64/],
  [
    'a packet cut off',
    pcap(253, [6, newae], [6, done]).subarray(0, -1),
    ['NEWAE'],
    /byte 180: the packet has 36 bytes/,
  ],
  ['pcap of Ethernet', pcap(1, [6, newae]), [], /byte 20: link type 1/],
];

test.each(broken)('%s: prints what stands before it, then one line', async (_, input, before, line) => {
  const outcome = await xfrmsync(['decode', '--json'], input);
  expect(kinds(outcome.stdout)).toEqual(before);
  expect(outcome.stderr).toMatch(/^xfrmsync: cannot decode standard input: [^\n]+\n$/);
  expect(outcome.stderr).toMatch(line);
  expect(outcome.code).toBe(2);
});

test('--format overrules the guess', async () => {
  expect((await xfrmsync(['decode', '--format', 'raw'], record(newae))).code).toBe(2);
  expect((await xfrmsync(['decode', '--format', 'record'], record(newae))).code).toBe(0);
});

/** ADD and GET of the vectors (pfkey-life-simple), without the last extensions; and the end of an empty dump. */
const add =
  '020300030d00000001000000e110000002000100000001000001030c00000000' +
  '0300050000200000020000000a0900010000000000000000' +
  '0300060000200000020000000a0900020000000000000000' +
  '0300090080000000808182838485868788898a8b8c8d8e8f';
const nothing = '020a0200020000004d000000e1100000';
const pfkeyForms: readonly (readonly [string, string | Buffer])[] = [
  ['hex text', add + nothing],
  ['back to back', bytes(add + nothing)],
  ['records', record(add, nothing)],
];

test.each(pfkeyForms)('reads PF_KEY: %s', async (_, input) => {
  const { code, stdout, stderr } = await xfrmsync(['decode', '--pfkey', '--json', '--show-keys'], input);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const messages = stdout
    .trim()
    .split('\n')
    .map((line) => pfkeyFromJson(JSON.parse(line)));
  expect(messages.map((message) => Buffer.from(encodePfkey(message)).toString('hex'))).toEqual([add, nothing]);
});

test('prints PF_KEY for people, without keys', async () => {
  const { stdout } = await xfrmsync(['decode', '--pfkey', '--hex', add + nothing]);
  expect(stdout).toContain('addressDst proto any prefixlen 32 sockaddr 10.9.0.2');
  expect(stdout).toContain('(16 bytes hidden)');
  expect(stdout).toContain('DUMP seq 77 pid 4321\n  ENOENT');
});

test.each([
  ['cut off', bytes(add + nothing).subarray(0, 110), /SADB|sadb_msg at byte 104: 6 bytes/],
  ['of another version', `01${nothing.slice(2)}`, /version 1/],
  ['netlink', newae, /version 124/],
])('PF_KEY: %s is told in one line', async (_, input, line) => {
  const outcome = await xfrmsync(['decode', '--pfkey'], input);
  expect(outcome.stderr).toMatch(/^xfrmsync: cannot decode standard input: [^\n]+\n$/);
  expect(outcome.stderr).toMatch(line);
  expect(outcome.code).toBe(2);
});
