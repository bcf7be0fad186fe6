import { describe, expect, it } from 'vitest';
import { wireName } from '../../src/netlink/index.ts';
import {
  type AnyXfrmMessage,
  decodeMessage,
  EncodeError,
  encodeMessage,
  type XfrmAttributes,
  type XfrmMessage,
  xfrma,
} from '../../src/xfrm/index.ts';
import { bytes, hex } from './hex.ts';

const ip = (w0: number) => ({ w0, w1: 0, w2: 0, w3: 0 });
const ip4 = '0a000001 000000000000000000000000';
const name = (text: string) => Buffer.from(text).toString('hex').padEnd(128, '0');
const selector = {
  daddr: ip(0x0a000001),
  saddr: ip(0),
  dport: 0,
  dportMask: 0,
  sport: 0,
  sportMask: 0,
  family: 2,
  prefixlenD: 32,
  prefixlenS: 0,
  proto: 17,
  ifindex: 3,
  user: 0,
};
const selectorWire = `${ip4} ${'00'.repeat(16)} 0000 0000 0000 0000 0200 20 00 11 000000 03000000 00000000`;
const inf = 'ffffffffffffffff';
const XFRM_INF = 2n ** 64n - 1n;
const lft = {
  softByteLimit: XFRM_INF,
  hardByteLimit: 1n,
  softPacketLimit: 2n,
  hardPacketLimit: 3n,
  softAddExpiresSeconds: 4n,
  hardAddExpiresSeconds: 5n,
  softUseExpiresSeconds: 6n,
  hardUseExpiresSeconds: 7n,
};
const u64 = (n: number) => `${n.toString(16).padStart(2, '0')}00000000000000`;
const lftWire = `${inf} ${[1, 2, 3, 4, 5, 6, 7].map(u64).join(' ')}`;
const curlft = { bytes: 1n, packets: 2n, addTime: 3n, useTime: 4n };
const curlftWire = [1, 2, 3, 4].map(u64).join(' ');

