import { describe, expect, it } from 'vitest';
import {
  type AnyPfkeyMessage,
  DecodeError,
  decodePfkey,
  EncodeError,
  encodePfkey,
  formatPfkey,
  JsonError,
  type PfkeyMessage,
  pfkeyFromJson,
  pfkeyToJson,
} from '../../src/pfkey/index.ts';
import { bytes, hex } from '../xfrm/hex.ts';

const host = (w0: number) => ({ w0, w1: 0, w2: 0, w3: 0 });
const inet = (w0: number, port = 0) => ({ family: 2, port, address: host(w0) });
const inet6 = (w3: number, port = 0) => ({
  family: 10,
  port,
  address: { w0: 0xfd090000, w1: 0, w2: 0, w3 },
  flowinfo: 0,
  scopeId: 0,
});
const header = { errno: 0, satype: 3, seq: 1, pid: 4321 };
const sa = { spi: 0x100, replay: 0, state: 1, auth: 3, encrypt: 12, flags: 0 };

/** Written by hand after the header files, little-endian. */
const rows: [name: string, wire: string, message: AnyPfkeyMessage][] = [
  [
    'X_SPDADD: a tunnel over IPv6 and ESP in transport mode within',
    `02 0e 00 00 1500 0000 01000000 e1100000
     0d00 1200  0200 02 00 09000000 d0070000
       4800 3200 02 02 0000 07000000 00000000
         0a00 0000 00000000 fd090000000000000000000000000001 00000000
         0a00 0000 00000000 fd090000000000000000000000000002 00000000
       1000 3200 01 01 0000 00000000 00000000
     0300 0500 ff 18 0000 0200 0000 0a090000 0000000000000000
     0300 0600 11 18 0000 0200 0009 0a090100 0000000000000000`,
    {
      kind: 'X_SPDADD',
      ...header,
      satype: 0,
      extensions: {
        policy: {
          type: 2,
          dir: 2,
          id: 9,
          priority: 2000,
          requests: [
            { proto: 50, mode: 2, level: 2, reqid: 7, addresses: { src: inet6(1), dst: inet6(2) } },
            { proto: 50, mode: 1, level: 1, reqid: 0 },
          ],
        },
        addressSrc: { proto: 255, prefixlen: 24, sockaddr: inet(0x0a090000) },
        addressDst: { proto: 17, prefixlen: 24, sockaddr: inet(0x0a090100, 9) },
      },
    },
  ],
  [
    'X_MIGRATE: old and new ends of a tunnel, and the key managers',
    `02 18 00 00 1300 0000 01000000 e1100000
     0500 1900 00000000 0200 01f4 0a090001 0000000000000000 0200 01f4 0a090002 0000000000000000
     0c00 1200  0200 01 00 00000000 00000000
       3000 3200 02 03 0000 07000000 00000000
         0200 0000 0a090001 0000000000000000 0200 0000 0a090002 0000000000000000
       2000 3200 02 03 0000 07000000 00000000 deadbeef 00000000 0000000000000000`,
    {
      kind: 'X_MIGRATE',
      ...header,
      satype: 0,
      extensions: {
        kmaddress: { addresses: { src: inet(0x0a090001, 500), dst: inet(0x0a090002, 500) } },
        policy: {
          type: 2,
          dir: 1,
          id: 0,
          priority: 0,
          requests: [
            { proto: 50, mode: 2, level: 3, reqid: 7, addresses: { src: inet(0x0a090001), dst: inet(0x0a090002) } },
            { proto: 50, mode: 2, level: 3, reqid: 7, data: bytes('deadbeef 00000000 0000000000000000') },
          ],
        },
      },
    },
  ],
  [
    'ACQUIRE: what the kernel proposes, an identity and a context',
    `02 06 00 03 1700 0000 01000000 00000000
     0a00 0d00 20 000000  03 0c 0000 a000 a000 8000 0001 00000000 00000000 00000000
       0000000000000000 0000000000000000 0000000000000000 8051010000000000 0000000000000000 8070000000000000
     0400 0a00 0200 0000 0500000000000000 612e6578616d706c 6500000000000000
     0200 1800 01 01 0700 7379733a65745f 00
     0500 0c00 02000000 01 02 03 01 00000000 0100000000000000 0200000000000000 0300000000000000`,
    {
      kind: 'ACQUIRE',
      errno: 0,
      satype: 3,
      seq: 1,
      pid: 0,
      extensions: {
        proposal: {
          replay: 32,
          combs: [
            {
              auth: 3,
              encrypt: 12,
              flags: 0,
              authMinbits: 160,
              authMaxbits: 160,
              encryptMinbits: 128,
              encryptMaxbits: 256,
              softAllocations: 0,
              hardAllocations: 0,
              softBytes: 0n,
              hardBytes: 0n,
              softAddtime: 0n,
              hardAddtime: 86400n,
              softUsetime: 0n,
              hardUsetime: 28800n,
            },
          ],
        },
        identitySrc: { type: 2, id: 5n, name: 'a.example' },
        secCtx: { alg: 1, doi: 1, ctxLen: 7, ctx: bytes('7379733a65745f') },
        sensitivity: {
          dpd: 2,
          sensLevel: 1,
          sensLen: 2,
          integLevel: 3,
          integLen: 1,
          sensBitmap: [1n, 2n],
          integBitmap: [3n],
        },
      },
    },
  ],
  [
    'X_REPLAY_NOTIFY: an SA with ESN has moved',
    `02 c8 00 03 1600 0000 00000000 00000000
     0200 0100 00000100 00 01 00 00 00000000
     0300 0600 00 20 0000 0200 0000 0a090002 0000000000000000
     0400 0200 05000000 f401000000000000 00105e5f00000000 05105e5f00000000
     0600 0180 02 000000 0700000001000000 0800000000000000 40000000 02000000 09000000 00000000 ffffffff 01000080
     0100 0280 05 000000
     0200 0080 20000000 e8030000 00000000
     0200 6400 00000000 0102030405060708`,
    {
      kind: 'X_REPLAY_NOTIFY',
      errno: 0,
      satype: 3,
      seq: 0,
      pid: 0,
      extensions: {
        sa: { ...sa, auth: 0, encrypt: 0 },
        addressDst: { proto: 0, prefixlen: 32, sockaddr: inet(0x0a090002) },
        lifetimeCurrent: { allocations: 5, bytes: 500n, addtime: 1600000000n, usetime: 1600000005n },
        replayState: {
          mode: 2,
          oseq: 0x1_0000_0007n,
          seq: 8n,
          window: 64,
          bmpLen: 2,
          packetsHigh: 9,
          bitmap: [0xffff_ffff, 0x8000_0001],
        },
        replayReason: { reason: 5 },
        replayThreshold: { packets: 32, milliseconds: 1000 },
      },
      rest: { other: [{ index: 6, type: 100, data: bytes('00000000 0102030405060708') }] },
    },
  ],
];

