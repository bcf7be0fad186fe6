import { describe, expect, test } from 'vitest';
import { changedReplay } from '../../src/cli/ae.ts';
import { template } from '../../src/cli/policy-build.ts';
import { buildSa, encap, type SaWords } from '../../src/cli/sa-build.ts';
import { saText } from '../../src/cli/sa-text.ts';
import { host, mark, prefix, selector } from '../../src/cli/values.ts';
import { encodeMessage, formatAddress, SaFlag, XFRM_INF } from '../../src/xfrm/index.ts';

const words: SaWords = {
  src: host('192.0.2.1'),
  dst: host('192.0.2.2'),
  spi: 0x100,
  aead: 'rfc4106(gcm(aes))',
  key: '000102030405060708090a0b0c0d0e0f10111213',
};

describe('the replay state of an SA', () => {
  test.each([
    [{}, 32],
    [{ replayWindow: 0 }, 0],
    [{ replayWindow: 32 }, 32],
  ])('%o is the plain window', (more, window) => {
    const { body, attributes } = buildSa({ ...words, ...more });
    expect(body.replayWindow).toBe(window);
    expect(attributes.replayEsnVal).toBeUndefined();
    expect(attributes.replayVal).toBeUndefined();
  });

  test.each([
    [{ replayWindow: 33 }, 2, 0],
    [{ replayWindow: 4096 }, 128, 0],
    [{ esn: true }, 1, SaFlag.ESN],
    [{ flags: SaFlag.ESN }, 1, SaFlag.ESN],
    [{ esn: true, replayWindow: 64 }, 2, SaFlag.ESN],
  ])('%o is REPLAY_ESN_VAL, nothing is clamped', (more, bmpLen, flags) => {
    const { body, attributes } = buildSa({ ...words, ...more });
    expect(body.replayWindow).toBe(0);
    expect(body.flags).toBe(flags);
    const { replayWindow = 32 } = more as SaWords;
    expect(attributes.replayEsnVal).toMatchObject({ bmpLen, replayWindow });
    expect(attributes.replayEsnVal?.bmp).toHaveLength(bmpLen);
  });

  test('counters: 32 bits plain, 64 bits with ESN', () => {
    expect(buildSa({ ...words, oseq: 5n }).attributes.replayVal).toEqual({ oseq: 5, seq: 0, bitmap: 0 });
    const { replayEsnVal } = buildSa({ ...words, esn: true, oseq: 0x2_0000_0003n, seq: 7n }).attributes;
    expect(replayEsnVal).toMatchObject({ oseqHi: 2, oseq: 3, seqHi: 0, seq: 7 });
  });
});

test('no limit is none: infinite bytes and packets, no seconds', () => {
  const { lft } = buildSa({ ...words, ...{ hardPackets: 10n } }).body;
  expect(lft).toMatchObject({ hardPacketLimit: 10n, softPacketLimit: XFRM_INF, hardAddExpiresSeconds: 0n });
});

test('whatever is built can be sent, and is printed without its key', () => {
  const sa = buildSa({
    ...words,
    esn: true,
    mark: mark('1/0xff'),
    setMark: mark('2'),
    ifId: 3,
    encap: encap('espinudp:4500:4501:192.0.2.9'),
    sel: selector('10.0.0.0/8,10.1.0.0/16,udp,,53'),
    mode: 1,
  });
  expect(encodeMessage({ ...sa, kind: 'NEWSA', flags: 0, seq: 0, pid: 0 }).length).toBeGreaterThan(240);
  const text = saText(sa);
  expect(text).toContain('espinudp 4500 -> 4501, original address 192.0.2.9');
  expect(text).toContain('10.0.0.0/8 -> 10.1.0.0/16 udp dport 53');
  expect(text).toContain('key 160 bits');
  expect(text).not.toContain('0001020304');
  expect(saText(sa, { showKeys: true })).toContain('0x000102030405060708090a0b0c0d0e0f10111213');
});

describe('ae set changes what is given and nothing else', () => {
  const esn = { bmpLen: 1, oseq: 10, seq: 20, oseqHi: 1, seqHi: 2, replayWindow: 32, bmp: [0xff] };
  const legacy = { oseq: 10, seq: 20, bitmap: 0xff };

  test.each([
    [{ oseq: 11n }, { ...esn, oseq: 11 }],
    [{ oseq: 0x5_0000_0006n }, { ...esn, oseqHi: 5, oseq: 6 }],
    [
      { seq: 1n, seqHi: 9 },
      { ...esn, seq: 1, seqHi: 9 },
    ],
    [{ bitmap: [1] }, { ...esn, bmp: [1] }],
  ])('ESN %o', (given, expected) => {
    expect(changedReplay({ attributes: { replayEsnVal: esn } }, given)).toEqual({ replayEsnVal: expected });
  });

  test.each([
    [{ oseq: 11n }, { ...legacy, oseq: 11 }],
    [
      { seq: 21n, bitmap: [0xffffffff] },
      { ...legacy, seq: 21, bitmap: 0xffffffff },
    ],
  ])('plain %o', (given, expected) => {
    expect(changedReplay({ attributes: { replayVal: legacy } }, given)).toEqual({ replayVal: expected });
  });

  test('what the SA cannot hold is refused', () => {
    expect(() => changedReplay({ attributes: { replayVal: legacy } }, { oseqHi: 1 })).toThrow(/no extended/);
    expect(() => changedReplay({ attributes: { replayVal: legacy } }, { seq: 1n << 32n })).toThrow(/no extended/);
    expect(() => changedReplay({ attributes: { replayEsnVal: esn } }, { bitmap: [1, 2] })).toThrow(/has 1/);
  });
});

test('a template', () => {
  const tmpl = template('src=fd00::1,dst=fd00::2,proto=ah,mode=tunnel,reqid=0x10,spi=256,optional');
  expect(tmpl).toMatchObject({ family: 10, mode: 1, reqid: 16, optional: 1, id: { proto: 51, spi: 256 } });
  expect(formatAddress(tmpl.saddr, tmpl.family)).toBe('fd00::1');
  for (const bad of ['src', 'reqid=1,reqid=2', 'optional=1', 'src=192.0.2.1,dst=::1', 'mode=round'])
    expect(() => template(bad), bad).toThrow();
});

test('a bare address is a prefix of its own', () => {
  expect(prefix('192.0.2.1').length).toBe(32);
  expect(prefix('fd00::1').length).toBe(128);
  for (const bad of ['192.0.2.1/', '192.0.2.1/-1', '::/129', '10.0.0.0/8/8']) expect(() => prefix(bad), bad).toThrow();
});