/** Every attribute: its type, the payload on the wire (layout of linux/xfrm.h, written by hand), the typed value. */
const rows: { [K in keyof XfrmAttributes]-?: [type: number, wire: string, value: NonNullable<XfrmAttributes[K]>] } = {
  unspec: [0, '0102', bytes('0102')],
  algAuth: [1, `${name('hmac(sha1)')} 10000000 abcd`, { name: 'hmac(sha1)', keyLen: 16, key: bytes('abcd') }],
  algCrypt: [2, `${name('cbc(aes)')} 09000000 abcd`, { name: 'cbc(aes)', keyLen: 9, key: bytes('abcd') }],
  algComp: [3, `${name('deflate')} 00000000`, { name: 'deflate', keyLen: 0, key: bytes('') }],
  encap: [4, `0200 1194 0fa0 0000 ${ip4}`, { type: 2, sport: 4500, dport: 4000, oa: ip(0x0a000001) }],
  tmpl: [
    5,
    `${ip4} 00000100 32 000000 0200 0000 ${ip4} 07000000 01 00 01 00 ffffffff fffffffe 00000000`,
    [
      {
        id: { daddr: ip(0x0a000001), spi: 0x100, proto: 50 },
        family: 2,
        saddr: ip(0x0a000001),
        reqid: 7,
        mode: 1,
        share: 0,
        optional: 1,
        aalgos: 0xffffffff,
        ealgos: 0xfeffffff,
        calgos: 0,
      },
    ],
  ],
  sa: [
    6,
    `${selectorWire} ${ip4} 00000100 32 000000 ${ip4} ${lftWire} ${curlftWire}
     01000000 02000000 03000000 04000000 05000000 0200 01 20 80 00000000000000`,
    {
      sel: selector,
      id: { daddr: ip(0x0a000001), spi: 0x100, proto: 50 },
      saddr: ip(0x0a000001),
      lft,
      curlft,
      stats: { replayWindow: 1, replay: 2, integrityFailed: 3 },
      seq: 4,
      reqid: 5,
      family: 2,
      mode: 1,
      replayWindow: 32,
      flags: 128,
    },
  ],
  policy: [
    7,
    `${selectorWire} ${lftWire} ${curlftWire} 08000000 09000000 01 00 02 03 00000000`,
    { sel: selector, lft, curlft, priority: 8, index: 9, dir: 1, action: 0, flags: 2, share: 3 },
  ],
  secCtx: [8, '0b00 0800 01 02 0300 616200', { len: 11, exttype: 8, alg: 1, doi: 2, ctxLen: 3, ctx: bytes('616200') }],
  ltimeVal: [9, curlftWire, curlft],
  replayVal: [10, '01000000 02000000 030000f0', { oseq: 1, seq: 2, bitmap: 0xf0000003 }],
  replayThresh: [11, '02000000', 2],
  etimerThresh: [12, '0a000000', 10],
  srcaddr: [13, ip4, ip(0x0a000001)],
  coaddr: [14, '20010db8 00000000 00000000 00000001', { w0: 0x20010db8, w1: 0, w2: 0, w3: 1 }],
  lastused: [15, '9bfd006b01000000', 0x1_6b00fd9bn],
  policyType: [16, '01 00 0200 03 00', { type: 1, reserved1: 2, reserved2: 3 }],
  migrate: [
    17,
    `${ip4.repeat(4)} 32 01 0000 07000000 0200 0a00`,
    [
      {
        oldDaddr: ip(0x0a000001),
        oldSaddr: ip(0x0a000001),
        newDaddr: ip(0x0a000001),
        newSaddr: ip(0x0a000001),
        proto: 50,
        mode: 1,
        reserved: 0,
        reqid: 7,
        oldFamily: 2,
        newFamily: 10,
      },
    ],
  ],
  algAead: [
    18,
    `${name('rfc4106(gcm(aes))')} 20000000 80000000 01020304`,
    { name: 'rfc4106(gcm(aes))', keyLen: 32, icvLen: 128, key: bytes('01020304') },
  ],
  kmaddress: [
    19,
    `${ip4} ${ip4} 00000000 0200 0000`,
    { local: ip(0x0a000001), remote: ip(0x0a000001), reserved: 0, family: 2 },
  ],
  algAuthTrunc: [
    20,
    `${name('hmac(sha256)')} 08000000 80000000 ff`,
    { name: 'hmac(sha256)', keyLen: 8, truncLen: 128, key: bytes('ff') },
  ],
  mark: [21, 'f5000000 ff000000', { value: 0xf5, mask: 0xff }],
  tfcpad: [22, '01000000', 1],
  replayEsnVal: [
    23,
    '01000000 02000000 03000000 04000000 05000000 20000000 000000ff',
    { bmpLen: 1, oseq: 2, seq: 3, oseqHi: 4, seqHi: 5, replayWindow: 32, bmp: [0xff000000] },
  ],
  saExtraFlags: [24, '03000000', 3],
  proto: [25, '32', 50],
  addressFilter: [
    26,
    `${ip4} ${ip4} 0200 18 20`,
    { saddr: ip(0x0a000001), daddr: ip(0x0a000001), family: 2, splen: 24, dplen: 32 },
  ],
  pad: [27, '', bytes('')],
  offloadDev: [28, '02000000 03 000000', { ifindex: 2, flags: 3 }],
  setMark: [29, '01000000', 1],
  setMarkMask: [30, 'ffffffff', 0xffffffff],
  ifId: [31, '2a000000', 42],
  mtimerThresh: [32, '05000000', 5],
  saDir: [33, '02', 2],
  natKeepaliveInterval: [34, '14000000', 20],
  saPcpu: [35, '03000000', 3],
  iptfsDropTime: [36, '40420f00', 1_000_000],
  iptfsReorderWindow: [37, '0300', 3],
  iptfsDontFrag: [38, '', true],
  iptfsInitDelay: [39, '01000000', 1],
  iptfsMaxQsize: [40, '02000000', 2],
  iptfsPktSize: [41, '03000000', 3],
};

const header = { kind: 'NEWAE', flags: 0, seq: 0, pid: 0 } as const;
const body = { saId: { daddr: ip(0), spi: 0, family: 0, proto: 0 }, saddr: ip(0), flags: 0, reqid: 0 };

