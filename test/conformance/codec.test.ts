import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import {
  type CodecResult,
  checkCodec,
  difference,
  isStream,
  readScenarios,
  vectorFiles,
} from '../../src/conformance/index.ts';
import { forEachMessage } from '../../src/netlink/index.ts';

const vectors = join(import.meta.dirname, '../vectors');
const directory = mkdtempSync(join(tmpdir(), 'xfrmsync-vectors-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function check(path: string): Promise<CodecResult[]> {
  const results: CodecResult[] = [];
  for await (const result of checkCodec(path)) results.push(result);
  return results;
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replace(/\s+/g, ''), 'hex'));
const plain = (hex: string): string => hex.replace(/\s+/g, '');

const world = { name: 'x', category: 'newae', note: '', kernel: '6.1.192', hz: 250, pad64: false, topology: 'single' };
const scenario = (steps: object[], kernel = '6.1.192'): string => `${JSON.stringify({ ...world, kernel, steps })}\n`;
const sent = (hex: string, reply: string[] = [], more: object = {}) => ({
  op: 'send',
  t: 0,
  sock: 's',
  hex: plain(hex),
  reply: reply.map(plain),
  ...more,
});

/** GETAE cut to 20 bytes, and an answer to it. */
const short = '14000000 1f00 0100 01000000 00000000 00000000';
const answer = (error: string): string => `28000000 0200 0000 01000000 01000000 ${error} ${short}`;
const flush = '14000000 1c00 0100 02000000 00000000 00000000';

/** Of each kernel, in test/vectors/pfkey. */
const PFKEY_SCENARIOS = 21;

/** The scenarios that came from differences: a line each. */
const ownScenarios = (): number =>
  readdirSync(join(vectors, 'own'))
    .flatMap((name) => readFileSync(join(vectors, 'own', name), 'utf8').split('\n'))
    .filter((line) => line !== '').length;