describe('messages', () => {
  it.each(rows)('%s', (_, wire, message) => {
    expect(decodePfkey(bytes(wire))).toEqual(message);
    expect(hex(encodePfkey(message))).toBe(hex(bytes(wire)));
    expect(pfkeyFromJson(JSON.parse(JSON.stringify(pfkeyToJson(message, { showKeys: true }))))).toEqual(message);
  });
});

const get = `02 05 00 03 0a00 0000 02000000 e1100000  0200 0100 00000100 00 01 03 0c 00000000
  0300 0500 00 20 0000 0200 0000 0a090001 0000000000000000  0300 0600 00 20 0000 0200 0000 0a090002 0000000000000000`;

/** `wire` with other bytes from `at` on. */
function patched(wire: string, ...patches: [at: number, text: string][]): Uint8Array {
  const changed = bytes(wire);
  for (const [at, text] of patches) changed.set(bytes(text), at);
  return changed;
}

describe('what the typed value does not say comes back', () => {
  it.each([
    ['reserved bytes of the header', patched(get, [6, '0102']), ['padding']],
    ['reserved bytes of an extension', patched(get, [38, '0102']), ['padding']],
    ['sin_zero', patched(get, [50, 'ff']), ['padding']],
    ['an unknown extension between others', patched(get, [18, '6300']), ['other']],
    ['an extension that is longer than it must be', patched(get, [16, '0500']), ['quirks']],
    ['padding behind a key', bytes('0203000303000000000000000000000001000800000000ff'), ['padding']],
    [
      'a key extension of more words than its key takes',
      bytes('020300030500000000000000000000000300080008000000aa000000000000ff1122334455667788'),
      ['quirks'],
    ],
    [
      'a name without NUL',
      bytes('02060003050000000000000000000000 03000a000200000000000000000000006162636465666768'),
      ['quirks'],
    ],
    [
      'what is behind the NUL of a name',
      bytes('02060003050000000000000000000000 03000a00020000000000000000000000 6162000000000001'),
      ['padding'],
    ],
    ['a request that is cut off', patched(rows[0]?.[1] as string, [32, 'ff00']), ['quirks']],
  ])('%s', (_, wire, names) => {
    const message = decodePfkey(wire);
    expect(Object.keys(message.rest ?? {})).toEqual(names);
    expect(hex(encodePfkey(message))).toBe(hex(wire));
  });

  it('no further than the value that takes its place', () => {
    const wire = bytes('020300030500000000000000000000000300080008000000aa000000000000ff1122334455667788');
    const message = decodePfkey(wire) as PfkeyMessage<'ADD'>;
    for (const length of [0, 7, 8, 9, 15, 16, 17, 40]) {
      const keyAuth = { bits: 8 * length, key: new Uint8Array(length).fill(0xbb) };
      const again = decodePfkey(encodePfkey({ ...message, extensions: { keyAuth, sa } }));
      expect(again.extensions).toEqual({ keyAuth, sa });
    }
  });
});

