import { MessageChannel } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import {
  attribute,
  attributeSpace,
  be16,
  bytesPayload,
  chars,
  DecodeError,
  EncodeError,
  errnoName,
  errnoText,
  forEachMessage,
  i32,
  nestedPayload,
  protocol,
  scalarPayload,
  struct,
  textPayload,
  u8,
  u16,
  u32,
  u64,
} from '../../src/netlink/index.ts';

const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replace(/\s+/g, ''), 'hex'));

const inner = attributeSpace('INNER_', { id: attribute(1, scalarPayload(u8)), name: attribute(2, textPayload) });
const outer = attributeSpace('OUTER_', {
  number: attribute(1, scalarPayload(u32)),
  nest: { ...attribute(2, nestedPayload(inner)), nested: true },
  raw: attribute(3, bytesPayload),
});
const thing = struct('thing', 8, { kind: u8, port: be16, delta: i32 });
const { decode, encode, kindOf } = protocol({ THING: { type: 0x10, body: thing, attributes: outer, dumpable: true } });

const error = { length: 76, type: 0x1e, flags: 0x105, seq: 1, pid: 0 };

/** Appendix samples are answers of Linux 6.1; the family THING is made up. */
const rows: [name: string, wire: string, message: Parameters<typeof encode>[0]][] = [
  [
    'acknowledgement of success',
    '24000000 0200 0001 05000000 07000000 00000000 4c000000 1e00 0501 01000000 00000000',
    {
      kind: 'ERROR',
      flags: 0x100,
      seq: 5,
      pid: 7,
      body: { error: 0, request: error },
      echo: bytes(''),
      attributes: {},
    },
  ],
  [
    'error with the whole request',
    '28000000 0200 0000 05000000 07000000 eaffffff 14000000 1e00 0501 01000000 00000000 aabbccdd',
    {
      kind: 'ERROR',
      flags: 0,
      seq: 5,
      pid: 7,
      body: { error: -22, request: { ...error, length: 20 } },
      echo: bytes('aabbccdd'),
      attributes: {},
    },
  ],
  [
    'error with the request, text, offset and policy',
    `5c000000 0200 0002 05000000 07000000 deffffff 14000000 1e00 0501 01000000 00000000 aabbccdd
     0800 0100 62616400  0800 0200 40000000  2400 0480  0c00 0400 0000000000000000 0c00 0500 ffffffff00000000 0800 0100 04000000`,
    {
      kind: 'ERROR',
      flags: 0x200,
      seq: 5,
      pid: 7,
      body: { error: -34, request: { ...error, length: 20 } },
      echo: bytes('aabbccdd'),
      attributes: { msg: 'bad', offs: 64, policy: { minValueU: 0n, maxValueU: 0xffffffffn, type: 4 } },
    },
  ],
  [
    'end of a dump',
    '14000000 0300 0200 05000000 07000000 00000000',
    { kind: 'DONE', flags: 2, seq: 5, pid: 7, body: { status: 0 }, attributes: {} },
  ],
  [
    'end of a dump that failed, with text',
    '1c000000 0300 0202 05000000 07000000 deffffff 0700 0100 6e6f00 00',
    { kind: 'DONE', flags: 0x202, seq: 5, pid: 7, body: { status: -34 }, attributes: { msg: 'no' } },
  ],
  [
    'a type that the family does not have',
    '14000000 9900 0000 05000000 07000000 01020304',
    { kind: 'UNKNOWN', type: 0x99, flags: 0, seq: 5, pid: 7, payload: bytes('01020304') },
  ],
  [
    'a control type in a request is not looked into',
    '14000000 0200 0100 05000000 07000000 01020304',
    { kind: 'UNKNOWN', type: 2, flags: 1, seq: 5, pid: 7, payload: bytes('01020304') },
  ],
  [
    'a nest of attributes',
    '2c000000 1000 0000 05000000 07000000 09 00 1194 feffffff 1400 0280 0500 0100 07 000000 0600 0200 7a00 0000',
    {
      kind: 'THING',
      flags: 0,
      seq: 5,
      pid: 7,
      body: { kind: 9, port: 4500, delta: -2 },
      attributes: { nest: { id: 7, name: 'z' } },
    },
  ],
  [
    'a request for a dump has no fixed part',
    '18000000 1000 0103 05000000 07000000 0800 0100 2a000000',
    { kind: 'THING', flags: 0x301, seq: 5, pid: 7, body: null, attributes: { number: 42 } },
  ],
];