function le(n: number, size: number): string {
  const data = Buffer.alloc(size);
  data.writeUIntLE(n, 0, size);
  return data.toString('hex');
}

function attributeWire(type: number, payload: string): string {
  const data = bytes(payload);
  return `${le(4 + data.length, 2)}${le(type, 2)}${hex(data)}${'00'.repeat(-data.length & 3)}`;
}

function newaeWire(attributes: string): Uint8Array {
  const tail = bytes(attributes);
  return bytes(`${le(64 + tail.length, 4)} 1e00 0000 00000000 00000000 ${'00'.repeat(48)} ${hex(tail)}`);
}

const newae = (attributes: XfrmAttributes): XfrmMessage<'NEWAE'> => ({ ...header, body, attributes });

describe('attributes', () => {
  it.each(Object.entries(rows))('%s', (attribute, [type, wire, value]) => {
    const message = newae({ [attribute]: value });
    const onWire = newaeWire(attributeWire(type, wire));
    expect(decodeMessage(onWire)).toEqual(message);
    expect(hex(encodeMessage(message))).toBe(hex(onWire));
    expect(xfrma.byType.get(type)?.[0]).toBe(attribute);
  });

  it('are all in the table, and called as in the header file', () => {
    expect(Object.keys(rows).sort()).toEqual(Object.keys(xfrma.specs).sort());
    expect(wireName('XFRMA_', 'replayEsnVal')).toBe('XFRMA_REPLAY_ESN_VAL');
    expect(wireName('XFRMA_', 'ifId')).toBe('XFRMA_IF_ID');
  });

  it('keep the order of their names', () => {
    const message = newae({ ifId: 1, mark: { value: 1, mask: 1 } });
    const other = newae({ mark: { value: 1, mask: 1 }, ifId: 1 });
    expect(hex(encodeMessage(message))).not.toBe(hex(encodeMessage(other)));
    expect(Object.keys((decodeMessage(encodeMessage(message)) as XfrmMessage<'NEWAE'>).attributes)).toEqual([
      'ifId',
      'mark',
    ]);
  });
});

describe('what a typed message has no room for comes back', () => {
  const replay = attributeWire(10, '01000000 02000000 03000000');
  it.each([
    ['an unknown attribute', `${attributeWire(99, 'aabb')}${replay}`, { other: [{ index: 0, type: 99 }] }],
    [
      'a repeated attribute',
      `${attributeWire(31, '01000000')}${attributeWire(31, '02000000')}`,
      { other: [{ index: 0 }] },
    ],
    ['the nested bit', attributeWire(0x8000 | 31, '01000000'), { quirks: { ifId: { type: 0x801f } } }],
    ['a longer payload', attributeWire(31, '01000000 05060708'), { quirks: { ifId: { excess: bytes('05060708') } } }],
    ['junk in the padding', '0500 1900 32 aabbcc', { padding: [{ offset: 69, bytes: bytes('aabbcc') }] }],
    ['junk inside a structure', attributeWire(28, '02000000 03 0000ff'), { padding: [{ offset: 73 }] }],
    ['junk behind a name', attributeWire(3, `61 00 62 ${'00'.repeat(65)}`), { padding: [{ offset: 69 }] }],
    ['no padding at the end', '0500 1900 32', { cut: 3 }],
    ['bytes that are no attribute', `${replay} 0300 1f00 0000`, { tail: bytes('03001f000000') }],
    ['a key that is shorter than announced', attributeWire(1, `${name('a')} 20000000 ab`), { quirks: { algAuth: {} } }],
  ])('%s', (_, attributes, rest) => {
    const onWire = newaeWire(attributes);
    const message = decodeMessage(onWire);
    expect(message).toMatchObject({ rest });
    expect(hex(encodeMessage(message))).toBe(hex(onWire));
  });

  it('the last of several counts, and each is validated (netlink attribute parsing)', () => {
    const several = `${attributeWire(31, '01000000')}${attributeWire(31, '02000000')}`;
    expect(decodeMessage(newaeWire(several))).toMatchObject({ attributes: { ifId: 2 } });
    expect(() => decodeMessage(newaeWire(attributeWire(31, '01') + several))).toThrow('XFRMA_IF_ID at byte 64');
  });
});