describe('refused as Linux refuses it', () => {
  it.each([
    ['ERR_HEADER_SHORT', bytes('020500030a00')],
    ['ERR_VERSION', patched(get, [0, '01'])],
    ['ERR_TYPE', patched(get, [1, '00'])],
    ['ERR_MESSAGE_LENGTH', patched(get, [4, '0b00'])],
    ['ERR_MESSAGE_LENGTH', patched(get, [4, '0100'])],
    ['ERR_TYPE', patched(get, [18, '0000'])],
    ['ERR_EXTENSION_LENGTH', patched(get, [16, '0000'])],
    ['ERR_EXTENSION_LENGTH', patched(get, [16, '0900'])],
    ['ERR_EXTENSION_SHORT', patched(get, [16, '0100'])],
    ['ERR_EXTENSION_REPEATED', patched(get, [58, '0500'])],
    ['ERR_ADDRESS', patched(get, [40, '0a00'])],
    ['ERR_ADDRESS', patched(get, [40, '0000'])],
    ['ERR_EXTENSION_SHORT', bytes('02030003030000000000000000000000 0100080001000000')],
    ['ERR_EXTENSION_SHORT', bytes('02030003030000000000000000000000 0100180001010100')],
    ['ERR_EXTENSION_SHORT', bytes(`02c90003060000000000000000000000 04000180 00000000 ${'00'.repeat(20)} 01000000`)],
  ])('%s', (code, wire) => {
    try {
      decodePfkey(wire);
    } catch (error) {
      expect(error).toBeInstanceOf(DecodeError);
      expect(error).toMatchObject({ code });
      return;
    }
    expect.unreachable('it was decoded');
  });
});

const add: PfkeyMessage<'ADD'> = {
  kind: 'ADD',
  ...header,
  extensions: {
    sa,
    addressDst: { proto: 0, prefixlen: 32, sockaddr: inet(0x0a090002) },
    keyAuth: { bits: 16, key: Uint8Array.of(0xab, 0xcd) },
  },
};

describe('values without an encoding', () => {
  it.each([
    ['kind', { ...add, kind: 'NEWSA' }],
    ['type', { ...add, kind: 'UNKNOWN', type: 0 }],
    ['errno', { ...add, errno: 256 }],
    ['extensions.nonsense', { ...add, extensions: { nonsense: {} } }],
    ['extensions.sa.spi', { ...add, extensions: { sa: { ...sa, spi: -1 } } }],
    ['extensions.sa', { ...add, extensions: { sa: null } }],
    ['extensions.addressDst', { ...add, extensions: { addressDst: { proto: 0, prefixlen: 32 } } }],
    [
      'extensions.addressDst.sockaddr.family',
      { ...add, extensions: { addressDst: { proto: 0, prefixlen: 32, sockaddr: { ...inet(1), family: 3 } } } },
    ],
    ['extensions.keyAuth.key', { ...add, extensions: { keyAuth: { bits: 24, key: Uint8Array.of(0xab, 0xcd) } } }],
    [
      'extensions.kmaddress.addresses.dst.family',
      { ...add, extensions: { kmaddress: { addresses: { src: inet(1), dst: inet6(2) } } } },
    ],
    [
      'extensions.policy.requests.0.reqid',
      {
        ...add,
        extensions: {
          policy: {
            type: 2,
            dir: 1,
            id: 0,
            priority: 0,
            requests: [{ proto: 50, mode: 1, level: 1, reqid: 0.5 }],
          },
        },
      },
    ],
    ['extensions.identitySrc.name', { ...add, extensions: { identitySrc: { type: 2, id: 0n, name: 'a\0b' } } }],
    ['rest.other', { ...add, rest: { other: [{ index: 0, type: 100, data: new Uint8Array(5) }] } }],
    ['extensions.kmprivate', { ...add, extensions: { kmprivate: { data: new Uint8Array(600_000) } } }],
  ])('at %s', (path, message) => {
    try {
      encodePfkey(message as unknown as AnyPfkeyMessage);
    } catch (error) {
      expect(error).toBeInstanceOf(EncodeError);
      expect(error).toMatchObject({ code: 'ERR_ENCODE', path });
      return;
    }
    expect.unreachable('it was encoded');
  });
});

