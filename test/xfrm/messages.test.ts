import { describe, expect, it } from 'vitest';
import {
  type AnyXfrmMessage,
  decodeMessage,
  encodeMessage,
  formatMessage,
  messageToJson,
  XfrmMsg,
  xfrmFirstLayout,
  xfrmOfRelease,
} from '../../src/xfrm/index.ts';
import { bytes, hex } from './hex.ts';
import samples from './samples.json' with { type: 'json' };

const zero = { w0: 0, w1: 0, w2: 0, w3: 0 };
const host = (w0: number) => ({ ...zero, w0 });
const none = { bytes: 0n, packets: 0n, addTime: 0n, useTime: 0n };
const aevent = (flags: number) => ({
  saId: { daddr: host(0x0a000002), spi: 0x100, family: 2, proto: 50 },
  saddr: host(0x0a000001),
  flags,
  reqid: 7,
});

/** ESP, SPI 0x100, 10.0.0.1 -> 10.0.0.2, reqid 7, Linux 6.1 on x86-64 unless the name says otherwise. */
const rows: [name: string, wire: string, message: AnyXfrmMessage][] = [
  [
    'NEWAE: the answer to GETAE with flags 0',
    `74000000 1e00 0000 fa030000 00000000  0a000002 000000000000000000000000 00000100 0200 32 00
     0a000001 000000000000000000000000 00000000 07000000  1000 0a00 00000000 00000000 00000000
     2400 0900 0000000000000000 0000000000000000 9bfd006b00000000 0000000000000000`,
    {
      kind: 'NEWAE',
      flags: 0,
      seq: 0x3fa,
      pid: 0,
      body: aevent(0),
      attributes: { replayVal: { oseq: 0, seq: 0, bitmap: 0 }, ltimeVal: { ...none, addTime: 0x6b00fd9bn } },
    },
  ],
  [
    'NEWAE: the same from a kernel that aligns 64-bit attributes (User-Mode Linux)',
    `78000000 1e00 0000 fa030000 00000000  0a000002 000000000000000000000000 00000100 0200 32 00
     0a000001 000000000000000000000000 00000000 07000000  1000 0a00 00000000 00000000 00000000  0400 1b00
     2400 0900 0000000000000000 0000000000000000 9bfd006b00000000 0000000000000000`,
    {
      kind: 'NEWAE',
      flags: 0,
      seq: 0x3fa,
      pid: 0,
      body: aevent(0),
      attributes: {
        replayVal: { oseq: 0, seq: 0, bitmap: 0 },
        pad: new Uint8Array(),
        ltimeVal: { ...none, addTime: 0x6b00fd9bn },
      },
    },
  ],
  [
    'NEWAE: event CU after an update of the lifetime by port 4242',
    `74000000 1e00 0000 06040000 92100000  0a000002 000000000000000000000000 00000100 0200 32 00
     0a000001 000000000000000000000000 40000000 07000000  1000 0a00 00000000 00000000 00000000
     2400 0900 8813000000000000 3200000000000000 00105e5f00000000 05105e5f00000000`,
    {
      kind: 'NEWAE',
      flags: 0,
      seq: 0x406,
      pid: 4242,
      body: aevent(64),
      attributes: {
        replayVal: { oseq: 0, seq: 0, bitmap: 0 },
        ltimeVal: { bytes: 5000n, packets: 50n, addTime: 1600000000n, useTime: 1600000005n },
      },
    },
  ],
  [
    'NEWAE: ESN, thresholds, mark, interface id and direction (order as in Linux 6.18)',
    `98000000 1e00 0000 01000000 00000000  0a000002 000000000000000000000000 00000100 0200 32 00
     0a000001 000000000000000000000000 0f000000 07000000
     2400 1700 02000000 09000000 08000000 02000000 01000000 40000000 ffffffff 01000080
     0800 0b00 02000000  0800 0c00 0a000000  0c00 1500 f5000000 ff000000  0800 1f00 03000000  0800 2300 01000000
     0500 2100 01000000`,
    {
      kind: 'NEWAE',
      flags: 0,
      seq: 1,
      pid: 0,
      body: aevent(15),
      attributes: {
        replayEsnVal: {
          bmpLen: 2,
          oseq: 9,
          seq: 8,
          oseqHi: 2,
          seqHi: 1,
          replayWindow: 64,
          bmp: [0xffffffff, 0x80000001],
        },
        replayThresh: 2,
        etimerThresh: 10,
        mark: { value: 0xf5, mask: 0xff },
        ifId: 3,
        saPcpu: 1,
        saDir: 1,
      },
    },
  ],
  [
    'FLUSHSA event',
    '14000000 1c00 0000 2c040000 58000000 00 000000',
    { kind: 'FLUSHSA', flags: 0, seq: 0x42c, pid: 88, body: { proto: 0 }, attributes: {} },
  ],
  [
    'GETSA as a request for a dump: no fixed part, a filter (written by hand)',
    '18000000 1200 0103 07000000 00000000  0500 1900 32 000000',
    { kind: 'GETSA', flags: 0x301, seq: 7, pid: 0, body: null, attributes: { proto: 50 } },
  ],
  [
    'SETDEFAULT (written by hand)',
    '14000000 2700 0500 01000000 00000000 01 02 01 00',
    { kind: 'SETDEFAULT', flags: 5, seq: 1, pid: 0, body: { in: 1, fwd: 2, out: 1 }, attributes: {} },
  ],
  [
    'REPORT (written by hand)',
    `60000000 2000 0000 00000000 00000000  3c 000000
     20010db8000000000000000000000001 20010db8000000000000000000000002 0050 ffff 1f90 0000 0a00 80 40 06 000000 feffffff 01000000
     1400 0e00 20010db8000000000000000000000003`,
    {
      kind: 'REPORT',
      flags: 0,
      seq: 0,
      pid: 0,
      body: {
        proto: 60,
        sel: {
          daddr: { w0: 0x20010db8, w1: 0, w2: 0, w3: 1 },
          saddr: { w0: 0x20010db8, w1: 0, w2: 0, w3: 2 },
          dport: 80,
          dportMask: 0xffff,
          sport: 8080,
          sportMask: 0,
          family: 10,
          prefixlenD: 128,
          prefixlenS: 64,
          proto: 6,
          ifindex: -2,
          user: 1,
        },
      },
      attributes: { coaddr: { w0: 0x20010db8, w1: 0, w2: 0, w3: 3 } },
    },
  ],
  [
    'MIGRATE event with one entry, 172 bytes (written by hand)',
    `ac000000 2100 0000 00000000 00000000  ${'00'.repeat(56)} 01000000 01 000000
     0a00 1000 00 00 0000 00 00 0000  5000 1100
     0a000002 000000000000000000000000 0a000001 000000000000000000000000
     0a000004 000000000000000000000000 0a000003 000000000000000000000000 32 01 0000 07000000 0200 0200`,
    {
      kind: 'MIGRATE',
      flags: 0,
      seq: 0,
      pid: 0,
      body: {
        sel: {
          daddr: zero,
          saddr: zero,
          dport: 0,
          dportMask: 0,
          sport: 0,
          sportMask: 0,
          family: 0,
          prefixlenD: 0,
          prefixlenS: 0,
          proto: 0,
          ifindex: 0,
          user: 0,
        },
        index: 1,
        dir: 1,
      },
      attributes: {
        policyType: { type: 0, reserved1: 0, reserved2: 0 },
        migrate: [
          {
            oldDaddr: host(0x0a000002),
            oldSaddr: host(0x0a000001),
            newDaddr: host(0x0a000004),
            newSaddr: host(0x0a000003),
            proto: 50,
            mode: 1,
            reserved: 0,
            reqid: 7,
            oldFamily: 2,
            newFamily: 2,
          },
        ],
      },
    },
  ],
];

