import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeFrame, encodeFrame, LinkError } from '../../src/link/index.ts';
import type { Counters, Frame } from '../../src/replica/index.ts';
import { policy, sa } from '../../src/simulator/sas.ts';

const u32 = fc.nat({ max: 0xffff_ffff });
const large = fc.maxSafeNat();
const time = fc.double({ noNaN: true, noDefaultInfinity: true });
const numbers = fc.array(fc.record({ handle: large, upTo: large }), { maxLength: 20 });
const text = fc.stringMatching(/^[A-Za-z0-9_.-]{1,63}$/);
const counters: fc.Arbitrary<Counters> = fc
  .record({
    oseq: u32,
    oseqHi: u32,
    seq: u32,
    seqHi: u32,
    bitmap: fc.option(fc.array(u32, { maxLength: 128 }), { nil: undefined }),
    bytes: large,
    packets: large,
    addTime: u32,
    used: fc.option(u32, { nil: undefined }),
  })
  .map(({ used, ...rest }) => ({ ...rest, useTime: used === undefined ? 0 : rest.addTime + used }));

const body = fc.oneof(
  fc.record({
    type: fc.constant('hello' as const),
    cluster: text,
    node: text,
    version: text,
    role: fc.constantFrom('active' as const, 'standby' as const),
    littleEndian: fc.boolean(),
  }),
  fc.record({ type: fc.constant('snapshotBegin' as const), sas: u32, policies: u32, asked: large }),
  fc.record({
    type: fc.constant('vote' as const),
    newTerm: u32,
    account: u32,
    asked: large,
    planned: fc.boolean(),
  }),
  fc.record({
    type: fc.constant('voted' as const),
    newTerm: u32,
    promised: u32,
    refusal: fc.string({ maxLength: 100 }),
  }),
  fc.record({ type: fc.constant('withdrawn' as const), newTerm: u32 }),
  fc.constantFrom(
    { type: 'snapshotEnd' as const },
    { type: 'resyncRequest' as const },
    { type: 'handoverRequest' as const },
    { type: 'handoverOffer' as const },
    { type: 'handoverDone' as const },
  ),
  fc.record({ type: fc.constant('saDelete' as const), handle: u32 }),
  fc.record({
    type: fc.constant('counters' as const),
    entries: fc.array(
      fc.record({ handle: u32, counters, quiet: fc.constant(true as const) }, { requiredKeys: ['handle', 'counters'] }),
      { maxLength: 20 },
    ),
  }),
  fc.record({ type: fc.constantFrom('pong' as const, 'proven' as const), timeMs: time }),
  fc.record(
    {
      type: fc.constant('ping' as const),
      timeMs: time,
      timeOfDayMs: time,
      echo: fc.record({ timeMs: time, heldMs: time }),
    },
    { requiredKeys: ['type', 'timeMs', 'timeOfDayMs'] },
  ),
  fc.record({ type: fc.constant('grants' as const), id: u32, entries: numbers }),
  fc.record({ type: fc.constant('used' as const), last: fc.boolean(), entries: numbers }),
  fc.record({
    type: fc.constantFrom('handoverRefused' as const, 'bye' as const),
    reason: fc.string({ maxLength: 200 }),
  }),
);
const frame = fc.tuple(body, u32).map(([b, term]) => ({ ...b, term }) as Frame);