describe('refused attributes', () => {
  it.each([
    ['ERR_ATTRIBUTE_SHORT', 'XFRMA_REPLAY_VAL', attributeWire(10, '00'.repeat(11))],
    ['ERR_ATTRIBUTE_SHORT', 'XFRMA_ALG_AEAD', attributeWire(18, '00'.repeat(71))],
    ['ERR_ATTRIBUTE_LENGTH', 'XFRMA_SA_DIR', attributeWire(33, '01000000')],
    ['ERR_ATTRIBUTE_LENGTH', 'XFRMA_IPTFS_DONT_FRAG', attributeWire(38, '01')],
  ])('%s: %s', (code, what, attributes) => {
    expect(() => decodeMessage(newaeWire(attributes))).toThrow(expect.objectContaining({ code, what, offset: 64 }));
  });
});

describe('values that have no encoding', () => {
  const replayVal = { oseq: 1, seq: 2, bitmap: 3 };
  it.each<[path: string, message: unknown]>([
    ['seq', { ...newae({}), seq: -1 }],
    ['flags', { ...newae({}), flags: 0x10000 }],
    ['pid', { ...newae({}), pid: 0.5 }],
    ['kind', { ...newae({}), kind: 'NEWSOMETHING' }],
    ['body', { ...newae({}), body: null }],
    ['body.reqid', { ...newae({}), body: { ...body, reqid: 2 ** 32 } }],
    ['body.saId.proto', { ...newae({}), body: { ...body, saId: { ...body.saId, proto: 256 } } }],
    ['body.saId.family', { ...newae({}), body: { ...body, saId: { ...body.saId, family: Number.NaN } } }],
    ['attributes.replayVal.oseq', newae({ replayVal: { ...replayVal, oseq: -1 } })],
    ['attributes.ifId', newae({ ifId: 2 ** 32 })],
    ['attributes.saDir', newae({ saDir: 256 })],
    ['attributes.lastused', newae({ lastused: 2n ** 64n })],
    ['attributes.lastused', newae({ lastused: 5 as unknown as bigint })],
    ['attributes.ltimeVal.bytes', newae({ ltimeVal: { ...curlft, bytes: -1n } })],
    ['attributes.offloadDev.ifindex', newae({ offloadDev: { ifindex: 2 ** 31, flags: 0 } })],
    ['attributes.migrate.0.reqid', newae({ migrate: rows.migrate[2].map((entry) => ({ ...entry, reqid: -1 })) })],
    ['attributes.algComp.name', newae({ algComp: { name: 'x'.repeat(65), keyLen: 0, key: bytes('') } })],
    ['attributes.algComp.name', newae({ algComp: { name: 'a\0b', keyLen: 0, key: bytes('') } })],
    ['attributes.algComp.name', newae({ algComp: { name: '\u20ac', keyLen: 0, key: bytes('') } })],
    ['attributes.algAuth', newae({ algAuth: { name: 'a', keyLen: 16, key: bytes('ab') } })],
    ['attributes.replayEsnVal', newae({ replayEsnVal: { ...rows.replayEsnVal[2], bmpLen: 2 } })],
    ['attributes.replayEsnVal.bmp', newae({ replayEsnVal: { ...rows.replayEsnVal[2], bmp: [-1] } })],
    ['attributes.replayVl', newae({ replayVl: replayVal } as XfrmAttributes)],
    ['attributes.pad', newae({ pad: new Uint8Array(65532) })],
  ])('%s', (path, message) => {
    let error: unknown;
    try {
      encodeMessage(message as AnyXfrmMessage);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(EncodeError);
    expect(error).toMatchObject({ code: 'ERR_ENCODE', path });
  });

  it('do not spoil the next message', () => {
    const sound = newae({ replayVal });
    const before = hex(encodeMessage(sound));
    expect(() => encodeMessage(newae({ replayVal, ifId: -1 }))).toThrow(EncodeError);
    expect(hex(encodeMessage(sound))).toBe(before);
  });
});