describe('wire samples and typed messages', () => {
  it.each(rows)('%s', (_, wire, message) => {
    expect(decodeMessage(bytes(wire))).toEqual(message);
    expect(hex(encodeMessage(message))).toBe(hex(bytes(wire)));
  });

  it.each(samples.map((sample) => [`${sample.kind} (${sample.origin})`, sample] as const))('%s', (_, sample) => {
    const message = decodeMessage(bytes(sample.hex));
    expect(messageToJson(message, { showKeys: true })).toEqual(sample.json);
    expect(hex(encodeMessage(message))).toBe(sample.hex);
  });

  it('every message type has a sample', () => {
    const seen = new Set([...rows.map(([, , { kind }]) => kind as string), ...samples.map(({ kind }) => kind)]);
    expect(Object.keys(XfrmMsg).filter((kind) => !seen.has(kind))).toEqual([]);
  });
});

describe('the first layout of the aevent identifier', () => {
  it('has 28 bytes and no saddr or reqid', () => {
    const wire = `3c000000 1e00 0100 01000000 00000000  0a000002 000000000000000000000000 00000100 0200 32 00 02000000
                  1000 0a00 05000000 00000000 00000000`;
    const message = {
      kind: 'NEWAE',
      flags: 1,
      seq: 1,
      pid: 0,
      body: { saId: { daddr: host(0x0a000002), spi: 0x100, family: 2, proto: 50 }, flags: 2 },
      attributes: { replayVal: { oseq: 5, seq: 0, bitmap: 0 } },
    } as const;
    expect(xfrmFirstLayout.decode(bytes(wire))).toEqual(message);
    expect(hex(xfrmFirstLayout.encode(message))).toBe(hex(bytes(wire)));
    expect(() => decodeMessage(bytes(wire).slice(0, 44).fill(44, 0, 1))).toThrow('xfrm_aevent_id at byte 16');
  });
});