describe('the codec and the vectors', () => {
  it('agree in every scenario of every kernel', async () => {
    const results = await check(vectors);
    expect(results.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
    const counts: Record<string, number> = {};
    for (const { counts: own } of results)
      for (const [what, n] of Object.entries(own)) counts[what] = (counts[what] ?? 0) + n;
    // Three kernels, the stream, more of PF_KEY, and the project's own.
    expect(ownScenarios()).toBeGreaterThan(54);
    expect(results.length).toBe(3 * (566 + PFKEY_SCENARIOS) + 1 + ownScenarios());
    expect(counts).toMatchObject({ NEWAE: expect.any(Number), SADB_ADD: expect.any(Number) });
    const pfkey = Object.entries(counts).filter(([what]) => what.startsWith('SADB_'));
    expect(pfkey.reduce((sum, [, n]) => sum + n, 0)).toBe(2351);
    expect(counts.leftover).toBeGreaterThanOrEqual(19);
    expect(counts.failed).toBeUndefined();
  });

  it('every message of the files is counted', async () => {
    const path = join(vectors, '6.1-amd64/netlink.jsonl.gz');
    let expected = 0;
    for await (const { scenario } of readScenarios(path)) {
      for (const step of scenario.steps) {
        if (step.op === 'events') expected += step.hex?.length ?? 0;
        if (step.op !== 'send') continue;
        const data = bytes(step.hex);
        const end = forEachMessage(data, () => {
          expected++;
        });
        expected += (step.reply?.length ?? 0) + (end < data.length ? 1 : 0);
      }
    }
    const counted = (await check(path)).flatMap(({ counts }) => Object.values(counts));
    expect(counted.reduce((a, b) => a + b, 0)).toBe(expected);
  });
});

describe('a request that we refuse', () => {
  it.each([
    ['passes if the kernel answered EINVAL', [sent(short, [answer('eaffffff')])], 'passed', { refused: 1 }],
    ['passes if the kernel answered ERANGE', [sent(short, [answer('deffffff')])], 'passed', { refused: 1 }],
    ['passes if it was refused for want of rights', [sent(short, [answer('ffffffff')])], 'passed', { unread: 1 }],
    ['passes if it was no request', [sent(short.replace('0100', '0000'))], 'passed', { unread: 1 }],
    ['fails if the kernel accepted it', [sent(short, [answer('00000000')])], 'failed', { failed: 1 }],
    ['fails if the kernel answered otherwise', [sent(short, [answer('fdffffff')])], 'failed', { failed: 1 }],
    ['fails if the kernel gave no answer', [sent(short)], 'failed', { failed: 1 }],
    [
      'fails if only another was answered',
      [sent(short, [answer('eaffffff').replace('01000000', '02000000')])],
      'failed',
      { failed: 1 },
    ],
  ])('%s', async (_, steps, outcome, counts) => {
    const [result] = await check(file('refused.jsonl', scenario(steps)));
    expect(result).toMatchObject({ outcome, counts, name: '6.1.192 x' });
    expect(result?.detail === undefined).toBe(outcome === 'passed');
  });

  it('depends on the release', async () => {
    const strict = `4c000000 1f00 0100 01000000 00000000 ${'00'.repeat(48)} 0800 2100 01000000 0400 0000`;
    const accepted = `24000000 0200 0001 01000000 01000000 00000000 ${plain(strict).slice(0, 32)}`;
    for (const [kernel, outcome] of [
      ['6.1.192', 'passed'],
      ['6.12.117', 'failed'],
    ] as const) {
      expect(await check(file('release.jsonl', scenario([sent(strict, [accepted])], kernel)))).toMatchObject([
        { outcome },
      ]);
    }
  });
});

describe('other findings', () => {
  it('a received message that is malformed fails', async () => {
    const [result] = await check(
      file('received.jsonl', scenario([{ op: 'events', t: 0, sock: 's', hex: [plain(short)] }])),
    );
    expect(result).toMatchObject({ outcome: 'failed' });
    expect(result?.detail).toContain('step 0 events, message 0 received: refused with ERR_BODY_SHORT');
  });

  it('leftovers are counted', async () => {
    const path = file('leftover.jsonl', scenario([sent(`${flush} 0000`)]));
    expect(await check(path)).toMatchObject([{ outcome: 'passed', counts: { FLUSHSA: 1, leftover: 1 } }]);
  });

  const open = { op: 'socket', t: 0, sock: 'k', proto: 'pfkey' };
  const dump = '020a0000020000004d000000e1100000';
  const without = '02050003040000000100000000000000 0000010000000000 0000000000000000';
  const refused = (errno: string): string => `0205${errno}03020000000100000000000000`;
  it.each([
    ['a message', [{ op: 'events', t: 0, sock: 'k', hex: [dump] }], 'passed', { SADB_DUMP: 1 }],
    ['one that is malformed', [{ op: 'events', t: 0, sock: 'k', hex: ['0203'] }], 'failed', { failed: 1 }],
    ['a refused request', [sent(without, [refused('16')], { sock: 'k' })], 'passed', { refused: 1, SADB_GET: 1 }],
    ['one that could not be sent', [sent('0202', [], { sock: 'k', errno: 90 })], 'passed', { refused: 1 }],
    ['one that was answered otherwise', [sent(without, [refused('03')], { sock: 'k' })], 'failed', { failed: 1 }],
    ['one without an answer', [sent(without, [], { sock: 'k' })], 'failed', { failed: 1 }],
  ])('of PF_KEY: %s', async (_, steps, outcome, counts) => {
    expect(await check(file('pfkey.jsonl', scenario([open, ...steps])))).toMatchObject([{ outcome, counts }]);
  });

  it.each([
    ['unknown message type', '14000000 9900 0000 02000000 00000000 00000000'],
    ['FLUSHSA with padding', '14000000 1c00 0000 02000000 00000000 00000001'],
    ['NEWAE with other', `48000000 1e00 0000 02000000 00000000 ${'00'.repeat(48)} 0800 6300 00000000`],
    ['bytes are no message', `${flush} 0000`],
    ['refused with ERR_BODY_SHORT', short],
  ])('a stream with: %s', async (what, message) => {
    const data = bytes(message);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(data.length);
    const [result] = await check(file('stream.bin', Buffer.concat([length, data])));
    expect(result).toMatchObject({ outcome: 'failed', name: 'stream.bin' });
    expect(result?.detail).toContain(what);
  });
});

describe('files of vectors', () => {
  it.each([
    ['no JSON', 'bad.jsonl', `${scenario([])}\n{`, 'ERR_VECTOR_FORMAT', 3],
    ['an unknown operation', 'op.jsonl', scenario([{ op: 'reboot', t: 0 }]), 'ERR_VECTOR_FORMAT', 1],
    ['a field that is misspelt', 'field.jsonl', scenario([sent(flush, [], { replies: [] })]), 'ERR_VECTOR_FORMAT', 1],
    ['odd hexadecimal digits', 'hex.jsonl', scenario([sent('abc')]), 'ERR_VECTOR_FORMAT', 1],
    ['a kernel without a release', 'kernel.jsonl', scenario([], 'linux'), 'ERR_VECTOR_FORMAT', 1],
    ['a line without end', 'long.jsonl', 'x'.repeat(5_000_000), 'ERR_VECTOR_SIZE', 1],
    ['broken compression', 'broken.jsonl.gz', 'no gzip', 'ERR_VECTOR_READ', 1],
    ['a record that is cut off', 'cut.bin', bytes('05000000 01020304'), 'ERR_VECTOR_FORMAT', 1],
    ['a record of absurd length', 'huge.bin', bytes('ffffff7f 01020304'), 'ERR_VECTOR_SIZE', 1],
    ['another kind of file', 'notes.txt', '', 'ERR_VECTOR_NAME', undefined],
  ])('with %s are refused', async (_, name, content, code, line) => {
    const path = file(name, content);
    await expect(check(path)).rejects.toMatchObject({ name: 'VectorError', code, file: path, line });
  });

  it('that are not there, or not in a directory, are named', async () => {
    await expect(vectorFiles(join(directory, 'absent.jsonl'))).rejects.toMatchObject({ code: 'ERR_VECTOR_READ' });
    const empty = mkdtempSync(join(directory, 'empty-'));
    await expect(vectorFiles(empty)).rejects.toMatchObject({ code: 'ERR_VECTOR_NAME', file: empty });
  });

  it('are read with and without compression', async () => {
    const text = scenario([sent(flush)]);
    expect(await check(file('same.jsonl', text))).toEqual(await check(file('same.jsonl.gz', gzipSync(text))));
    expect(isStream('a/stream-64sa.bin.gz')).toBe(true);
    expect(isStream('a/newae.jsonl.gz')).toBe(false);
  });
});

describe('difference', () => {
  const one = bytes(`40000000 1f00 0100 01000000 00000000 ${'00'.repeat(40)} 01000000 07000000`);

  it('names the fields, expected and actual side by side', () => {
    const other = one.slice();
    other[60] = 8;
    expect(difference(one, one)).toBe('');
    expect(
      difference(one, other)
        .split('\n')
        .map((line) => line.split(/\s{2,}/)),
    ).toEqual([
      ['', 'expected', 'actual'],
      ['reqid', '7', '8'],
    ]);
  });

  it('names the bytes where the fields are the same', () => {
    const padding = one.slice();
    padding[39] = 1;
    expect(difference(one, padding)).toMatch(/byte 32 +0{16}.* +0{14}01/);
  });

  it('tells of messages that are missing or cannot be decoded', () => {
    expect(difference(one, undefined)).toMatch(/message +GETAE, 64 bytes +\(none\)/);
    expect(difference(undefined, one)).toMatch(/message +\(none\) +GETAE, 64 bytes/);
    expect(difference(one, one.slice(0, 20))).toContain('undecodable');
    expect(difference(undefined, undefined)).toBe('');
  });
});