describe('messages', () => {
  it.each(rows)('%s', (_, wire, message) => {
    expect(decode(bytes(wire))).toEqual(message);
    expect(hex(encode(message))).toBe(hex(bytes(wire)));
  });

  it.each([
    ['junk between nested attributes', '1400 0280 0500 0100 07 aabbcc 0600 0200 7a00 0000'],
    ['junk behind the last nested attribute', '1000 0280 0500 0100 07 000000 0300 0000'],
    ['a nest that ends without padding', '0900 0280 0500 0100 07 000000'],
    ['a nest with an unknown attribute', '0c00 0280 0800 6300 01020304'],
    ['a nest without its bit', '0c00 0200 0500 0100 07 000000'],
    ['text without its NUL', '0a00 0280 0600 0200 7a79 0000'],
    ['text with bytes behind its NUL', '0c00 0280 0800 0200 7a007900'],
  ])('come back whole with %s', (_, attributes) => {
    const tail = bytes(attributes);
    const wire = bytes(
      `${(24 + tail.length).toString(16)}000000 1000 0000 05000000 07000000 09 00 1194 feffffff ${hex(tail)}`,
    );
    const message = decode(wire);
    expect(hex(encode(message))).toBe(hex(wire));
    expect(decode(encode(message))).toEqual(message);
  });

  it.each([
    ['ERR_HEADER_SHORT', '10000000 1000 0000 05000000 070000'],
    ['ERR_MESSAGE_LENGTH', '0f000000 1000 0000 05000000 07000000'],
    ['ERR_MESSAGE_LENGTH', '11000000 1000 0000 05000000 07000000'],
    ['ERR_BODY_SHORT', '17000000 1000 0000 05000000 07000000 09 00 1194 feffff'],
    ['ERR_BODY_SHORT', '14000000 0200 0000 05000000 07000000 00000000'],
    ['ERR_ATTRIBUTE_SHORT', '1f000000 1000 0000 05000000 07000000 09 00 1194 feffffff 0700 0100 000000'],
  ])('%s: %s', (code, wire) => {
    expect(() => decode(bytes(wire))).toThrow(expect.objectContaining({ name: 'DecodeError', code }));
    expect(() => decode(bytes(wire))).toThrow(DecodeError);
  });

  it('an error that quotes a request of absurd length is read', () => {
    const wire = bytes('24000000 0200 0002 05000000 07000000 eaffffff ffffffff 1e00 0501 01000000 00000000');
    expect(decode(wire)).toMatchObject({ kind: 'ERROR', echo: bytes(''), body: { request: { length: 0xffffffff } } });
  });

  it('are called by their names', () => {
    expect([0x10, 1, 2, 3, 4, 0x99].map(kindOf)).toEqual(['THING', 'NOOP', 'ERROR', 'DONE', 'OVERRUN', '0x99']);
    expect([errnoName(-22), errnoName(34), errnoName(4000)]).toEqual(['EINVAL', 'ERANGE', 'errno 4000']);
    expect(errnoText(1)).toContain('CAP_NET_ADMIN');
  });
});

describe('encoded messages', () => {
  const [, , message] = rows[0] as (typeof rows)[number];

  it('do not overlap, and leave nothing of a failed one behind', () => {
    const all = Array.from({ length: 1000 }, (_, seq) => encode({ ...message, seq }));
    expect(() => encode({ ...message, flags: -1 })).toThrow(EncodeError);
    all.forEach((data, seq) => {
      expect(decode(data)).toMatchObject({ seq });
    });
  });

  it('that are large have memory of their own', () => {
    const large = encode({
      kind: 'UNKNOWN',
      type: 0x99,
      flags: 0,
      seq: 0,
      pid: 0,
      payload: new Uint8Array(70_000).fill(7),
    });
    expect(large.length).toBe(70_016);
    expect(large.buffer.byteLength).toBe(70_016);
  });

  it('cannot be taken away with their neighbours by a transfer to a worker', () => {
    const data = encode(message);
    const { port1, port2 } = new MessageChannel();
    try {
      port1.postMessage(data, [data.buffer]);
    } catch {
      // Later releases of Node refuse, this one sends a copy.
    }
    port1.close();
    port2.close();
    expect(decode(data)).toEqual(message);
  });
});

describe('forEachMessage', () => {
  const one = bytes('14000000 0300 0200 05000000 07000000 00000000');
  const odd = bytes('11000000 0300 0200 05000000 07000000 00');
  const walk = (data: Uint8Array, start?: number, end?: number) => {
    const seen: number[][] = [];
    const stopped = forEachMessage(data, (at, length) => seen.push([at, length]), start, end);
    return { seen, stopped };
  };

  it('walks as NLMSG_NEXT does', () => {
    const padded = Buffer.concat([odd, Buffer.alloc(3), one]);
    expect(walk(padded)).toEqual({
      seen: [
        [0, 17],
        [20, 20],
      ],
      stopped: 40,
    });
    expect(walk(Buffer.concat([one, odd]))).toEqual({
      seen: [
        [0, 20],
        [20, 17],
      ],
      stopped: 37,
    });
    expect(walk(padded, 20)).toEqual({ seen: [[20, 20]], stopped: 40 });
    expect(walk(padded, 0, 39)).toEqual({ seen: [[0, 17]], stopped: 20 });
  });

  it.each([
    ['a length below the header', '0f000000 0300 0200 05000000 07000000'],
    ['a length beyond the end', '19000000 0300 0200 05000000 07000000'],
    ['a header that is cut off', '10000000 0300'],
    ['length 0', '00000000 0300 0200 05000000 07000000'],
  ])('stops at %s', (_, wire) => {
    expect(walk(Buffer.concat([one, bytes(wire)]))).toEqual({ seen: [[0, 20]], stopped: 20 });
  });
});

describe('structures', () => {
  it('are laid out as a C compiler does', () => {
    const layout = struct('mixed', 24, { a: u8, b: u16, c: u8, d: u64, e: chars(3), f: u32 });
    expect(layout.fields.map(({ offset }) => offset)).toEqual([0, 2, 4, 8, 16, 20]);
    expect(layout.padding).toEqual([
      [1, 1],
      [5, 3],
      [19, 1],
    ]);
  });

  it('that disagree with the header file are refused when they are made', () => {
    expect(() => struct('wrong', 9, { a: u32, b: u32 })).toThrow('wrong is 9 bytes in C, this table makes 8');
  });

  it('have a value of zeros', () => {
    expect(thing.zero()).toEqual({ kind: 0, port: 0, delta: 0 });
  });
});