describe('releases', () => {
  const withDir = bytes(`4c000000 1f00 0100 01000000 00000000 ${'00'.repeat(48)} 0800 2100 01000000 0400 0000`);

  it.each([
    ['6.1.0-56-amd64', 'skipped'],
    ['6.9.12', 'skipped'],
    ['6.10', 'refused'],
    ['6.12.117+deb12-amd64', 'refused'],
    ['6.18.44', 'refused'],
    ['7.0', 'refused'],
  ])('%s: XFRMA_SA_DIR of four bytes is %s', (release, outcome) => {
    const { decode } = xfrmOfRelease(release);
    if (outcome === 'refused') expect(() => decode(withDir)).toThrow('XFRMA_SA_DIR at byte 64: 4 bytes, must be 1');
    else expect(decode(withDir)).toMatchObject({ rest: { other: [{ type: 33 }] } });
  });

  it('refuses what is no release', () => {
    expect(() => xfrmOfRelease('linux')).toThrow(TypeError);
  });
});

describe('text and JSON', () => {
  const newsa = samples.find(({ kind }) => kind === 'NEWSA') as (typeof samples)[number];
  const message = decodeMessage(bytes(newsa.hex));
  const keys = Object.values(message.kind === 'NEWSA' ? message.attributes : {}).flatMap((value) =>
    typeof value === 'object' && 'key' in value && value.key.length > 0 ? [hex(value.key)] : [],
  );

  it('hide keys unless they are asked for', () => {
    expect(keys.length).toBeGreaterThan(0);
    for (const key of keys) {
      expect(JSON.stringify(messageToJson(message))).not.toContain(key);
      expect(formatMessage(message)).not.toContain(key);
      expect(formatMessage(message, { showKeys: true })).toContain(key);
    }
    expect(formatMessage(message)).toContain('bytes hidden');
  });

  it('show addresses, names, SPIs and sets of flags', () => {
    const text = formatMessage(decodeMessage(bytes((rows[2] as (typeof rows)[number])[1])));
    expect(text.split('\n')[0]).toBe('NEWAE seq 1030 pid 4242');
    expect(text).toContain('daddr 10.0.0.2 spi 0x00000100 family inet proto esp');
    expect(text).toContain('flags cu');
  });

  it('show 64-bit numbers exactly and no limit as null', () => {
    expect(newsa.json).toMatchObject({ lft: { hardByteLimit: null } });
    const [, , big] = rows[0] as (typeof rows)[number];
    const huge = { ...big, attributes: { ltimeVal: { ...none, bytes: 2n ** 53n } } } as AnyXfrmMessage;
    expect(messageToJson(huge)).toMatchObject({ attributes: { ltimeVal: { bytes: '9007199254740992', packets: 0 } } });
  });

  it('explain an error', () => {
    const wire = `24000000 0200 0001 01000000 01000000 deffffff 4c000000 1e00 0501 01000000 00000000`;
    expect(formatMessage(decodeMessage(bytes(wire)))).toContain('ERANGE: ');
  });
});