describe('text and JSON', () => {
  it('hide keys, and what is private to key managers, unless they are asked for', () => {
    const message: AnyPfkeyMessage = {
      ...add,
      extensions: { ...add.extensions, kmprivate: { data: bytes('abcdabcdabcdabcd') } },
    };
    for (const text of [formatPfkey(message), JSON.stringify(pfkeyToJson(message))]) {
      expect(text).not.toMatch(/abcd/);
      expect(text).toContain('2 bytes hidden');
    }
    for (const options of [{ showKeys: true }]) {
      expect(formatPfkey(message, options)).toMatch(/key abcd\n/);
      expect(JSON.stringify(pfkeyToJson(message, options))).toContain('"abcdabcdabcdabcd"');
    }
    expect(() => pfkeyFromJson(pfkeyToJson(message))).toThrow(/print it with --show-keys/);
  });

  it('have one line for each extension', () => {
    expect(formatPfkey({ ...add, errno: 17 })).toBe(
      [
        'ADD esp seq 1 pid 4321',
        '  EEXIST: already exists',
        '  sa spi 0x00000100 replay 0 state mature auth sha1hmac encrypt aescbc flags -',
        '  addressDst proto any prefixlen 32 sockaddr 10.9.0.2',
        '  keyAuth bits 16 key (2 bytes hidden)',
      ].join('\n'),
    );
  });

  it('name the compression algorithm of IPCOMP', () => {
    const comp: AnyPfkeyMessage = { ...add, satype: 9, extensions: { sa: { ...sa, auth: 0, encrypt: 2 } } };
    expect(formatPfkey(comp)).toContain('encrypt deflate');
    expect(pfkeyFromJson(pfkeyToJson(comp))).toEqual(comp);
  });

  it.each([
    [inet(0x0a090001), '10.9.0.1'],
    [inet(0x0a090001, 500), '10.9.0.1:500'],
    [inet6(1), 'fd09::1'],
    [inet6(1, 500), '[fd09::1]:500'],
    [{ ...inet6(1), scopeId: 2 }, 'fd09::1%2'],
    [{ ...inet6(1, 9), scopeId: 2, flowinfo: 3 }, '[fd09::1%2]:9 flowinfo 3'],
  ])('%o', (sockaddr, text) => {
    const message: AnyPfkeyMessage = { ...add, extensions: { addressDst: { proto: 0, prefixlen: 0, sockaddr } } };
    const json = pfkeyToJson(message);
    expect(json.extensions).toEqual({ addressDst: { proto: 'any', prefixlen: 0, sockaddr: text } });
    expect(pfkeyFromJson(json)).toEqual(message);
  });

  const json = () => pfkeyToJson(add, { showKeys: true }) as { extensions: Record<string, object> };
  it.each([
    ['message', { ...json(), message: 'NEWSA' }],
    ['type', { ...json(), type: 3 }],
    ['header.pid', { ...json(), header: { pid: -1 } }],
    ['header.satype', { ...json(), header: { satype: 'pf' } }],
    ['extensions.nonsense', { ...json(), extensions: { nonsense: {} } }],
    ['extensions.sa.spi', { ...json(), extensions: { sa: { ...json().extensions.sa, spi: 'x' } } }],
    ['extensions.sa.state', { ...json(), extensions: { sa: { ...json().extensions.sa, state: undefined } } }],
    ['extensions.sa.more', { ...json(), extensions: { sa: { ...json().extensions.sa, more: 1 } } }],
    ['extensions.addressDst.sockaddr', { ...json(), extensions: { addressDst: { proto: 0, prefixlen: 0 } } }],
    [
      'extensions.addressDst.sockaddr',
      { ...json(), extensions: { addressDst: { proto: 0, prefixlen: 0, sockaddr: '10.9.0.1:70000' } } },
    ],
    ['extensions.keyAuth.key', { ...json(), extensions: { keyAuth: { bits: 8, key: 'abc' } } }],
    ['otherExtensions[0].type', { ...json(), otherExtensions: [{ type: 70000, data: '' }] }],
  ])('back from JSON, a mistake is told: %s', (path, wrong) => {
    try {
      pfkeyFromJson(JSON.parse(JSON.stringify(wrong)));
    } catch (error) {
      expect(error).toBeInstanceOf(JsonError);
      expect(error).toMatchObject({ code: 'ERR_JSON', path });
      return;
    }
    expect.unreachable('it was read');
  });
});