const exact = (value: unknown): string => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}n` : v));

describe('frames', () => {
  it('come out as they went in', () => {
    fc.assert(
      fc.property(frame, (f) => {
        expect(decodeFrame(encodeFrame(f))).toEqual(f);
      }),
    );
  });

  it.each([
    [
      'an SA',
      {
        type: 'sa',
        handle: 7,
        thresholds: { packets: 64, timerMs: 500 },
        granted: 0,
        sa: sa(0x101, { esn: true, window: 128 }),
      },
    ],
    ['a policy', { type: 'policy', policy: policy('10.1.0.0') }],
    ['a policy that is gone', { type: 'policyDelete', policy: policy('10.1.0.0') }],
  ] as const)('%s travels as the kernel describes it', (_, part) => {
    const f = { ...part, term: 3 } as unknown as Frame;
    expect(exact(decodeFrame(encodeFrame(f)))).toBe(exact(f));
  });

  it('a counter update of a busy SA takes at most 24 bytes', () => {
    const busy = {
      oseq: 0,
      oseqHi: 0,
      seq: 9_000_000,
      seqHi: 0,
      bitmap: undefined,
      bytes: 12_000_000_000,
      packets: 9_000_000,
    };
    const entry = { handle: 60_000, counters: { ...busy, addTime: 1_767_000_000, useTime: 1_767_000_002 } };
    const size = (n: number): number =>
      encodeFrame({ type: 'counters', term: 1, entries: new Array<typeof entry>(n).fill(entry) }).length;
    expect(size(2) - size(1)).toBeLessThanOrEqual(24);
  });

  it('a reason is cut, not refused, however long it is and in whatever script', () => {
    for (const reason of ['x'.repeat(100_000), '\u{1F600}'.repeat(5000), '\uFFFD'.repeat(5000)]) {
      expect(decodeFrame(encodeFrame({ type: 'bye', term: 1, reason })).type).toBe('bye');
    }
  });

  it('counters beyond 2^53 are held there', () => {
    const c = {
      oseq: 1,
      oseqHi: 0,
      seq: 1,
      seqHi: 0,
      bitmap: undefined,
      bytes: 2 ** 60,
      packets: 1,
      addTime: 1,
      useTime: 1,
    };
    const back = decodeFrame(encodeFrame({ type: 'counters', term: 1, entries: [{ handle: 1, counters: c }] }));
    expect(back).toMatchObject({ entries: [{ counters: { bytes: Number.MAX_SAFE_INTEGER, packets: 1 } }] });
  });
});

describe('bytes that are no frame', () => {
  const only = (bytes: Uint8Array): void => {
    try {
      decodeFrame(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(LinkError);
      expect((error as LinkError).message.length).toBeLessThan(400);
    }
  };

  it('give a LinkError and nothing else', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), only), { numRuns: 2000 });
  });

  it('of every type, cut, stretched or with a byte changed: the same', () => {
    const frames: Frame[] = [
      {
        type: 'sa',
        term: 1,
        handle: 7,
        thresholds: { packets: 64, timerMs: 500 },
        granted: 0,
        sa: sa(0x101, { esn: true, window: 128 }),
      },
      { type: 'policy', term: 1, policy: policy('10.1.0.0') },
      { type: 'hello', term: 1, cluster: 'c', node: 'n', role: 'active', littleEndian: true, version: '1' },
    ];
    fc.assert(
      fc.property(
        fc.oneof(frame, fc.constantFrom(...frames)),
        fc.nat(),
        fc.nat({ max: 255 }),
        fc.constantFrom('cut', 'stretch', 'change'),
        (f, at, value, how) => {
          const bytes = Uint8Array.from(encodeFrame(f));
          if (how === 'cut') only(bytes.subarray(0, at % bytes.length));
          else if (how === 'stretch') only(Uint8Array.of(...bytes, value));
          else {
            bytes[at % bytes.length] = value;
            only(bytes);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  it.each([
    ['a count of counters that is not there', [7, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]],
    ['a number of nine bytes', [7, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
    ['an unknown type', [99, 0, 0, 0, 1]],
    ['a hello that is null', [0, 0, 0, 0, 1, ...Buffer.from('null')]],
    ['a hello that is no JSON', [0, 0, 0, 0, 1, ...Buffer.from('{')]],
    ['a time that is none', [8, 0, 0, 0, 1, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]],
    ['a ping with half an echo', [8, 0, 0, 0, 1, ...new Array<number>(24).fill(0)]],
    ['a used frame that is neither the last nor not', [20, 0, 0, 0, 1, 2, 0]],
    ['a count of used numbers that is not there', [20, 0, 0, 0, 1, 1, 0xff, 0xff, 0xff, 0x7f]],
    ['nothing', []],
  ])('%s', (_, payload) => {
    expect(() => decodeFrame(Uint8Array.of(0, 0, 0, payload.length, ...payload))).toThrow(LinkError);
  });

  it('never show the key of an SA', () => {
    const bytes = encodeFrame({
      type: 'sa',
      term: 1,
      handle: 1,
      thresholds: { packets: 1, timerMs: 1 },
      granted: 0,
      sa: sa(0x101, { key: 0x5a }),
    });
    for (let length = 0; length < bytes.length; length++) {
      try {
        decodeFrame(bytes.subarray(0, length));
      } catch (error) {
        const { message, cause } = error as Error;
        expect(`${message} ${String(cause)}`).not.toMatch(/5a5a|90, ?90|ZZ/);
      }
    }
  });
});
